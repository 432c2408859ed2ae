"""Bounds on what is known before: no evaluation is spent on breaking them, and runs of before go on."""

import csv

import numpy as np
import pytest

import nas
import predictors
from nas.loop.rounds import Rounds
from nas.operators import descent
from nas.operators.protocol import Problem
from nas.operators.seen import Seen
from nas.strategies import create


@pytest.fixture(scope="module")
def searched(small, latency, tmp_path_factory):
    """A search for error, out of a table, and predicted latency with a bound that one network in ten keeps."""
    archs = np.stack(np.unravel_index(np.arange(small.size), small.choices), axis=1)
    path = tmp_path_factory.mktemp("table") / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "error"])
        error = 30.0 - (archs == 3).sum(axis=1) - 0.5 * (archs[:, 0] == 2)
        writer.writerows([small.format(arch), f"{value:.3f}"] for arch, value in zip(archs, error, strict=True))
    bound = float(np.quantile(predictors.load(latency).predict(archs[small.is_valid(archs)]).value, 0.1))

    def search(folder, strategy, evaluations=60):
        return nas.search(
            small.spec,
            objectives=[f"table:{path}:error", f"latency:{latency}"],
            constraints=[f"latency <= {bound!r} ms"],
            strategy=strategy,
            evaluations=evaluations,
            folder=folder,
        )

    return search


@pytest.mark.parametrize("name", ["auto", "nsga2", "local-search", "random"])
def test_no_evaluation_breaks_a_bound_that_was_known(searched, tmp_path, name):
    result = searched(tmp_path, name)
    bound = result.study.constraints()[0].bound
    assert [trial.value("latency") <= bound for trial in result.study.trials()] == [True] * 60


def test_runs_that_were_begun_without_bounds_go_on(searched, tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(Rounds, "_excess", lambda self: None)
        begun = [(t.arch, t.result) for t in searched(tmp_path, "nsga2", 30).study.trials()]
    result = searched(tmp_path, "nsga2", 60)
    trials = result.study.trials()
    bound = result.study.constraints()[0].bound
    assert [(t.arch, t.result) for t in trials[:30]] == begun
    assert any(trial.value("latency") > bound for trial in trials[:30])
    assert all(trial.value("latency") <= bound for trial in trials[30:]) and len(trials) == 60


def test_without_bounds_nothing_is_asked_otherwise():
    for name in ("random", "nsga2", "auto"):
        asked = [
            create(name, choices=(4,) * 6, objectives=2, known={0: lambda a: a.sum(axis=1) * 1.0}, excess=excess).ask(
                20
            )
            for excess in (None, lambda archs: np.zeros(len(archs)))
        ]
        assert (asked[0] == asked[1]).all()


def test_the_least_broken_comes_first_where_nothing_keeps_a_bound():
    excess = lambda archs: 1.0 + archs.sum(axis=1)  # noqa: E731
    seen = Seen(Problem((3, 3, 2), 1, excess=excess))
    rows = seen.unseen(18, np.random.default_rng(0), set())
    assert len(rows) == 18 and (np.diff(excess(rows)) >= 0).all()
    assert len(seen.unseen(18, np.random.default_rng(0), set(), strict=True)) == 0


def test_descent_finds_what_random_genomes_do_not():
    # One in 9^14 genomes: the first fourteen genes are 0.
    problem = Problem(
        (9,) * 20, 1, valid=lambda a: a[:, 19] > 0, excess=lambda archs: archs[:, :14].sum(axis=1).astype(float)
    )
    rows = Seen(problem).unseen(20, np.random.default_rng(0), set())
    assert len(np.unique(rows, axis=0)) == 20
    assert (problem.excess(rows) == 0).all() and problem.valid(rows).all()
    assert len(descent.descended(problem, rows[:0], np.random.default_rng(0))) == 0


@pytest.mark.parametrize("seed", range(6))
def test_networks_that_are_rare_are_not_the_end_of_a_space(seed):
    # 0.14 % of 9^22 genomes are networks.
    rng, choices = np.random.default_rng(seed), (9,) * 22
    valid = lambda archs: (archs[:, 0] == 0) & (archs[:, 1] == 1) & (archs[:, 2] == archs[:, 3])  # noqa: E731
    assert len(Seen(Problem(choices, 1, valid=valid)).unseen(10, rng, set())) == 10
    assert len(create("nsga2", choices=choices, objectives=2, seed=seed, valid=valid).ask(1)) == 1


@pytest.mark.parametrize("name", ["nsganetv2", "nat"])
def test_known_costs_are_not_asked_for_of_no_architectures(name):
    calls = []

    def known(archs):
        calls.append(len(archs))
        return archs.sum(axis=1).astype(float)

    search = create(name, choices=(3,) * 6, objectives=2, known={1: known}, initial=12, population=4, generations=3)
    front = np.zeros((20, 6), dtype=np.int64)
    front[np.arange(1, 20), np.arange(1, 20) % 6] = 1
    front = np.unique(np.concatenate([np.tril(np.ones((6, 6), dtype=np.int64)), front]), axis=0)
    search.tell(front, np.stack([-front.sum(axis=1), front.sum(axis=1)], axis=1).astype(float))
    assert len(search.ask(3)) == 3 and calls and min(calls) > 0
