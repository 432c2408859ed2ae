"""Searches on tables that hold some architectures of a space: their rows are searched, and nothing else is."""

import csv

import numpy as np
import pytest

import nas
from device_profiles.errors import InvalidTable
from nas import strategies
from nas.loop import judging
from nas.operators.listed import Listed
from nas.strategies.random import RandomSearch
from nas.study.study import open_study

CELLS, LARGE = nas.spaces.load("nasbench201"), nas.spaces.load("mobilenetv3")
EVERY = np.stack(np.unravel_index(np.arange(CELLS.size), CELLS.choices), axis=1).astype(np.int64)
#: Beyond what is counted or enumerated anywhere.
assert LARGE.size > 10**9


class Relayed(RandomSearch):
    """A strategy of others, which runs in a process of its own."""


def write(path, archs, *, seed=0):
    """A table with an error and a latency that pull in two directions."""
    weights = np.random.default_rng(seed).random((2, archs.shape[1]))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "error", "latency_ms"])
        for arch in archs:
            writer.writerow([",".join(map(str, arch)), 1 + arch @ weights[0], 200 - arch @ weights[1]])
    return path


def search(space, table, folder, strategy, **options):
    objectives = [f"table:{table}:error", f"latency=table:{table}:latency_ms"]
    return nas.search(space.spec, objectives=objectives, folder=folder, strategy=strategy, **options)


def asked(result):
    return [trial.arch for trial in result.study.trials()]


@pytest.mark.parametrize("name", strategies.names())
@pytest.mark.parametrize("space", [CELLS, LARGE], ids=["a small space", "one too large to enumerate"])
def test_every_strategy_searches_the_rows_until_there_are_none(tmp_path, space, name):
    rows = space.sample(25, np.random.default_rng(1))
    result = search(space, write(tmp_path / "t.csv", rows), tmp_path / "run", name, evaluations=40)
    assert sorted(asked(result)) == sorted(map(tuple, rows.tolist()))
    assert not result.failures and result.hypervolume > 0


def test_a_strategy_of_others_does_too(tmp_path, monkeypatch):
    monkeypatch.setitem(strategies.REGISTRY._registered, "relayed", Relayed)
    rows = LARGE.sample(25, np.random.default_rng(1))
    result = search(LARGE, write(tmp_path / "t.csv", rows), tmp_path / "run", "relayed", evaluations=40)
    assert sorted(asked(result)) == sorted(map(tuple, rows.tolist()))


def test_evolution_finds_better_rows_than_chance_where_children_are_hardly_ever_rows(tmp_path):
    rows = LARGE.sample(1500, np.random.default_rng(2))
    table = write(tmp_path / "t.csv", rows)

    def reached(name):
        runs = [search(LARGE, table, tmp_path / f"{name}{seed}", name, seed=seed) for seed in (0, 1)]
        return np.mean([run.hypervolume for run in runs])

    assert reached("nsga2") > reached("random")


@pytest.mark.parametrize(
    "name", ["nsga2", pytest.param("random", marks=pytest.mark.slow), pytest.param("auto", marks=pytest.mark.slow)]
)
def test_a_table_of_all_networks_is_searched_as_the_space_is(tmp_path, name):
    """Genomes without a network are never asked for, so that it does not matter whether the table has them."""
    networks = EVERY[CELLS.is_valid(EVERY)]
    tables = {"genomes": EVERY, "networks": networks, "fewer": networks[1:]}
    found = {}
    for which, rows in tables.items():
        table = write(tmp_path / f"{which}.csv", rows)
        found[which] = asked(search(CELLS, table, tmp_path / which, name, evaluations=30, seed=3))
    assert found["genomes"] == found["networks"] != found["fewer"]


def test_rows_of_several_tables_are_those_that_all_have(tmp_path):
    rows = CELLS.sample(40, np.random.default_rng(3))
    first, second = write(tmp_path / "a.csv", rows[:30]), write(tmp_path / "b.csv", rows[10:])
    objectives = [f"table:{first}:error", f"latency=table:{second}:latency_ms"]
    result = nas.search("nasbench201", objectives=objectives, folder=tmp_path / "run", strategy="random")
    assert sorted(asked(result)) == sorted(map(tuple, rows[10:30].tolist()))
    third = write(tmp_path / "c.csv", rows[:10])
    objectives[0] = f"table:{third}:error"
    with pytest.raises(InvalidTable, match="error and latency") as refused:
        nas.search("nasbench201", objectives=objectives, folder=tmp_path / "none", strategy="random")
    assert refused.value.hint and not (tmp_path / "none").exists()


def test_a_miss_is_called_one(tmp_path):
    rows = CELLS.sample(20, np.random.default_rng(4))
    result = search(CELLS, write(tmp_path / "t.csv", rows), tmp_path / "run", "random", evaluations=5)
    known = set(map(tuple, rows.tolist()))
    other = next(row for row in CELLS.sample(50, np.random.default_rng(5)) if tuple(row) not in known)
    judged = judging.judge(result.evaluators, np.array([rows[0], other]))
    assert judged.reasons == {1: "error: not in the table"}


def test_a_run_that_once_met_missing_rows_goes_on_with_those_that_are_there(tmp_path):
    rows = CELLS.sample(30, np.random.default_rng(6))
    table = write(tmp_path / "t.csv", rows)
    search(CELLS, table, tmp_path / "run", "nsga2", evaluations=1)
    known = set(map(tuple, rows.tolist()))
    missing = [row for row in CELLS.sample(60, np.random.default_rng(7)) if tuple(row) not in known][:9]
    study = open_study(tmp_path / "run")
    study.add_batch(1, "nsga2", 1, np.array(missing))
    study.store.close()
    result = search(CELLS, table, tmp_path / "run", "nsga2", evaluations=25)
    assert set(result.failures) == {tuple(row.tolist()) for row in missing}
    assert set(asked(result)[10:]) <= known


def test_where_rows_are_equally_near_their_order_in_the_table_does_not_matter():
    rows = CELLS.sample(50, np.random.default_rng(8))
    one, other = (Listed.of(order, CELLS.choices, 0) for order in (rows, rows[::-1]))
    np.testing.assert_array_equal(one.rows, other.rows)
    away = CELLS.sample(20, np.random.default_rng(9))
    near = one.nearest(away, np.arange(len(one)))
    common = (near == away).sum(axis=1)
    np.testing.assert_array_equal(common, (rows[None] == away[:, None]).sum(axis=2).max(axis=1))
    assert one.has(near).all()
