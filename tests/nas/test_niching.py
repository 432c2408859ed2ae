"""Survival by reference directions, beside pymoo's normalisation, brute force, and what the paper promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.algorithms.moo.nsga3 import HyperplaneNormalization, ReferenceDirectionSurvival
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem

from device_profiles.errors import UsageError
from nas.operators import niching
from nas.pareto import directions, dominance


def sphere(count, objectives, rng, distance=0.5):
    """Points on and behind the unit sphere."""
    raw = np.abs(rng.normal(size=(count, objectives)))
    return raw / np.linalg.norm(raw, axis=1, keepdims=True) * (1 + distance * rng.random((count, 1)))


def survive(costs, count, ways, frame=None, violations=None, seed=0):
    frame = niching.start(costs.shape[1]) if frame is None else frame
    amounts = np.zeros(len(costs)) if violations is None else violations
    return niching.survivors(costs, amounts, count, ways, frame, np.random.default_rng(seed))


@pytest.mark.parametrize("objectives", [2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_normalisation_is_that_of_pymoo_over_generations(objectives, seed):
    """Which is told costs in units of the front, since it takes them as they are."""
    rng = np.random.default_rng(seed)
    frame, planes = niching.start(objectives), 0
    scale = 10.0 ** np.arange(objectives)
    for generation in range(8):
        costs = (sphere(40, objectives, rng, distance=2 / (1 + generation)) + 0.3) * scale
        front = dominance.nondominated(costs)
        ideal = np.minimum(frame.ideal, costs.min(axis=0))
        unit = costs[front].max(axis=0) - ideal
        theirs = HyperplaneNormalization(objectives)
        if generation:
            theirs.ideal_point, theirs.worst_point = (frame.ideal - ideal) / unit, (frame.worst - ideal) / unit
            theirs.extreme_points = (frame.extremes - ideal) / unit
        theirs.update((costs - ideal) / unit, nds=np.flatnonzero(front))
        frame, lengths = niching.renewed(frame, costs, front)
        assert np.array_equal(frame.ideal, ideal)
        assert np.allclose(lengths, theirs.nadir_point * unit, rtol=1e-9)
        assert np.allclose((frame.extremes - ideal) / unit, theirs.extreme_points)
        planes += not np.allclose(theirs.nadir_point, 1.0)
    assert planes > 2, "the hyperplane was used, and not only what is used in its place"


def test_the_axes_end_where_the_hyperplane_meets_them():
    """The plane x/2 + y/4 + z/5 = 1, shifted."""
    corners = np.diag([2.0, 4.0, 5.0])
    inside = np.array([[0.5, 1.0, 2.5], [1.0, 1.0, 1.25]])
    frame, lengths = niching.renewed(
        niching.start(3), np.concatenate([inside, corners, [[0, 0, 6.0]]]) + 7, np.array([True] * 5 + [False])
    )
    assert np.array_equal(frame.ideal, [7, 7, 7]) and np.allclose(lengths, [2, 4, 5])
    assert np.array_equal(frame.worst, [9, 11, 13])
    later, lengths = niching.renewed(frame, inside[:1] + 7, np.array([True]))
    assert np.allclose(lengths, [2, 4, 5]) and np.array_equal(later.extremes, frame.extremes), "they are remembered"


@pytest.mark.parametrize(
    ("costs", "wanted"),
    [
        ([[3.0, 4.0]], [1.0, 1.0]),
        ([[0.0, 5.0, 1.0], [2.0, 0.0, 1.0]], [2.0, 5.0, 1.0]),
        ([[0.0, 1.0], [1.0, 0.0], [0.2, 0.3]], [1.0, 1.0]),
        ([[7.0], [9.0]], [2.0]),
    ],
)
def test_without_a_hyperplane_the_axes_end_at_the_worst_of_the_front(costs, wanted):
    costs = np.array(costs)
    _, lengths = niching.renewed(niching.start(costs.shape[1]), costs, dominance.nondominated(costs))
    assert np.allclose(lengths, wanted)


def test_points_belong_to_the_direction_that_is_nearest_by_brute_force():
    rng = np.random.default_rng(0)
    points, ways = rng.random((50, 4)), directions.das_dennis(4, 4)
    niches, distances = niching.associated(points, ways)
    for point, niche, distance in zip(points, niches, distances, strict=True):
        feet = [way * (point @ way) / (way @ way) for way in ways]
        gaps = [np.sqrt(((point - foot) ** 2).sum()) for foot in feet]
        assert niche == int(np.argmin(gaps)) and distance == pytest.approx(min(gaps), abs=1e-9)
    assert len(set(niches.tolist())) > 10


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 8), st.data())
def test_niches_are_filled_evenly_and_the_nearest_comes_first(seed, points, ways, data):
    rng = np.random.default_rng(seed)
    niches, distances = rng.integers(0, ways, size=points), rng.random(points)
    crowd = rng.integers(0, 3, size=ways)
    room = data.draw(st.integers(1, points))
    found = niching.filled(niches, distances, crowd, room, np.random.default_rng(seed))
    assert len(found) == room == len(set(found.tolist()))
    after = crowd + np.bincount(niches[found], minlength=ways)
    left = np.setdiff1d(np.arange(points), found)
    for open_niche in set(niches[left].tolist()):
        for entered in set(niches[found].tolist()):
            assert after[open_niche] >= after[entered] - 1, "none was passed over for a fuller one"
    for niche in set(niches[found].tolist()):
        if crowd[niche] == 0:
            members = np.flatnonzero(niches == niche)
            assert members[distances[members].argmin()] in found


def test_which_of_equals_enter_is_chance_and_all_have_it():
    niches, distances, crowd = np.zeros(5, dtype=int), np.arange(5.0), np.array([1])
    entered = [niching.filled(niches, distances, crowd, 1, np.random.default_rng(seed)).item() for seed in range(200)]
    assert np.bincount(entered, minlength=5).min() > 20, "a niche with members takes any, not the nearest"
    first = [
        niching.filled(np.arange(4), np.zeros(4), np.zeros(4, dtype=int), 1, np.random.default_rng(seed)).item()
        for seed in range(200)
    ]
    assert np.bincount(first, minlength=4).min() > 20


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
def test_better_ranks_survive_whole_and_only_the_last_is_thinned(objectives):
    rng = np.random.default_rng(objectives)
    costs, ways = np.round(rng.random((80, objectives)), 1), directions.spread(objectives, 20)
    for count in (1, 7, 20, 79, 80, 200):
        kept = survive(costs, count, ways)
        assert len(kept.rows) == min(count, 80) == len(set(kept.rows.tolist()))
        ranks = dominance.ranks(costs)
        assert np.array_equal(kept.ranks, ranks[kept.rows]) and (np.diff(kept.ranks) >= 0).all()
        last = kept.ranks.max()
        assert set(np.flatnonzero(ranks < last)) <= set(kept.rows.tolist())
        assert (kept.niches >= 0).all() and np.isfinite(kept.distances).all()


def test_niches_that_better_ranks_fill_already_come_last():
    """A point on the front near each of two directions, behind them six in the same niches and one in the third."""
    front = np.array([[0.0, 1.0], [1.0, 0.0]])
    behind = np.array([[0.0, 1.5], [0.0, 1.5], [0.0, 1.5], [1.5, 0.0], [1.5, 0.0], [1.5, 0.0], [1.1, 1.1]])
    for seed in range(10):
        kept = survive(np.concatenate([front, behind]), 3, directions.das_dennis(2, 2), seed=seed)
        assert sorted(kept.rows.tolist()) == [0, 1, 8]


def test_survivors_cover_the_niches_that_pymoo_covers():
    """Which of a niche's points enter is partly chance, how many of which niche hardly: counts agree."""
    rng = np.random.default_rng(3)
    ways = directions.das_dennis(3, 5)
    theirs, frame = ReferenceDirectionSurvival(ways), niching.start(3)
    problem = PymooProblem(n_var=1, n_obj=3, xl=0, xu=1)
    for _ in range(6):
        costs = sphere(60, 3, rng, distance=0.02)
        kept = survive(costs, len(ways), ways, frame)
        frame = kept.frame
        their = theirs.do(problem, Population.new(F=costs), n_survive=len(ways), random_state=np.random.default_rng(0))
        counts = [np.bincount(niches, minlength=len(ways)) for niches in (kept.niches, their.get("niche"))]
        assert np.array_equal(np.minimum(counts[0], 1), np.minimum(counts[1], 1))
        assert np.array_equal(np.sort(counts[0]), np.sort(counts[1]))


