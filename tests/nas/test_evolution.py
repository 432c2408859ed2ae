"""Strategies by evolution and local search: what each promises, beside brute force, random search and pymoo."""

import csv
import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest

import nas
from device_profiles.errors import UsageError
from nas import testing
from nas.pareto import directions, dominance, indicators
from nas.strategies import create

TABLE = Path(__file__).resolve().parents[3] / "shared/data/nasbench201.csv.gz"
PLACES = 5 ** np.arange(5, -1, -1)
OURS = ("regularised-evolution", "local-search", "nsga3", "moead")
CHOICES = (5,) * 10
GENES = np.arange(10)
CORNERS = np.array([GENES % 5, (3 * GENES + 2) % 5, (2 * GENES + 1) % 5, (4 * GENES + 3) % 5, (GENES + 4) % 5])


def costs_of(archs, objectives=2):
    """Distances to corners."""
    return ((archs[:, None, :] != CORNERS[:objectives]) * (1 + GENES)).sum(axis=2) / 55.0


def searched(name, seed, evaluations=200, objectives=2, **settings):
    strategy = create(name, choices=CHOICES, objectives=objectives, seed=seed, **settings)
    told = []
    while sum(map(len, told)) < evaluations:
        rows = strategy.ask(10)
        strategy.tell(rows, costs_of(rows, objectives))
        told.append(rows)
    return np.concatenate(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("regularised-evolution", {"population": 2, "sample": 1, "initial": 1, "mutation": 0.3}),
        ("regularised-evolution", {"population": 200, "sample": 200, "initial": 60}),
        ("local-search", {"initial": 1, "focus": 1.0}),
        ("local-search", {"initial": 40, "focus": 0.01}),
        ("nsga3", {"directions": 1, "population": 4, "crossover": 0.0}),
        ("nsga3", {"directions": 120, "mutation": 1.0}),
        ("moead", {"weights": 1, "neighbours": 2, "replacements": 1, "near": 0.0}),
        ("moead", {"weights": 90, "kind": "pbi", "theta": 0.0, "near": 1.0, "mutation": 0.5}),
    ],
)
def test_they_conform_with_other_settings(name, settings):
    testing.check_strategy(name, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(("regularised-evolution", {key: 0}) for key in ("population", "sample", "initial", "mutation")),
        ("regularised-evolution", {"mutation": 1.1}),
        *(("local-search", wrong) for wrong in ({"initial": 0}, {"focus": 0.0}, {"focus": 1.1})),
        *(("nsga3", wrong) for wrong in ({"directions": 0}, {"population": 3}, {"crossover": 2}, {"mutation": 0.0})),
        *(("moead", {key: 0}) for key in ("weights", "neighbours", "replacements", "mutation")),
        *(("moead", wrong) for wrong in ({"kind": "sum"}, {"theta": -1}, {"near": 1.1}, {"crossover": -0.1})),
    ],
)
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(UsageError, match=name):
        create(name, choices=(3, 3), objectives=2, **settings)


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
@pytest.mark.parametrize("name", OURS)
def test_they_beat_random_search(name, objectives):
    mine, random = (
        [
            indicators.hypervolume(
                costs_of(searched(one, seed, objectives=objectives), objectives), np.full(objectives, 1.0)
            )
            for seed in range(5)
        ]
        for one in (name, "random")
    )
    assert np.mean(mine) > np.mean(random) and sum(a > b for a, b in zip(mine, random, strict=True)) >= 4


def table(device):
    """Costs by number of the cell, beyond the reference where the error is 90 % or more; and the true hypervolume."""
    space, costs = nas.spaces.load("nasbench201"), np.full((15625, 2), np.nan)
    with gzip.open(TABLE, "rt", newline="") as file:
        for row in csv.DictReader(file):
            number = int(space.parse(row["arch"]) @ PLACES)
            costs[number] = 100.0 - float(row["accuracy.cifar10.test.200ep"]), float(row[f"latency_ms.{device}"])
    kept = costs[:, 0] < 90.0
    low, high = costs[kept].min(axis=0), costs[kept].max(axis=0)
    costs = np.where(kept[:, None], (costs - low) / (high - low), 2.0)
    return costs, indicators.hypervolume(costs, np.ones(2))


