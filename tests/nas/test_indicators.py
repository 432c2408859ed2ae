"""Indicators, by hand, by their definitions, against moocore, and against the known front of a public table."""

import csv
import gzip

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nas
from device_profiles.errors import UsageError
from nas.pareto import indicators

FOUND = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1], [0.6, 0.6]])
FRONT = np.array([[0.1, 0.7], [0.4, 0.4], [0.7, 0.1]])
UNIT = st.floats(0, 1, allow_subnormal=False).map(lambda value: round(value, 3))


@st.composite
def pairs(draw):
    """What was found and a true front, in 1 to 4 objectives."""
    objectives = draw(st.integers(1, 4))
    shapes = [(draw(st.integers(1, 8)), objectives) for _ in range(2)]
    return tuple(draw(hnp.arrays(np.float64, shape, elements=UNIT)) for shape in shapes)


def test_hypervolume_by_hand():
    one = np.ones(2)
    assert indicators.hypervolume(np.array([[0.25, 0.5]]), one) == pytest.approx(0.75 * 0.5)
    # A staircase: 0.2..0.5 at height 0.2, 0.5..0.9 at 0.5, 0.9..1 at 0.9; the fourth point is dominated.
    assert indicators.hypervolume(FOUND, one) == pytest.approx(0.3 * 0.2 + 0.4 * 0.5 + 0.1 * 0.9)
    assert indicators.hypervolume(np.array([[0.3], [0.7]]), np.ones(1)) == pytest.approx(0.7)


def test_hypervolume_of_three_boxes_by_inclusion_and_exclusion():
    boxes = np.random.default_rng(0).random((3, 3))

    def volume(*rows):
        return float(np.prod(1 - np.max([boxes[row] for row in rows], axis=0)))

    expected = volume(0) + volume(1) + volume(2) - volume(0, 1) - volume(0, 2) - volume(1, 2) + volume(0, 1, 2)
    assert indicators.hypervolume(boxes, np.ones(3)) == pytest.approx(expected)


def test_what_is_not_better_than_the_reference_or_not_finite_counts_nothing():
    one = np.ones(2)
    base = indicators.hypervolume(FOUND, one)
    more = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0], [np.nan, 0.0], [0.0, np.nan], [-np.inf, 0.5], [0.5, np.inf]])
    assert indicators.hypervolume(np.concatenate([FOUND, more]), one) == base
    assert indicators.hypervolume(more, one) == 0.0
    assert indicators.hypervolume(np.empty((0, 2)), one) == 0.0


@given(pairs())
def test_hypervolume_is_moocores_and_keeps_its_invariants(pair):
    found, more = pair
    reference = np.full(found.shape[1], 1.5)
    volume = indicators.hypervolume(found, reference)
    if found.shape[1] > 1:
        assert volume == pytest.approx(float(moocore.hypervolume(found, ref=reference)))
    assert indicators.hypervolume(np.concatenate([found, more]), reference) >= volume - 1e-12
    assert indicators.hypervolume(found[::-1], reference) == pytest.approx(volume)
    assert indicators.hypervolume(np.concatenate([found, found + 0.1]), reference) == pytest.approx(volume)
    assert indicators.hypervolume(found + 3.0, reference + 3.0) == pytest.approx(volume)


@given(pairs())
def test_igd_plus_and_epsilon_are_their_definitions_and_moocores(pair):
    found, front = pair
    worse = np.maximum(found[None] - front[:, None], 0.0)
    igd = np.sqrt((worse**2).sum(axis=2)).min(axis=1).mean()
    epsilon = (found[None] - front[:, None]).max(axis=2).min(axis=1).max()
    assert indicators.igd_plus(found, front) == pytest.approx(igd, abs=1e-12)
    assert indicators.igd_plus(found, front) == pytest.approx(float(moocore.igd_plus(found, ref=front)), abs=1e-12)
    assert indicators.additive_epsilon(found, front) == pytest.approx(epsilon, abs=1e-12)
    assert indicators.additive_epsilon(found, front) == pytest.approx(
        float(moocore.epsilon_additive(found, ref=front)), abs=1e-12
    )


def test_distances_by_hand():
    assert indicators.igd_plus(FOUND, FRONT) == pytest.approx((np.hypot(0.1, 0.1) * 2 + 0.2) / 3)
    assert indicators.additive_epsilon(FOUND, FRONT) == pytest.approx(0.2)
    assert indicators.igd_plus(FRONT, FRONT) == 0.0
    assert indicators.additive_epsilon(FRONT, FRONT) == 0.0
    # Better than the front costs nothing in IGD+, and gains in epsilon.
    assert indicators.igd_plus(FRONT - 0.05, FRONT) == 0.0
    assert indicators.additive_epsilon(FRONT - 0.05, FRONT) == pytest.approx(-0.05)


def test_recall_counts_distinct_points_of_the_front():
    front = np.array([[1.0, 4.0], [2.0, 2.0], [2.0, 2.0], [4.0, 1.0]])
    assert indicators.recall(front[:1], front) == pytest.approx(1 / 3)
    assert indicators.recall(front[[1, 1, 3]], front) == pytest.approx(2 / 3)
    assert indicators.recall(front, front) == 1.0
    assert indicators.recall(front + 1e-12, front) == 1.0
    assert indicators.recall(front + 0.01, front) == 0.0
    assert indicators.recall(front + 0.01, front, tolerance=0.02) == 1.0