def test_feasible_come_first_then_less_violation_then_failures():
    rng = np.random.default_rng(0)
    costs, violations = rng.random((12, 3)), np.repeat([0.0, 0.2, 5.0, np.nan], 3)
    costs[4:6] = -9.0
    costs[0], costs[6, 1] = np.nan, np.inf
    kept = survive(costs, 12, directions.spread(3, 10), violations=violations)
    assert sorted(kept.rows[:2].tolist()) == [1, 2]
    assert sorted(kept.rows[2:5].tolist()) == [3, 4, 5]
    assert sorted(kept.rows[5:7].tolist()) == [7, 8]
    assert sorted(kept.rows[7:10].tolist()) == [9, 10, 11]
    assert sorted(kept.rows[10:].tolist()) == [0, 6]
    assert (kept.niches[2:] == -1).all() and np.isinf(kept.distances[2:]).all()
    assert (kept.frame.ideal >= 0).all(), "what is infeasible is no ideal"
    assert {int(survive(costs, 3, directions.spread(3, 10), None, violations, seed).rows[2]) for seed in range(40)} == {
        3,
        4,
        5,
    }


def test_nothing_and_failures_alone():
    ways = directions.spread(2, 5)
    assert len(survive(np.empty((0, 2)), 4, ways).rows) == 0
    kept = survive(np.full((5, 2), np.nan), 3, ways)
    assert len(kept.rows) == 3 and np.isinf(kept.frame.ideal).all()
    assert len(survive(np.zeros((9, 2)), 4, ways).rows) == 4


