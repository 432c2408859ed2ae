"""Objectives that are noisy: the mean of replicates in the search, and evaluations after it where it is unsure."""

import csv
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import t

import nas
from device_profiles.errors import UsageError
from hwnas_cli.commands import search
from nas.certainty import of_study
from nas.evaluators.protocol import Repeatable
from nas.objectives import Objective, Values
from nas.report import front as report
from nas.study.study import open_study


@dataclass
class Noisy(Repeatable):
    """A cost with noise of its own for each architecture and replicate; some evaluations fail."""

    objective: Objective
    failing: tuple[int, ...] = ()
    stop_after: int | None = None
    free: bool = False
    identity: str = ""
    calls: int = 0

    def true(self, archs):
        return (archs != 3).sum(axis=1) + archs[:, 0] / 10

    def evaluate(self, archs):
        return self.again(archs, 0)

    def again(self, archs, replicate):
        if replicate > 0 and len(archs) == 1 and self.stop_after is not None:
            self.calls += 1
            if self.calls > self.stop_after:
                raise KeyboardInterrupt
        noise = [np.random.default_rng([replicate, *arch]).normal() * 0.3 for arch in archs.tolist()]
        values = self.true(archs) + noise
        values[(archs[:, 5] == 4) & (replicate in self.failing)] = np.nan
        return Values(values)