@pytest.mark.skipif(not TABLE.exists(), reason="the table of NAS-Bench-201 is not here")
def test_they_beat_random_search_on_nasbench201_after_200_evaluations():
    ratios = {name: [] for name in (*OURS, "random")}
    for device in ("1080ti_1", "pixel3"):
        costs, true = table(device)
        for name, seed in itertools.product(ratios, range(8)):
            strategy, found = create(name, choices=(5,) * 6, objectives=2, seed=seed), []
            for _ in range(20):
                rows = strategy.ask(10)
                found.append(costs[rows @ PLACES])
                strategy.tell(rows, found[-1])
            ratios[name].append(indicators.hypervolume(np.concatenate(found), np.ones(2)) / true)
    for name in OURS:
        assert np.mean(ratios[name]) > np.mean(ratios["random"]) + 0.015
        assert sum(a > b for a, b in zip(ratios[name], ratios["random"], strict=True)) >= 14
        assert np.mean(ratios[name]) > 0.975


# Regularised evolution


def test_children_differ_in_one_gene_from_somebody_who_is_alive():
    choices = (5, 1, 4, 3, 5, 5, 2, 5)
    strategy = create("regularised-evolution", choices=choices, objectives=2, population=6, sample=6, initial=12)
    rng = np.random.default_rng(0)
    told = np.empty((0, 8), dtype=int)
    for _ in range(12):
        rows = strategy.ask(6)
        if len(told) >= 12:
            gaps = (rows[:, None, :] != told[None, -6:, :]).sum(axis=2)
            assert (gaps.min(axis=1) == 1).all(), "a parent older than the population was used"
        strategy.tell(rows, rng.random((6, 2)))
        told = np.concatenate([told, rows])


def test_the_best_of_the_sample_is_the_parent_by_rank_and_then_by_crowding():
    """Four on the front, of which the ends are the least crowded and then the second; the rest is dominated."""
    front = np.array([[0.0, 1.0], [0.3, 0.5], [0.8, 0.05], [1.0, 0.0]])
    costs = np.concatenate([front, front + 1, np.full((2, 2), np.nan)])
    archs = np.arange(10)[:, None] * np.ones((1, 12), dtype=int)

    def parents(sample):
        strategy = create("regularised-evolution", choices=(500,) * 12, objectives=2, sample=sample, initial=1)
        strategy.tell(archs, costs)
        rows = strategy.ask(400)
        return np.bincount((rows[:, None, :] != archs).sum(axis=2).argmin(axis=1), minlength=10) / 400

    best = parents(7)
    assert best[[0, 3]].sum() > 0.9 and best[4:].sum() == 0, "of seven of eight one end is always there"
    assert parents(1)[:8].min() > 0.05 and parents(1)[8:].sum() == 0, "of one any, but never a failure"
    middle = parents(4)
    assert middle[0] > middle[2] > 0 and middle[4:].sum() < 0.05


def test_beyond_three_objectives_the_best_mean_place_is_the_parent():
    """All on the front, the last in the middle of it; with a corner in each objective for the others."""
    costs = np.concatenate([1 - np.eye(4), [[0.1, 0.1, 0.1, 0.1]]])
    archs = np.arange(5)[:, None] * np.ones((1, 12), dtype=int)
    for count, wanted in ((4, 1.0), (3, 0.0)):
        strategy = create("regularised-evolution", choices=(500,) * 12, objectives=count, initial=1)
        strategy.tell(archs, costs[:, :count])
        assert np.mean((strategy.ask(50) != 4).sum(axis=1) == 1) == wanted


# Local search


