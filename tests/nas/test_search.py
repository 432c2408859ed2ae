"""The loop on tables: search, resume, replay, refusals; and what the study keeps."""

import csv
import json
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import device_profiles
import nas
from device_profiles.errors import (
    ConditionMismatch,
    InfeasibleBudget,
    InvalidData,
    RunBusy,
    SchemaMismatch,
    UsageError,
)
from nas.strategies.nsga2 import Nsga2
from nas.study.study import hypervolume, open_study

SPACE = nas.spaces.load("nasbench201")
ARCHS = np.stack(np.unravel_index(np.arange(SPACE.size), SPACE.choices), axis=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of the whole space: error falls with 3x3 convolutions, latency rises with them; both are noisy."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    rng = np.random.default_rng(0)
    threes, ones = (ARCHS == 3).sum(axis=1), (ARCHS == 2).sum(axis=1)
    error = 30.0 - 4.0 * threes - 2.0 * ones + rng.random(len(ARCHS))
    latency = 1.0 + 2.0 * threes + 0.5 * ones + 0.2 * rng.random(len(ARCHS))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "error", "accuracy", "latency_ms"])
        for arch, e, ms in zip(ARCHS, error, latency, strict=True):
            writer.writerow([SPACE.format(arch), f"{e:.6f}", f"{100 - e:.6f}", f"{ms:.6f}"])
    return path


def run(table, folder, **options):
    given = {"objectives": [f"table:{table}:error", f"latency=table:{table}:latency_ms"], "evaluations": 60, **options}
    given.setdefault("strategy", "nsga2")  # which asks in no time
    return nas.search("nasbench201", folder=folder, **given)


def trials(result):
    return [(trial.strategy, trial.arch, trial.result) for trial in result.study.trials()]


def test_a_search_evaluates_what_it_was_asked_to(table, tmp_path):
    result = run(table, tmp_path)
    assert result.evaluations == 60
    assert len({trial.arch for trial in result.study.trials()}) == 60
    assert result.hypervolume > 0
    costs = np.array([[p.result["error"][0], p.result["latency"][0]] for p in result.front])
    assert nas.indicators.nondominated(costs).all()


