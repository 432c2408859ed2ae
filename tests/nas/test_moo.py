"""Dominance, ranks, crowding and scalarisations, against their definitions and against pymoo."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from device_profiles.errors import UsageError
from nas.pareto import dominance

SPECIAL = [np.nan, np.inf, -np.inf]


@st.composite
def points(draw, *, special=False, most=25):
    """Costs of few distinct values, so that ties and copies are common."""
    shape = (draw(st.integers(0, most)), draw(st.integers(1, 4)))
    values = st.integers(-3, 3).map(float)
    return draw(
        hnp.arrays(np.float64, shape, elements=st.one_of(values, st.sampled_from(SPECIAL)) if special else values)
    )


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


def front_by_definition(costs):
    finite = [bool(np.isfinite(row).all()) for row in costs]
    return [
        ok and not any(other and dominates(costs[j], costs[i]) for j, other in enumerate(finite))
        for i, ok in enumerate(finite)
    ]


@given(points(special=True))
def test_nondominated_is_its_definition(costs):
    assert dominance.nondominated(costs).tolist() == front_by_definition(costs)


@given(points())
def test_nondominated_is_pymoos(costs):
    if len(costs):
        front = NonDominatedSorting().do(costs, only_non_dominated_front=True)
        assert np.flatnonzero(dominance.nondominated(costs)).tolist() == sorted(front)


@given(points())
def test_ranks_are_pymoos(costs):
    if len(costs):
        _, ranks = NonDominatedSorting().do(costs, return_rank=True)
        assert dominance.ranks(costs).tolist() == ranks.tolist()


@pytest.mark.parametrize("objectives", [2, 3])
def test_ranks_of_many_points_are_those_of_few(objectives):
    costs = np.random.default_rng(objectives).integers(0, 40, size=(1600, objectives)).astype(float)
    whole = dominance.ranks(costs)
    rest = np.arange(len(costs))
    for level in range(int(whole.max()) + 1):
        front = np.array(front_by_definition(np.unique(costs[rest], axis=0)))
        on_front = {tuple(row) for row in np.unique(costs[rest], axis=0)[front]}
        expected = [row for row in rest if tuple(costs[row]) in on_front]
        assert np.flatnonzero(whole == level).tolist() == expected
        rest = np.setdiff1d(rest, expected)
        if level == 2:
            break
    _, pymoos = NonDominatedSorting().do(costs, return_rank=True)
    assert whole.tolist() == pymoos.tolist()


@given(points(special=True, most=12), st.data())
def test_ranks_put_feasible_first_and_failures_last(costs, data):
    amounts = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 0.0, 0.5, 2.0, np.inf]), min_size=len(costs), max_size=len(costs)))
    )
    ranks = dominance.ranks(costs, amounts)
    failed = ~np.isfinite(costs).all(axis=1)
    feasible = ~failed & (amounts == 0)
    assert ranks[feasible].tolist() == dominance.ranks(costs[feasible]).tolist()
    for i in range(len(costs)):
        for j in range(len(costs)):
            if failed[i] or failed[j]:
                assert not (failed[i] and not failed[j]) or ranks[i] > ranks[j]
            elif amounts[i] > 0 or amounts[j] > 0:
                assert np.sign(ranks[i] - ranks[j]) == np.sign(
                    float(amounts[i] > amounts[j]) - (amounts[i] < amounts[j])
                )
    if len(costs):
        assert sorted(set(ranks.tolist())) == list(range(int(ranks.min()), int(ranks.max()) + 1))


def test_a_violation_that_is_not_a_number_is_the_worst():
    costs = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]])
    assert dominance.ranks(costs, np.array([0.0, 3.0, np.nan])).tolist() == [0, 1, 2]


@given(st.integers(1, 3).flatmap(lambda m: st.tuples(*[st.permutations(range(9))] * m)))
def test_crowding_is_pymoos_and_its_definition(columns):
    costs = np.array(columns, dtype=float).T ** 1.5
    ours = dominance.crowding_distance(costs)
    assert ours == pytest.approx(calc_crowding_distance(costs) * costs.shape[1])
    for i, row in enumerate(costs):
        expected = 0.0
        for column, value in zip(costs.T, row, strict=True):
            below, above = column[column < value], column[column > value]
            gap = above.min() - below.max() if len(below) and len(above) else np.inf
            expected += gap / np.ptp(column)
        assert ours[i] == pytest.approx(expected)


def test_copies_do_not_crowd_and_constant_objectives_add_nothing():
    line = np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]])
    alone = dominance.crowding_distance(line)
    assert alone.tolist() == [np.inf, 3 / 4 + 3 / 4, 3 / 4 + 3 / 4, np.inf]
    doubled = dominance.crowding_distance(np.concatenate([line, line[1:2]]))
    assert doubled.tolist() == [*alone, 0.0]
    assert dominance.crowding_distance(np.c_[line, np.ones(4)]).tolist() == alone.tolist()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_of_two_points_both_are_ends(count):
    assert dominance.crowding_distance(np.arange(2.0 * count).reshape(count, 2)).tolist() == [np.inf] * count


@pytest.mark.parametrize("value", SPECIAL)
def test_crowding_refuses_what_is_not_finite(value):
    with pytest.raises(UsageError, match="finite"):
        dominance.crowding_distance(np.array([[1.0, value], [2.0, 1.0], [3.0, 0.0]]))


@pytest.mark.parametrize("function", [dominance.nondominated, dominance.ranks, dominance.crowding_distance])
def test_costs_are_a_matrix(function):
    with pytest.raises(UsageError, match=r"\(3,\)"):
        function(np.zeros(3))


def test_scalarisations_by_hand():
    costs = np.array([[2.0, 30.0], [4.0, 10.0]])
    ideal, nadir, weights = np.array([2.0, 10.0]), np.array([6.0, 50.0]), np.array([0.25, 0.75])
    assert dominance.weighted_sum(costs, weights, ideal, nadir) == pytest.approx([0.75 * 0.5, 0.25 * 0.5])
    assert dominance.chebyshev(costs, weights, ideal, nadir, rho=0.1) == pytest.approx([0.375 * 1.1, 0.125 * 1.1])
    flat = dominance.weighted_sum(costs, weights, ideal, np.array([6.0, 10.0]))
    assert flat == pytest.approx([0.75 * 20.0, 0.25 * 0.5])  # an objective without a range is not divided


def test_only_chebyshev_reaches_points_off_the_convex_hull():
    costs = np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.6]])
    found = {"sum": set(), "chebyshev": set()}
    for share in np.linspace(0.01, 0.99, 50):
        weights = np.array([share, 1 - share])
        found["sum"].add(int(dominance.weighted_sum(costs, weights, np.zeros(2), np.ones(2)).argmin()))
        found["chebyshev"].add(int(dominance.chebyshev(costs, weights, np.zeros(2), np.ones(2)).argmin()))
    assert found == {"sum": {0, 1}, "chebyshev": {0, 1, 2}}