def neighbours_of(rows, choices):
    """All that differ in one gene, by brute force."""
    found = set()
    for row in rows:
        for gene, options in enumerate(choices):
            for option in set(range(options)) - {int(row[gene])}:
                found.add((*map(int, row[:gene]), option, *map(int, row[gene + 1 :])))
    return found


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_every_neighbour_of_the_front_is_asked_for_and_then_the_search_starts_elsewhere(objectives):
    choices = (4, 3, 1, 4, 3)
    rng = np.random.default_rng(objectives)
    values = rng.random((4 * 3 * 4 * 3, objectives))
    shape = (4, 3, 4, 3)
    strategy = create("local-search", choices=choices, objectives=objectives, initial=3, seed=1)
    told, starts, begin = [], 0, 0
    while len(told) < 144:
        rows = strategy.ask(1)
        costs = values[np.ravel_multi_index(tuple(rows[0, [0, 1, 3, 4]]), shape)]
        climb, seen = told[begin:], {one for one, _ in told}
        if len(climb) >= 3:
            front = dominance.nondominated(np.array([cost for _, cost in climb]))
            near = neighbours_of([one for (one, _), kept in zip(climb, front, strict=True) if kept], choices) - seen
            if near:
                assert tuple(rows[0].tolist()) in near
            else:
                starts, begin = starts + 1, len(told)
        strategy.tell(rows, costs[None])
        told.append((tuple(rows[0].tolist()), costs))
    assert starts > 0 if objectives > 1 else starts > 3


def test_least_crowded_centres_come_first_unless_the_focus_is_on_all():
    rng = np.random.default_rng(0)
    archs = rng.integers(0, 9, size=(40, 12))
    x = np.concatenate([[0.0], np.linspace(0.4, 0.42, 38), [1.0]])
    costs = np.stack([x, 1 - x], axis=1)

    def share(focus):
        strategy = create("local-search", choices=(9,) * 12, objectives=2, focus=focus)
        strategy.tell(archs, costs)
        rows = strategy.ask(80)
        assert {tuple(row) for row in rows.tolist()} <= neighbours_of(archs, (9,) * 12)
        return np.mean((rows[:, None, :] != archs[[0, -1]]).sum(axis=2).min(axis=1) == 1)

    assert share(0.05) == 1.0
    assert share(1.0) < 0.2


def test_local_search_of_one_objective_ends_where_no_neighbour_is_better():
    strategy = create("local-search", choices=(5,) * 6, objectives=1, seed=0)
    rng = np.random.default_rng(0)
    table_of = rng.random(15625)
    for _ in range(30):
        rows = strategy.ask(8)
        strategy.tell(rows, table_of[rows @ PLACES][:, None])
    told = strategy._history
    first = told.archs[: strategy._start]
    assert len(first) > 0
    best = first[table_of[first @ PLACES].argmin()]
    near = np.array(sorted(neighbours_of([best], (5,) * 6)))
    assert table_of[best @ PLACES] <= table_of[near @ PLACES].min()


def test_local_search_takes_large_spaces_and_long_genes():
    """22 genes of 9 options, with a front of hundreds; and 1001 options."""
    rng = np.random.default_rng(0)
    for choices, count in (((9,) * 22, 600), ((1001,) * 12, 100)):
        strategy = create("local-search", choices=choices, objectives=2, ordered=(True,) * len(choices))
        rows = rng.integers(0, choices, size=(count, len(choices)))
        x = np.sort(rng.random(count))
        strategy.tell(rows, np.stack([x, 1 - x], axis=1))
        for _ in range(10):
            asked = strategy.ask(50)
            assert len(asked) == 50
            strategy.tell(asked, np.ones((50, 2)) * 5)


# NSGA-III


