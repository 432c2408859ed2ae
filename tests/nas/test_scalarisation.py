"""Scalarisation: the order of its weights, what each kind can reach, its bounds, screening, and the baselines."""

import itertools

import numpy as np
import pytest

from device_profiles.errors import UsageError
from nas import testing
from nas.pareto import dominance, indicators
from nas.strategies import create

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
    return np.concatenate(told), strategy


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"kind": "linear", "weights": 1, "parents": 1, "initial": 1}, {"mutation": 0.4}])
def test_it_conforms_with_other_settings(settings):
    testing.check_strategy("scalarisation", **settings)


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["chebyshev", "linear"])
def test_it_beats_random_search(kind, objectives):
    def volume(name, seed, **settings):
        rows, _ = searched(name, seed, objectives=objectives, **settings)
        return indicators.hypervolume(costs_of(rows, objectives), np.ones(objectives))

    mine = [volume("scalarisation", seed, kind=kind) for seed in range(4)]
    random = [volume("random", seed) for seed in range(4)]
    assert min(mine) > max(random)


def settled(kind):
    """How often each network of a whole space is asked for near: everything is told, then the parents are read off."""
    strategy = create("scalarisation", choices=(21, 21), objectives=2, kind=kind, parents=1, weights=30)
    archs = np.array(list(itertools.product(range(21), repeat=2)))
    x = archs / 20
    # A concave front y = 1 - x^4 .. : only its ends are on the convex hull.
    costs = np.stack([x[:, 0], np.sqrt(1 - x[:, 0] ** 2) + x[:, 1]], axis=1)
    strategy.tell(archs, costs)
    able = np.arange(len(archs))
    best = {int(strategy._best(weight, able, strategy.bounds)[0][0]) for weight in strategy._weights}
    return costs[sorted(best)]


def test_chebyshev_reaches_points_off_the_convex_hull_and_linear_does_not():
    assert len(settled("linear")) == 2
    assert len(settled("chebyshev")) > 10


def test_weights_come_in_a_fixed_order_each_equally_often():
    seen = []
    strategy = create("scalarisation", choices=CHOICES, objectives=2, seed=3, weights=7, initial=1)
    original = strategy._best
    strategy._best = lambda weight, able, bounds: seen.append(tuple(weight)) or original(weight, able, bounds)
    rows = strategy.ask(1)
    strategy.tell(rows, costs_of(rows))
    for count in (3, 4, 1, 6, 7):
        rows = strategy.ask(count)
        strategy.tell(rows, costs_of(rows))
    assert len(seen) == 21 and seen[:7] == seen[7:14] == seen[14:], "the order does not depend on the batches"
    assert len(set(seen)) == 7
    assert sorted(seen[:7]) != seen[:7] and sorted(seen[:7], reverse=True) != seen[:7], "in no order of direction"
    assert np.min(seen) > 0, "a corner still prefers the better in the rest"


def test_bounds_are_those_of_the_feasible_front_of_what_was_told():
    rng = np.random.default_rng(0)
    rows, costs = rng.integers(0, 5, size=(60, 10)), rng.random((60, 3))
    violations = np.where(costs[:, 0] < 0.2, 1.0, 0.0)
    costs[5], costs[6, 1] = np.nan, -np.inf
    strategy = create("scalarisation", choices=CHOICES, objectives=3)
    assert [one.tolist() for one in strategy.bounds] == [[0] * 3, [1] * 3]
    strategy.tell(rows, costs, violations)
    kept = costs[(violations == 0) & np.isfinite(costs).all(axis=1)]
    front = kept[[not any((o <= p).all() and (o < p).any() for o in kept) for p in kept]]
    assert np.array_equal(strategy.bounds[0], front.min(axis=0))
    assert np.array_equal(strategy.bounds[1], front.max(axis=0))
    fixed = create("scalarisation", choices=CHOICES, objectives=3, ideal=(0, 0, 0), nadir=(1, 2, 3))
    fixed.tell(rows, costs, violations)
    assert [one.tolist() for one in fixed.bounds] == [[0, 0, 0], [1, 2, 3]]


def test_known_objectives_screen_children_that_could_not_win():
    """The second cost is the number of zeros missing, and free to know; all children of the fast end are hopeful."""
    calls = []

    def zeros(archs):
        calls.append(len(archs))
        return (archs != 0).mean(axis=1)

    rng = np.random.default_rng(0)
    rows = rng.integers(0, 5, size=(200, 10))
    costs = np.stack([rng.random(200), zeros(rows)], axis=1)
    means = {}
    for label, known in (("screened", {1: zeros}), ("blind", None)):
        strategy = create("scalarisation", choices=CHOICES, objectives=2, known=known, mutation=0.3)
        strategy.tell(rows, costs)
        calls.clear()
        means[label] = zeros(strategy.ask(96)).mean()
    assert means["screened"] < means["blind"] - 0.03


def test_screened_children_are_valid_before_they_are_priced():
    def valid(archs):
        return archs[:, 0] > 0

    def price(archs):
        assert valid(archs).all(), "only networks have a price"
        return archs[:, 1].astype(float)

    strategy = create("scalarisation", choices=(3,) * 6, objectives=2, known={1: price}, valid=valid)
    for _ in range(5):
        rows = strategy.ask(20)
        strategy.tell(rows, np.stack([rows.sum(axis=1), price(rows)], axis=1).astype(float))
        assert len(rows) == 20


def test_scores_are_those_of_the_definition():
    costs = np.array([[0.0, 4.0], [1.0, 2.0], [2.0, 1.0]])
    ideal, nadir, weight = np.array([0.0, 1.0]), np.array([2.0, 4.0]), np.array([0.25, 0.75])
    normal = np.array([[0, 1], [0.5, 1 / 3], [1, 0]])
    assert dominance.weighted_sum(costs, weight, ideal, nadir) == pytest.approx(normal @ weight)
    expected = [max(w) + 0.1 * sum(w) for w in normal * weight]
    assert dominance.chebyshev(costs, weight, ideal, nadir, rho=0.1) == pytest.approx(expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "median"},
        {"weights": 0},
        {"initial": 0},
        {"parents": 0},
        {"rho": -0.1},
        {"crossover": 2.0},
        {"mutation": 0.0},
        {"ideal": (0.0, 0.0)},
        {"ideal": (0.0, 0.0), "nadir": (1.0, 0.0)},
        {"ideal": (0.0,), "nadir": (1.0,)},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UsageError, match="scalarisation"):
        create("scalarisation", choices=(3, 3), objectives=2, **settings)
