"""Predictions of low coverage are not trusted in silence."""

import numpy as np
import pytest

from predictors import trust
from predictors.prediction import Prediction
from profiler.operators import Node, Operator, OperatorGraph

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


def graph(*kinds):
    nodes = [Node(Operator("", kind, (), (), ()), (), (), "") for kind in kinds]
    return OperatorGraph(tuple(nodes), (), ())


def told(value, graphs, denormal, unit="ms"):
    value = np.array(value)
    coverage = np.full(len(value), 0.8)
    found = Prediction(value, value * 0.9, value * 1.1, unit, coverage, ((CONV,),) * len(value))
    return trust.widened(found, graphs, np.array(denormal))


def test_work_with_denormal_weights_is_not_covered_and_may_take_hundreds_of_times_as_long():
    found = told([2.0, 2.0], [graph("Conv")] * 2, [0.0, 0.5])
    assert found.value.tolist() == [2.0, 2.0]
    np.testing.assert_allclose(found.low, 1.8)
    np.testing.assert_allclose(found.high, [2.2, 2.2 * 150.5])
    np.testing.assert_allclose(found.coverage, [0.8, 0.4])
    assert found.missing == ((CONV,), (CONV, trust.DENORMAL))


@pytest.mark.parametrize("kind", ["Loop", "Scan"])
def test_a_body_runs_nobody_knows_how_often(kind):
    found = told([2.0, 2.0], [graph("Conv", kind), graph("Conv", "If")], [0.0, 0.0])
    np.testing.assert_allclose(found.high, [2.2 * 150, 2.2])


def test_no_clock_tells_less_than_a_microsecond():
    found = told([0.004, 0.004, 4.0], [graph("Relu"), graph(*["Relu"] * 16), graph(*["Relu"] * 16)], [0.0] * 3)
    np.testing.assert_allclose(found.low, [0.002, 0.0, 3.6])
    np.testing.assert_allclose(found.high, [0.006, 0.009, 4.4])
    bytes_ = told([4.0], [graph("Relu")], [0.0], unit="bytes")
    np.testing.assert_allclose([bytes_.low[0], bytes_.high[0]], [3.6, 4.4])


def test_without_intervals_there_are_none():
    value = np.array([2.0])
    found = Prediction(value, None, None, "ms", np.ones(1), ((),))
    assert trust.widened(found, [graph("Loop")], np.zeros(1)) == found