def test_equal_seeds_find_the_same_and_others_do_not(table, tmp_path):
    first, second, other = (run(table, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert trials(first) == trials(second)
    assert trials(first) != trials(other)


def test_a_search_goes_on_as_if_it_had_not_stopped(table, tmp_path):
    run(table, tmp_path / "parts", evaluations=30)
    parts = run(table, tmp_path / "parts")
    assert trials(parts) == trials(run(table, tmp_path / "whole"))


def test_a_batch_that_was_cut_in_the_middle_is_finished(table, tmp_path):
    whole = run(table, tmp_path / "whole")
    cut = run(table, tmp_path / "cut", evaluations=30)
    with cut.study.store.transaction() as connection:
        connection.exec_driver_sql("update trials set result = null where id > 24")
    assert trials(run(table, tmp_path / "cut")) == trials(whole)


def test_maximised_columns_are_the_same_search(table, tmp_path):
    least = run(table, tmp_path / "least")
    most = run(
        table,
        tmp_path / "most",
        objectives=[f"table:{table}:accuracy:max", f"latency=table:{table}:latency_ms"],
    )
    assert [point.arch for point in least.front] == [point.arch for point in most.front]
    assert most.hypervolume == pytest.approx(least.hypervolume, rel=1e-3)


def test_several_strategies_end_on_one_front(table, tmp_path):
    result = run(table, tmp_path, strategy=["nsga2", "random"], evaluations=100)
    assert result.evaluations == 200
    found = {name for point in result.front for name in point.found_by}
    assert "nsga2" in found
    each = [
        hypervolume(result.study, [t for t in result.study.trials() if t.strategy == s]) for s in ("nsga2", "random")
    ]
    assert each[0] > each[1]
    assert result.hypervolume >= max(each)


@pytest.mark.parametrize(
    "change",
    [
        ({"seed": 3}, "seed: the run has 0, asked is 3"),
        ({"objectives": ["macs"]}, "objective error: the run has it, it is not asked for"),
        ({"settings": {"train_steps": 7}}, "setting train_steps: the run has none, asked is 7"),
    ],
)
def test_a_run_is_not_continued_with_other_options(table, tmp_path, change):
    before = trials(run(table, tmp_path))
    change, words = change
    with pytest.raises(ConditionMismatch, match=words) as caught:
        run(table, tmp_path, **change)
    assert caught.value.exit_code == 4
    assert [(t.strategy, t.arch, t.result) for t in open_study(tmp_path).trials()] == before


def test_a_run_is_not_continued_with_another_table(table, tmp_path):
    other = tmp_path / "table.csv"
    other.write_text(table.read_text())
    run(other, tmp_path / "run")
    text = other.read_text().splitlines()
    other.write_text("\n".join([text[0], *text[:0:-1]]) + "\n")
    run(table, tmp_path / "fresh")
    with pytest.raises(ConditionMismatch, match=r"what table:.* reads has changed"):
        run(other, tmp_path / "run")


def test_constraints_bound_the_front(table, tmp_path):
    result = run(table, tmp_path, constraints=["latency <= 5 ms"], evaluations=120)
    assert result.front
    assert all(point.result["latency"][0] <= 5.0 for point in result.front)
    assert any(trial.value("latency") > 5.0 for trial in result.study.trials())


def test_bounds_may_change_and_what_was_asked_is_kept(table, tmp_path):
    with pytest.raises(InfeasibleBudget, match="none of 20"):
        run(table, tmp_path, constraints=["latency <= 1.0001 ms"], evaluations=20, strategy="random")
    loose = run(table, tmp_path, constraints=["latency <= 5 ms"], evaluations=20, strategy="random")
    assert loose.evaluations == 20 and loose.front, "nothing is evaluated again"
    more = run(table, tmp_path, evaluations=40, strategy="random")
    assert more.evaluations == 40
    asked = [(one["judged"], one["evaluations"], one["constraints"]) for one in more.study.asked()]
    assert asked == [(0, 20, ["latency <= 1.0001 ms"]), (20, 20, ["latency <= 5 ms"]), (20, 40, [])]
    again = run(table, tmp_path, evaluations=40, strategy="random")
    assert trials(again) == trials(more) and len(again.study.asked()) == 3


def test_a_second_search_in_a_folder_is_refused_or_waits(table, tmp_path):
    inside = []

    def progress(what, done, total):
        if not inside:
            inside.append(True)
            with pytest.raises(RunBusy, match=r"is being searched by process \d+, for \d+ s") as caught:
                run(table, tmp_path, evaluations=400)
            assert caught.value.exit_code == 3

    result = run(table, tmp_path, progress=progress)
    done = result.evaluations
    assert inside and len(result.study.trials()) == done == 60
    program = textwrap.dedent(f"""
        import sys, nas
        from profiler.lock import run_lock
        from pathlib import Path
        with run_lock(Path({str(tmp_path)!r})):
            print("held", flush=True)
            sys.stdin.read()
    """)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as other:
        assert other.stdout.readline() == "held\n"
        threading.Timer(1.5, other.stdin.close).start()
        before = time.monotonic()
        waited = run(table, tmp_path, evaluations=done + 10, wait=True)
    assert time.monotonic() - before > 1.0 and waited.evaluations == done + 10


def test_what_finalists_need_is_asked_for_before_the_search(table, tmp_path):
    with pytest.raises(UsageError, match="finalists"):
        run(table, tmp_path / "run", finalists=2)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="evaluated again"):
        run(table, tmp_path / "run", again=2)
    assert not (tmp_path / "run").exists()


def test_a_target_may_be_given_later_and_not_be_another(table, tmp_path, fake):
    run(table, tmp_path, evaluations=20)
    run(table, tmp_path, evaluations=20, target=fake)
    assert run(table, tmp_path, evaluations=30).study.fact("target")["name"] == "fake"
    other = device_profiles.load("local-onnxruntime")
    with pytest.raises(ConditionMismatch, match="target: the run has fake, asked is local-onnxruntime"):
        run(table, tmp_path, evaluations=20, target=other)


def test_a_bound_that_nobody_meets_is_an_answer(table, tmp_path):
    with pytest.raises(InfeasibleBudget, match="latency = 1"):
        run(table, tmp_path, constraints=["latency <= 0.5 ms"])
    assert InfeasibleBudget.exit_code == 1


def test_a_space_is_exhausted_and_the_search_ends(tmp_path):
    path = tmp_path / "few.csv"
    rows = ["arch,cost", *(f"{SPACE.format(arch)},{i + 1}" for i, arch in enumerate(ARCHS[-30:]))]
    path.write_text("\n".join(rows) + "\n")
    result = nas.search(
        "nasbench201", objectives=[f"table:{path}:cost"], folder=tmp_path / "run", strategy="random", evaluations=40
    )
    assert result.evaluations == 30 and not result.failures
    assert [point.result["cost"][0] for point in result.front] == [1.0]


def test_usage(table, tmp_path):
    with pytest.raises(UsageError, match="one name"):
        run(table, tmp_path / "a", objectives=[f"table:{table}:error", f"error=table:{table}:latency_ms"])
    with pytest.raises(UsageError, match="nsga9"):
        run(table, tmp_path / "b", strategy="nsga9")
    with pytest.raises(UsageError, match="shared weights"):
        run(table, tmp_path / "c", strategy="gdas")
    with pytest.raises(UsageError, match="no objective"):
        run(table, tmp_path / "d", constraints=["energy <= 3 mJ"])
    with pytest.raises(UsageError, match="population"):
        run(table, tmp_path / "e", strategy="nsga2", settings={"nsga2.population": 1})
    for place, (name, value) in enumerate({"gdas.weights": 1.0, "auto.seed": 1, "nsga2.population": 16.5}.items()):
        with pytest.raises(UsageError, match=name.partition(".")[2]):
            run(table, tmp_path / f"f{place}", strategy=name.partition(".")[0], settings={name: value})
        assert not (tmp_path / f"f{place}").exists(), "it is found before anything is made"


def test_batches_are_told_again_in_the_order_in_which_they_were_completed(table, tmp_path, monkeypatch):
    result = run(table, tmp_path, strategy="nsga2", evaluations=10)
    asked = [trial.arch for trial in result.study.trials()]
    with result.study.store.transaction() as connection:
        connection.exec_driver_sql("update trials set completed = 11 - completed")
    result.study.store.close()
    told = []
    tell = Nsga2.tell
    monkeypatch.setattr(
        Nsga2, "tell", lambda self, archs, *rest: (told.append(archs.copy()), tell(self, archs, *rest))[1]
    )
    run(table, tmp_path, strategy="nsga2", evaluations=20)
    assert [tuple(row) for row in told[0].tolist()] == asked[::-1]


def test_a_study_of_the_future_is_refused(table, tmp_path):
    result = run(table, tmp_path)
    with result.study.store.transaction() as connection:
        connection.exec_driver_sql("update study set value = '99' where key = 'version'")
    result.study.store.close()
    before = (tmp_path / "run.db").read_bytes()
    with pytest.raises(SchemaMismatch, match="version 99"):
        run(table, tmp_path)
    assert (tmp_path / "run.db").read_bytes() == before


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(InvalidData, match="not the folder of a run"):
        open_study(tmp_path)


def test_the_reference_is_fixed_by_the_first_batch(table, tmp_path):
    first = run(table, tmp_path, evaluations=20).study.fact("reference")
    assert run(table, tmp_path, evaluations=80).study.fact("reference") == first
    assert json.loads(json.dumps(first)) == first


def test_the_most_accurate_network_adds_to_the_hypervolume(table, tmp_path):
    # All convolutions of 3x3 are the least error and the largest latency of the space: one in 15,625.
    study = run(table, tmp_path, evaluations=60).study
    reference = np.array(study.fact("reference"))
    costs = np.array([[point.result["error"][0], point.result["latency"][0]] for point in study.front()])
    assert (costs < reference).all()
    assert reference[1] > 13.0


def test_the_reference_follows_a_front_that_goes_beyond_it(table, tmp_path):
    result = run(table, tmp_path, evaluations=30)
    before = result.study.fact("reference")
    result.study.set_fact("reference", [before[0], 6.0])
    again = run(table, tmp_path, evaluations=30)
    costs = np.array([[point.result["error"][0], point.result["latency"][0]] for point in again.front])
    reference = again.study.fact("reference")
    assert costs[:, 1].max() >= 6.0 and reference[0] == before[0]
    assert reference[1] == pytest.approx(costs[:, 1].max() + 0.1 * np.ptp(costs[:, 1]))
    assert again.hypervolume == nas.indicators.hypervolume(costs, np.array(reference))


def test_runs_of_before_keep_their_reference(table, tmp_path):
    result = run(table, tmp_path, evaluations=30)
    result.study.set_fact("reference", [40.0, 6.0])
    with result.study.store.transaction() as connection:
        connection.exec_driver_sql("delete from study where key = 'reference_rule'")
    assert run(table, tmp_path, evaluations=30).study.fact("reference") == [40.0, 6.0]
