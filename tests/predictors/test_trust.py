"""Predictions of low coverage are not trusted in silence."""

import numpy as np
import pytest

from predictors import trust
from predictors.prediction import Prediction

CONV = "Conv[group=1,kernel_shape=3/3](1x4x8x8,w4x4x3x3)->(1x4x8x8)"


@pytest.mark.parametrize("coverage", [[], [0.8], [0.8, 1.0]])
def test_nothing_is_said_where_enough_was_measured(coverage):
    assert trust.warning("latency", coverage) is None


def test_one_line_says_how_many_what_is_missing_and_what_to_do():
    said = trust.warning("ms", [0.42, 0.9, 0.61], [(CONV, "Relu[](1x4)->(1x4)"), (CONV, "Add[](1)->(1)")])
    assert "ms of 2 of 3" in said and "42% to 61%" in said and "80%" in said and "\n" not in said
    assert "Conv(1x4x8x8,w4x4x3x3)->(1x4x8x8), Relu(1x4)->(1x4) and 1 more" in said
    assert said.endswith("profile such networks and fit again")


def test_memory_is_simulated_so_more_measurements_do_not_help():
    assert trust.warning("memory", [0.2], cost="memory").endswith("measure it instead")


def test_work_with_denormal_weights_is_not_covered_and_may_take_a_hundred_times_as_long():
    value = np.array([2.0, 2.0])
    found = Prediction(value, value * 0.9, value * 1.1, "ms", np.array([1.0, 0.8]), ((), (CONV,)))
    doubted = trust.with_denormal(found, np.array([0.0, 0.5]))
    np.testing.assert_array_equal(doubted.value, value)
    np.testing.assert_allclose(doubted.high, [2.2, 2.2 * 50.5])
    np.testing.assert_allclose(doubted.coverage, [1.0, 0.4])
    assert doubted.missing == ((), (CONV, trust.DENORMAL))
    assert trust.with_denormal(found, np.zeros(2)) is found