def test_nothing_found_is_the_worst():
    failed = np.array([[np.nan, 1.0], [np.inf, 0.0]])
    for found in (np.empty((0, 2)), failed):
        assert indicators.igd_plus(found, FRONT) == np.inf
        assert indicators.additive_epsilon(found, FRONT) == np.inf
        assert indicators.recall(found, FRONT) == 0.0
    assert indicators.igd_plus(np.concatenate([failed, FRONT]), FRONT) == 0.0


@pytest.mark.parametrize(
    "front", [np.empty((0, 2)), np.ones((3, 3)), np.ones(2), np.array([[0.1, np.nan]]), np.array([[0.1, -np.inf]])]
)
def test_a_front_that_is_none_is_refused(front):
    for indicator in (indicators.igd_plus, indicators.additive_epsilon, indicators.recall):
        with pytest.raises(UsageError, match="front"):
            indicator(FOUND, front)


def test_shapes_of_hypervolume_must_fit():
    with pytest.raises(UsageError, match=r"\(4, 2\) and \(3,\)"):
        indicators.hypervolume(FOUND, np.ones(3))


def test_the_front_of_nas_bench_201_is_the_known_one(data):
    """Figures of a public table: 15,284 cells above 10 % accuracy, hypervolume .9458, 32 points on 1080ti_1."""
    with gzip.open(data / "nasbench201.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    error = np.array([100.0 - float(row["accuracy.cifar10.test.200ep"]) for row in rows])
    latency = np.array([float(row["latency_ms.1080ti_1"]) for row in rows])
    kept = error < 90.0
    assert kept.sum() == 15_284
    space = nas.spaces.load("nasbench201")
    archs = np.array([space.parse(row["arch"]) for row in rows])
    assert len(np.unique(archs, axis=0)) == space.size
    assert (space.is_valid(archs) == kept).all()
    costs = np.stack([error[kept], latency[kept]], axis=1)
    costs = (costs - costs.min(axis=0)) / np.ptp(costs, axis=0)
    assert indicators.hypervolume(costs, np.ones(2)) == pytest.approx(0.9458, abs=5e-5)
    assert indicators.nondominated(costs).sum() == 32


@given(pairs())
def test_plain_distances_are_those_of_pymoo_and_moocore(found_and_front):
    from pymoo.indicators.gd import GD

    found, front = found_and_front
    assert indicators.igd(found, front) == pytest.approx(float(moocore.igd(found, ref=front)))
    assert indicators.gd(found, front) == pytest.approx(float(GD(front)(found[indicators.nondominated(found)])))


def test_spacing_by_hand_and_by_pymoo():
    from pymoo.indicators.spacing import SpacingIndicator

    even = np.stack([np.arange(5.0), np.arange(5.0)[::-1]], axis=1)
    assert indicators.spacing(even) == 0.0
    # Gaps to the nearest neighbour are 2, 2 and 6; the dominated point and the twin count nothing.
    uneven = np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0], [np.nan, 0.0]])
    assert indicators.spacing(uneven) == pytest.approx(np.std([2, 2, 6], ddof=1))
    # pymoo divides by n, Schott by n - 1.
    assert indicators.spacing(uneven) == pytest.approx(float(SpacingIndicator()(uneven[:3])) * np.sqrt(3 / 2))
    assert indicators.spacing(uneven[:2]) == indicators.spacing(np.empty((0, 2))) == 0.0


def test_r2_by_hand():
    points = np.array([[1.0, 3.0], [2.0, 1.0], [np.inf, 0.0]])
    weights = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert indicators.r2(points, weights, np.zeros(2)) == pytest.approx((1.0 + 1.0 + 1.0) / 3)
    assert indicators.r2(points, weights, np.array([1.0, 0.5])) == pytest.approx((0.0 + 0.5 + 0.5) / 3)
    assert indicators.r2(points[2:], weights, np.zeros(2)) == np.inf


@given(pairs())
def test_r2_with_many_weights_is_the_exact_one(found_and_front):
    found = found_and_front[0]
    if found.shape[1] != 2:
        return
    share = (np.arange(4000) + 0.5) / 4000
    weights = np.stack([share, 1 - share], axis=1)
    exact = float(moocore.r2_exact(found, ref=np.zeros(2)))
    assert indicators.r2(found, weights, np.zeros(2)) == pytest.approx(exact, abs=1e-4)


def test_what_is_no_number_is_refused():
    with pytest.raises(UsageError, match="the reference must be numbers"):
        indicators.hypervolume(FOUND, np.array([1.0, np.nan]))
    for weights, ideal in (([[-1.0, 2.0]], [0, 0]), ([[1.0]], [0, 0]), ([[1.0, 1.0]], [np.nan, 0])):
        with pytest.raises(UsageError):
            indicators.r2(FOUND, np.array(weights), np.array(ideal))