def test_it_depends_on_its_arguments_alone_and_leaves_them_as_they_are():
    rng = np.random.default_rng(1)
    costs, ways = sphere(50, 3, rng), directions.spread(3, 15)
    frame = survive(sphere(50, 3, rng), 15, ways).frame
    copies = [costs.copy(), frame.ideal.copy(), frame.worst.copy(), frame.extremes.copy()]
    runs = [survive(costs, 15, ways, frame, seed=5) for _ in range(2)]
    assert np.array_equal(runs[0].rows, runs[1].rows)
    for array, copy in zip([costs, frame.ideal, frame.worst, frame.extremes], copies, strict=True):
        assert np.array_equal(array, copy)
    assert any(not np.array_equal(survive(costs, 15, ways, frame, seed=seed).rows, runs[0].rows) for seed in range(20))


def test_units_of_the_objectives_do_not_matter():
    rng = np.random.default_rng(2)
    ways, unit, frames = directions.spread(3, 15), 2.0 ** np.array([-20, 0, 20]), [None, None]
    for _ in range(5):
        costs = sphere(50, 3, rng)
        kept = [survive(costs * scale, 15, ways, frame) for scale, frame in zip((1.0, unit), frames, strict=True)]
        assert np.array_equal(kept[0].rows, kept[1].rows)
        frames = [one.frame for one in kept]


@pytest.mark.parametrize(
    ("costs", "ways"),
    [
        (np.zeros(3), np.ones((1, 3))),
        (np.zeros((2, 3)), np.ones((1, 2))),
        (np.zeros((2, 3)), np.ones((0, 3))),
        (np.zeros((2, 2)), np.array([[1.0, 0.0], [0.0, 0.0]])),
        (np.zeros((2, 2)), np.array([[1.0, -1.0]])),
    ],
)
def test_what_does_not_fit_is_refused(costs, ways):
    with pytest.raises(UsageError, match="directions"):
        niching.survivors(costs, np.zeros(len(costs)), 1, ways, niching.start(3), np.random.default_rng(0))
