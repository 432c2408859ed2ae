"""Crisscross: its two crossovers against what their source says of them, and the strategy against its baselines."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

import nas
from device_profiles.errors import UsageError
from nas import testing
from nas.operators import crisscross, selection
from nas.operators.protocol import Problem
from nas.pareto import indicators
from nas.strategies import create

TABLE = Path(__file__).resolve().parents[3] / "shared/data/nasbench201.csv.gz"
PLACES = 5 ** np.arange(5, -1, -1)


def reference_horizontal(first, second, rng):
    """The arithmetic form, gene by gene, as the source states it."""
    r, c = rng.random(), rng.uniform(-1, 1)
    return r * first + (1 - r) * second + c * (first - second)


def test_horizontal_crossover_of_ordered_genes_has_the_sources_distribution():
    problem = Problem((101,), 1, ordered=(True,))
    rng = np.random.default_rng(0)
    first, second = np.full((20000, 1), 60), np.full((20000, 1), 40)
    mine = crisscross.horizontal(first, second, problem, rng)[:, 0]
    theirs = np.array([reference_horizontal(60.0, 40.0, rng) for _ in range(20000)])
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert np.quantile(mine, level) == pytest.approx(np.quantile(theirs, level), abs=0.8)
    inside = ((mine >= 40) & (mine <= 60)).mean()
    assert inside == pytest.approx(((theirs > 39.5) & (theirs < 60.5)).mean(), abs=0.015)
    assert mine.min() >= 20 and mine.max() <= 80, "at most one distance beyond either parent"


def test_ordered_genes_are_cut_off_at_their_ends():
    rng = np.random.default_rng(0)
    found = crisscross.horizontal(np.full((500, 1), 6), np.zeros((500, 1), int), Problem((7,), 1, ordered=(True,)), rng)
    assert set(np.unique(found)) == set(range(7))


def test_horizontal_crossover_of_categories_mixes_and_spills_where_parents_differ():
    problem = Problem((5, 5, 1, 2), 1)
    rng = np.random.default_rng(1)
    first, second = np.tile([0, 3, 0, 0], (20000, 1)), np.tile([4, 3, 0, 1], (20000, 1))
    found = crisscross.horizontal(first, second, problem, rng)
    assert (found[:, 1:3] == first[:, 1:3]).all(), "genes in which the parents agree stay"
    shares = np.bincount(found[:, 0], minlength=5) / len(found)
    # Half from either, a sixth of them reset evenly to one of the four other options.
    assert shares[[0, 4]] == pytest.approx([5 / 12 + 1 / 48] * 2, abs=0.012)
    assert shares[1:4] == pytest.approx([1 / 24] * 3, abs=0.006)
    calm = crisscross.horizontal(first, second, problem, rng, spill=0.0)
    assert set(np.unique(calm[:, 0])) == {0, 4}


def test_vertical_crossover_copies_categories_between_genes_of_one_kind_alone():
    problem = Problem((4, 4, 4, 3, 3, 7), 1)
    archs = np.tile([0, 1, 2, 0, 1, 5], (4000, 1))
    found = crisscross.vertical(archs, problem, np.random.default_rng(0), rate=0.5)
    assert (found[:, 5] == 5).all(), "the only gene of seven options has no partner"
    assert set(np.unique(found[:, 3:5])) == {0, 1} and set(np.unique(found[:, :3])) == {0, 1, 2}
    changed = (found != archs).sum(axis=1)
    assert changed.max() == 2, "one pair in each of the two groups"
    assert changed.mean() == pytest.approx(2 * 0.5, abs=0.04)
    # Every gene learns from every other one of its group equally often.
    learned = [(found[:, to] == value).mean() for to in range(3) for value in range(3) if to != value]
    assert learned == pytest.approx([0.5 / 6] * 6, abs=0.02)


def test_vertical_crossover_of_ordered_genes_moves_towards_the_partner():
    problem = Problem((11, 11, 11), 1, ordered=(True, True, False))
    archs = np.tile([0, 10, 3], (4000, 1))
    found = crisscross.vertical(archs, problem, np.random.default_rng(0), rate=1.0)
    assert (found[:, 2] == 3).all(), "a category is not of the kind of genes in an order"
    one, other = found[found[:, 1] == 10][:, 0], found[found[:, 0] == 0][:, 1]
    assert len(one) + len(other) >= 4000, "only one of a pair changes"
    for moved in (one, other):
        assert set(np.unique(moved)) == set(range(11))
        assert moved.mean() == pytest.approx(5.0, abs=0.5)


def test_nothing_crosses_vertically_where_no_two_genes_are_alike():
    assert not crisscross.crosses_vertically(Problem((2, 3, 4, 1, 1), 1))
    assert not crisscross.crosses_vertically(Problem((3, 3), 1, ordered=(True, False)))
    assert crisscross.crosses_vertically(Problem((3, 3), 1))
    rows = create("nsca", choices=(2, 3, 4, 5), objectives=2).ask(20)
    strategy = create("nsca", choices=(2, 3, 4, 5), objectives=2)
    strategy.tell(rows, rows[:, :2].astype(float))
    assert len(strategy.ask(30)) == 30


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"population": 4, "vertical": 0.1}, {"population": 60, "spill": 0.0}, {"selection": "directions"}]
)
def test_it_conforms_with_other_settings(settings):
    testing.check_strategy("nsca", **settings)


def test_it_conforms_where_genes_are_in_an_order():
    strategy = create("nsca", choices=(9, 9, 4), objectives=2, ordered=(True, True, False), seed=1)
    told = set()
    for _ in range(12):
        rows = strategy.ask(27)
        told |= set(map(tuple, rows))
        strategy.tell(rows, np.stack([rows.sum(axis=1), (8 - rows[:, 0]) ** 2.0], axis=1))
    assert len(told) == 9 * 9 * 4, "asked for once each, all of it"


@pytest.mark.parametrize(
    "settings",
    [{"population": 3}, {"vertical": 0.0}, {"vertical": 1.1}, {"spill": -1.0}, {"spill": np.inf}, {"selection": "x"}],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UsageError, match="nsca"):
        create("nsca", choices=(3, 3), objectives=2, **settings)


def test_the_selection_is_by_crowding_up_to_three_objectives_and_by_directions_beyond(monkeypatch):
    used = []
    by_crowding = selection.survivors
    monkeypatch.setattr(selection, "survivors", lambda *given: used.append(1) or by_crowding(*given))
    for objectives in (2, 3, 4):
        used.clear()
        strategy = create("nsca", choices=(5,) * 6, objectives=objectives, seed=0)
        rows = strategy.ask(40)
        strategy.tell(
            rows, np.stack([(rows != corner).sum(axis=1) for corner in range(objectives)], axis=1).astype(float)
        )
        assert bool(used) == (objectives <= 3)
        assert len(strategy.ask(10)) == 10


@pytest.mark.skipif(not TABLE.exists(), reason="the table of NAS-Bench-201 is not here")
def test_it_beats_random_search_and_nsga2_on_nasbench201():
    space = nas.spaces.load("nasbench201")
    costs = np.full((15625, 2), np.nan)
    with gzip.open(TABLE, "rt", newline="") as file:
        for row in csv.DictReader(file):
            number = int(space.parse(row["arch"]) @ PLACES)
            costs[number] = 100.0 - float(row["accuracy.cifar10.test.200ep"]), float(row["latency_ms.1080ti_1"])
    kept = costs[:, 0] < 90.0
    low, high = costs[kept].min(axis=0), costs[kept].max(axis=0)
    costs = np.where(kept[:, None], (costs - low) / (high - low), 2.0)
    true = indicators.hypervolume(costs, np.ones(2))

    def ratio(name, seed):
        strategy, found = create(name, choices=(5,) * 6, objectives=2, seed=seed), []
        for _ in range(20):
            rows = strategy.ask(10)
            found.append(costs[rows @ PLACES])
            strategy.tell(rows, found[-1])
        return indicators.hypervolume(np.concatenate(found), np.ones(2)) / true

    ratios = {name: [ratio(name, seed) for seed in range(10)] for name in ("nsca", "random", "nsga2")}
    assert sum(a > b for a, b in zip(ratios["nsca"], ratios["random"], strict=True)) >= 9
    assert np.mean(ratios["nsca"]) > np.mean(ratios["random"]) + 0.02
    assert np.mean(ratios["nsca"]) > np.mean(ratios["nsga2"]) - 0.002


def test_a_gene_that_all_survivors_share_is_not_stuck():
    # No two genes are of one kind, so that nothing is learned between genes, and all parents have the same last gene.
    rows = np.stack(np.unravel_index(np.arange(0, 400, 13), (20, 20, 1, 1)), axis=1)
    changed = {}
    for mutation in (None, 0.0):
        search = create("nsca", choices=(20, 21, 7, 8), objectives=2, seed=0, population=8, mutation=mutation)
        search.tell(rows, np.stack([rows[:, 0], -rows[:, 1]], axis=1).astype(float))
        changed[mutation] = bool((search.ask(12)[:, 3] > 0).any())
    assert changed == {None: True, 0.0: False}
    assert create("nsca", choices=(5, 6), objectives=1, mutation=0).ask(1).shape == (1, 2)
    with pytest.raises(UsageError, match="mutation"):
        create("nsca", choices=(5, 6), objectives=1, mutation=1.5)