def test_population_is_as_many_as_directions_and_no_fewer_than_16():
    for objectives, wanted in ((1, 16), (2, 16), (3, 28), (5, 35)):
        strategy = create("nsga3", choices=(9,) * 8, objectives=objectives)
        rows = strategy.ask(100)
        strategy.tell(rows, np.random.default_rng(0).random((100, objectives)))
        assert len(strategy._population.archs) == wanted == max(16, len(strategy._niches.directions))
    strategy = create("nsga3", choices=(9,) * 8, objectives=3, directions=91)
    strategy.tell(rows, np.random.default_rng(0).random((100, 3)))
    assert len(strategy._population.archs) == 91


def test_survivors_of_nsga3_lie_near_all_directions():
    """Of a whole sphere of points, one is kept for each direction; by crowding they are not."""
    rng = np.random.default_rng(0)
    points = np.abs(rng.normal(size=(3000, 4)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ways = directions.spread(4, 56)
    points[:4] = np.eye(4)
    strategy = create("nsga3", choices=(10,) * 8, objectives=4, directions=56)
    strategy.tell(rng.integers(0, 10, size=(3000, 8)), points)
    units = ways / np.linalg.norm(ways, axis=1, keepdims=True)
    assert len(strategy._population.costs) == len(ways)
    nearest = (strategy._population.costs @ units.T).argmax(axis=1)
    assert len(set(nearest.tolist())) == len(ways)


def test_nsga3_remembers_the_ideal_and_never_breeds_failures():
    strategy = create("nsga3", choices=(50,) * 12, objectives=2)
    archs = np.arange(20)[:, None] * np.ones((1, 12), dtype=int)
    costs = np.where(np.arange(20)[:, None] < 3, np.array([[1.0, 2.0]]), np.nan)
    strategy.tell(archs, costs)
    rows = strategy.ask(40)
    assert ((rows < 3).sum(axis=1) >= 6).all(), "of the three that did not fail, with few genes changed"
    strategy.tell(rows, np.tile([[0.5, 3.0]], (40, 1)))
    strategy.tell(rows[:0], costs[:0])
    assert strategy._niches.frame.ideal.tolist() == [0.5, 2.0]
    better = np.arange(20, 40)[:, None] * np.ones((1, 12), dtype=int)
    strategy.tell(better, np.tile([[0.4, 1.0]], (20, 1)))
    strategy.tell(better + 10, np.tile([[0.3, 1.0]], (20, 1)))
    assert strategy._niches.frame.ideal.tolist() == [0.3, 1.0] and strategy._niches.frame.worst.tolist() == [1.0, 3.0]


# MOEA/D


@pytest.mark.parametrize("kind", ["chebyshev", "pbi"])
@pytest.mark.parametrize("objectives", [2, 3])
def test_incumbents_are_the_best_under_their_weights_by_brute_force(kind, objectives):
    """Where one row may replace any incumbent: the rest is only how slowly."""
    rng = np.random.default_rng(0)
    strategy = create(
        "moead", choices=CHOICES, objectives=objectives, kind=kind, weights=30, neighbours=99, replacements=99, theta=2
    )
    archs, costs = rng.integers(0, 5, size=(120, 10)), np.abs(rng.normal(size=(120, objectives)))
    costs *= (1 + rng.random((120, 1))) / np.linalg.norm(costs, axis=1, keepdims=True) * [1, 10, 100][:objectives]
    violations = np.where(rng.random(120) < 0.3, rng.random(120), 0.0)
    costs[3], costs[5, 0] = np.nan, -np.inf
    strategy.tell(archs, costs, violations)
    usable = [i for i in range(120) if np.isfinite(costs[i]).all() and violations[i] == 0]
    ideal = costs[usable].min(axis=0)
    front = [i for i in usable if not any((costs[j] <= costs[i]).all() and (costs[j] < costs[i]).any() for j in usable)]
    nadir = costs[front].max(axis=0)
    for weight, holder in zip(strategy._weights, strategy._incumbents, strict=True):
        scores = {}
        for i in usable:
            point = (costs[i] - ideal) / (nadir - ideal)
            if kind == "chebyshev":
                scores[i] = max(weight * point)
            else:
                unit = weight / np.sqrt((weight**2).sum())
                along = point @ unit
                scores[i] = along + 2 * np.sqrt(((point - along * unit) ** 2).sum())
        assert scores[int(holder)] == pytest.approx(min(scores.values()))
    assert len(set(strategy._incumbents.tolist())) > 5


def test_one_row_replaces_few_incumbents_and_only_near_where_it_is_best():
    rng = np.random.default_rng(1)
    strategy = create("moead", choices=CHOICES, objectives=2, weights=40, neighbours=6, replacements=2)
    x = np.linspace(0, 1, 300)
    strategy.tell(rng.integers(0, 5, size=(300, 10)), np.stack([x, 1 - x], axis=1) + 0.5)
    assert (strategy._incumbents >= 0).mean() > 0.8
    for place in (0.05, 0.5, 0.9):
        before = strategy._incumbents.copy()
        strategy.tell(rng.integers(0, 5, size=(1, 10)), np.array([[place, 1 - place]]) + 0.3)
        changed = np.flatnonzero(strategy._incumbents != before)
        assert 1 <= len(changed) <= 2, "it dominates far more of them"
        # A Chebyshev weight asks for the point that is inverse to it.
        assert np.abs(1 - strategy._weights[changed, 0] - place).max() < 0.15


def test_what_is_beaten_where_it_is_best_replaces_nobody_far_away():
    strategy = create("moead", choices=CHOICES, objectives=2, weights=40, neighbours=4)
    rng, x = np.random.default_rng(1), np.linspace(0, 0.4, 200)
    strategy.tell(rng.integers(0, 5, size=(200, 10)), np.stack([x, 0.4 - x], axis=1))
    before = strategy._incumbents.copy()
    assert (before >= 0).sum() > 30
    strategy._incumbents[strategy._weights[:, 0] < 0.2] = -1
    before = strategy._incumbents.copy()
    strategy.tell(rng.integers(0, 5, size=(1, 10)), np.array([[0.15, 0.35]]))
    assert np.array_equal(strategy._incumbents, before)


def test_parents_are_incumbents_of_near_weights_or_any_by_chance():
    """Every incumbent has an option of its own, so that a child tells who its parents were."""
    x = np.linspace(0, 1, 60)

    def gaps(near):
        strategy = create(
            "moead", choices=(60,) * 12, objectives=2, weights=30, neighbours=4, near=near, mutation=1e-9, crossover=1.0
        )
        strategy.tell(np.arange(60)[:, None] * np.ones((1, 12), dtype=int), np.stack([x, 1 - x], axis=1))
        rows = strategy.ask(30)
        return x[rows.max(axis=1)] - x[rows.min(axis=1)]

    assert gaps(1.0).max() < 0.3 < np.mean(gaps(0.0))
    assert (gaps(0.5) > 0.3).any() and np.median(gaps(0.5)) < 0.3


def test_moead_works_with_one_objective_and_with_what_others_found():
    strategy = create("moead", choices=CHOICES, objectives=1, weights=8)
    rows = np.random.default_rng(0).integers(0, 5, size=(50, 10))
    strategy.tell(rows, costs_of(rows, 1))
    assert len(set(strategy._incumbents.tolist())) > 2, "a population, not one"
    assert costs_of(rows, 1).argmin() in strategy._incumbents


@pytest.mark.parametrize("name", ["nsga3", "moead", "regularised-evolution"])
def test_genes_in_an_order_are_moved_to_near_options(name):
    archs = np.random.default_rng(0).integers(490, 531, size=(100, 12))
    means = []
    for ordered in (True, False):
        strategy = create(name, choices=(1001,) * 12, objectives=2, ordered=(ordered,) * 12, seed=2)
        strategy.tell(archs, np.tile([[0.0, 1.0], [1.0, 0.0]], (50, 1)))
        means.append(np.maximum(np.abs(strategy.ask(50) - 510) - 20, 0).mean())
    assert means[0] < means[1] / 3
