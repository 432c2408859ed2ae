"""Expected improvements against averages over draws, with hypervolumes by moocore."""

import numpy as np
import pytest

from nas.pareto import indicators
from nas.strategies.auto.value import Believed, expected
from nas.surrogates import acquisition

SCALE = acquisition.Scale(shift=2.0, mean=1.0, deviation=0.5, ceiling=30.0)
FRONT = np.array([[9.0, 1.0], [6.0, 3.0], [5.0, 3.0], [4.0, 7.0], [20.0, 8.0]])
REFERENCE = (10.0, 10.0)


def test_a_scale_goes_forth_and_back():
    costs = np.random.default_rng(0).lognormal(size=200)
    scale = acquisition.scale_of(costs)
    np.testing.assert_allclose(scale.backward(scale.forward(costs)), costs, rtol=1e-9)
    assert scale.forward(costs).mean() == pytest.approx(0, abs=1e-9)
    assert scale.forward(costs).std() == pytest.approx(1, abs=1e-9)
    clipped = acquisition.scale_of(costs, clip=0.9)
    assert len(np.unique(clipped.forward(np.sort(costs)[-20:]))) == 1


@pytest.mark.parametrize("costs", [np.zeros(5), np.array([3.0, 3.0, 3.0, 4.0]), np.array([-1e9, 1e9, 0.0])])
def test_a_scale_of_degenerate_costs_is_finite(costs):
    scale = acquisition.scale_of(costs)
    assert np.isfinite(scale.forward(costs)).all() and np.isfinite(scale.backward(np.array([-3.0, 3.0]))).all()


def test_expected_improvement_is_the_mean_over_draws():
    mean, deviation = np.array([-1.0, 0.2, 2.0]), np.array([0.3, 1.0, 0.5])
    levels = np.array([3.0, 5.0, 12.0])
    draws = SCALE.backward(mean + deviation * np.random.default_rng(0).standard_normal((400_000, 1)))
    wanted = np.maximum(levels[None, None] - draws[:, :, None], 0).mean(axis=0)
    np.testing.assert_allclose(SCALE.improvement(levels, mean, deviation), wanted, rtol=0.02, atol=2e-3)


def gained(costs):
    before = indicators.hypervolume(FRONT, np.array(REFERENCE))
    return indicators.hypervolume(np.concatenate([FRONT, costs[None]]), np.array(REFERENCE)) - before


def test_staircase_improvement_is_the_mean_gain_of_hypervolume():
    mean, deviation, known = np.array([-1.0, 0.0, 0.5, 1.0]), np.array([0.5, 0.8, 0.1, 1.0]), np.array([0.5, 3, 6, 9.5])
    steps = np.random.default_rng(0).standard_normal(4_000)
    wanted = [
        np.mean([gained(np.array([float(SCALE.backward(np.array(m + s * d))), k])) for s in steps])
        for m, d, k in zip(mean, deviation, known, strict=True)
    ]
    found = acquisition.staircase_improvement(SCALE, mean, deviation, known, FRONT, REFERENCE)
    np.testing.assert_allclose(found, wanted, rtol=0.05, atol=0.02)


def test_scalarised_improvement_grows_as_the_hypervolume_does():
    rng = np.random.default_rng(0)
    front = rng.random((12, 4))
    front = front[indicators.nondominated(front)]
    points = rng.random((40, 4)) * 0.9
    directions = acquisition.sphere(20_000, 4, rng)
    found = acquisition.scalarised_improvement(points, front, np.ones(4), directions)
    before = indicators.hypervolume(front, np.ones(4))
    wanted = np.array([indicators.hypervolume(np.concatenate([front, p[None]]), np.ones(4)) - before for p in points])
    assert (found[wanted == 0] == 0).all()
    ratio = found.sum() / wanted.sum()
    np.testing.assert_allclose(found, ratio * wanted, rtol=0.15, atol=0.02 * found.max())


def test_two_believed_objectives_are_averaged_over_both():
    first = Believed(0, SCALE, np.array([0.0, -0.5]), np.array([0.8, 0.3]))
    second = Believed(1, SCALE, np.array([-0.3, 0.4]), np.array([0.5, 0.5]))
    rng = np.random.default_rng(0)
    wanted = []
    for place in range(2):
        draws = [
            SCALE.backward(one.mean[place] + one.deviation[place] * rng.standard_normal(3_000))
            for one in (first, second)
        ]
        wanted.append(np.mean([gained(np.array(pair)) for pair in zip(*draws, strict=True)]))
    found = expected(np.zeros((2, 2)), [first, second], FRONT, np.array(REFERENCE), 0)
    np.testing.assert_allclose(found, wanted, rtol=0.1)


def test_what_dominates_nothing_new_adds_nothing():
    certain = Believed(0, SCALE, SCALE.forward(np.array([9.5, 3.0])), np.array([1e-5, 1e-5]))
    known = np.array([[0.0, 2.0], [0.0, 5.0]])
    found = expected(known, [certain], FRONT, np.array(REFERENCE), 0)
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] == pytest.approx(gained(np.array([3.0, 5.0])), rel=1e-3)