@dataclass
class Exact:
    """A cost without noise, in conflict with the other."""

    objective: Objective
    free: bool = True
    identity: str = ""

    def evaluate(self, archs):
        return Values((archs == 3).sum(axis=1) + archs[:, 1] / 10)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(folder, evaluations, replicates, ...)`: a search by a noisy and an exact objective."""

    def go(folder, evaluations=60, replicates=1, **noisy):
        kinds = {
            "noisy": Noisy(Objective("noisy", "", False, "counted", "noisy"), **noisy),
            "exact": Exact(Objective("exact", "", False, "counted", "exact")),
        }
        monkeypatch.setattr("nas.loop.loop.open_objective", lambda spec, context: kinds[spec])
        return nas.search(
            "nasbench201",
            strategy="nsga2",
            objectives=list(kinds),
            evaluations=evaluations,
            folder=tmp_path / folder,
            settings={"replicates": replicates} if replicates > 1 else {},
        )

    return go


def test_strategies_are_told_the_mean_of_the_replicates(run):
    result = run("three", 60, 3)
    noisy = result.evaluators[0]
    for trial in result.study.trials():
        arch = np.array([trial.arch])
        single = [float(noisy.again(arch, k).value[0]) for k in range(3)]
        assert result.study.replicates()[trial.id] == {"noisy": single}
        assert trial.value("noisy") == pytest.approx(np.mean(single))
    again = run("three", 60, 3)
    assert again.study.trials() == result.study.trials() and len(again.study.trials()) == 60


def test_points_have_the_interval_that_all_replicates_pool(run):
    result = run("three", 40, 3)
    points = result.study.points()
    squares = [np.var(point.replicates["noisy"], ddof=1) for point in points]
    half = np.sqrt(np.mean(squares) / 3) * t.ppf(0.95, 2 * len(points))
    for point in points:
        value, low, high = point.result["noisy"]
        assert value == pytest.approx(np.mean(point.replicates["noisy"]))
        assert (value - low, high - value) == pytest.approx((half, half))
        assert point.result["exact"][1:] == (None, None)


def test_evaluations_that_fail_are_left_out_and_all_of_them_cost_the_architecture(run):
    some = run("some", 60, 3, failing=(1,))
    hit = [trial for trial in some.study.trials() if trial.arch[5] == 4]
    assert hit and not some.failures
    for trial in hit:
        single = some.study.replicates()[trial.id]["noisy"]
        assert np.isnan(single[1]) and trial.value("noisy") == pytest.approx((single[0] + single[2]) / 2)
    assert len(some.study.points()) > 0
    every = run("every", 60, 3, failing=(0, 1, 2))
    hit = {trial.arch for trial in every.study.trials() if trial.arch[5] == 4}
    assert hit and set(every.failures) == hit
    assert all(point.arch not in hit for point in every.study.points())


def unsure(study):
    """Sum of p (1 - p) over the front."""
    shares = np.array(of_study.of_study(study, study.front()).membership)
    return float((shares * (1 - shares)).sum())


def test_what_is_evaluated_again_makes_the_front_more_certain_and_truer(run):
    result = run("again", 150)
    told = result.study.trials()
    assert of_study.of_study(result.study, result.front).membership == (), "one value each says nothing of noise"
    noisy = result.evaluators[0]

    def optimism():
        front = result.front
        true = noisy.true(np.array([point.arch for point in front]))
        return float(np.mean(true - [point.result["noisy"][0] for point in front]))

    before = optimism()
    result.evaluate_again(20)
    first = unsure(result.study)
    done = result.evaluate_again(200)
    assert 20 < done <= 200
    assert unsure(result.study) < 0.7 * first
    assert optimism() < 0.6 * before and before > 0.2, "the best of many noisy values look better than they are"
    assert result.study.trials() == told, "what the strategy was told stays"
    assert result.study.evaluated_again == done
    points = result.study.points()
    counts = [len(point.replicates["noisy"]) for point in points if point.replicates]
    assert sum(counts) - len(counts) == done
    widths = {len(point.replicates.get("noisy", [0])): np.diff(point.result["noisy"][1:])[0] for point in points}
    assert widths[1] == pytest.approx(np.sqrt(2) * widths[2]), "noise of some says how noisy others are"


def test_a_killed_resolution_goes_on_to_the_same_end(run):
    whole = run("whole", 60)
    assert whole.evaluate_again(25) == 25
    cut = run("cut", 60, stop_after=11)
    with pytest.raises(KeyboardInterrupt):
        cut.evaluate_again(25)
    assert cut.study.evaluated_again == 11
    rest = run("cut", 60)
    assert rest.evaluate_again(25) == 25
    assert rest.study.replicates() == whole.study.replicates()
    assert rest.evaluate_again(25) == 25, "what was done counts"
    assert rest.study.front() == whole.study.front()


def test_after_replicates_in_the_search_the_most_telling_come_first(run):
    result = run("both", 60, 2)
    recommended = of_study.of_study(result.study, result.front, recommended=1).next[0]
    assert result.evaluate_again(1) == 1
    counts = {point.arch: len(point.replicates["noisy"]) for point in result.study.points()}
    assert [arch for arch, count in counts.items() if count == 3] == [recommended.arch]
    assert set(counts.values()) == {2, 3}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """NAS-Bench-201 cells with three trainings each, which are made up."""
    space, path = nas.spaces.load("nasbench201"), tmp_path_factory.mktemp("table") / "cells.csv"
    archs = np.stack(np.unravel_index(np.arange(15625), (5,) * 6), axis=1)
    rng = np.random.default_rng(0)
    error = (archs != 3).sum(axis=1)[:, None] + 2 + 0.2 * rng.standard_normal((15625, 3))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "first", "second", "third", "size"])
        for arch, row in zip(archs, error, strict=True):
            writer.writerow([space.format(arch), *row, (arch == 3).sum()])
    return path


def test_columns_of_a_table_are_replicates(table, tmp_path):
    options = {"strategy": "nsga2", "evaluations": 30}
    objectives = [f"error=table:{table}:first,second,third", f"table:{table}:size"]
    result = nas.search("nasbench201", objectives=objectives, folder=tmp_path / "one", **options)
    single = nas.search(
        "nasbench201",
        objectives=[f"error=table:{table}:first", f"table:{table}:size"],
        folder=tmp_path / "single",
        **options,
    )
    assert [x.arch for x in result.study.trials()] == [x.arch for x in single.study.trials()]
    done = result.evaluate_again(1000)
    assert 0 < done < 1000, "there are three columns"
    assert {len(p.replicates["error"]) for p in result.study.points() if p.replicates} <= {2, 3}
    data = search.fields(result)
    assert all(point["objectives"]["error"]["low"] is not None for point in data["front"])
    assert data["evaluated_again"] == done
    assert "on the front with 90 % probability" in search.text(result, data)
    assert f"on the front of 30 evaluations and {done} further ones" in search.text(result, data)
    assert "draws from the replicates" in report.write(result.study, tmp_path / "front.html").read_text()
    with pytest.raises(UsageError, match="none of the objectives error, size can be evaluated again"):
        single.evaluate_again(3)


def test_more_replicates_than_there_are_and_of_what_has_none_are_refused(table, tmp_path):
    def go(spec, replicates):
        nas.search(
            "nasbench201",
            objectives=[f"error=table:{table}:{spec}"],
            strategy="random",
            evaluations=5,
            folder=tmp_path / "refused",
            settings={"replicates": replicates},
        )

    with pytest.raises(UsageError, match="has 2 replicates, 3 are wanted"):
        go("first,second", 3)
    with pytest.raises(UsageError, match="can be evaluated again"):
        go("first", 2)
    with pytest.raises(UsageError, match="whole number of 1 to 1000000, got 0"):
        go("first,second", 0)
    go("first,second", 2)
    assert len(open_study(tmp_path / "refused").trials()) == 5
