from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from profiler.memory import planned_peak_bytes
from profiler.onnx_graph import read_graph

Make = Callable[..., Any]


def test_a_chain_holds_two_values_at_a_time(onnx_model: Make) -> None:
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in (("x", "a"), ("a", "b"), ("b", "y"))]
    values = dict.fromkeys("ab", (10,))
    assert planned_peak_bytes(read_graph(onnx_model(nodes, {"x": (10,)}, {"y": (10,)}, known=values))) == 2 * 40


def test_a_residual_keeps_its_value_alive(onnx_model: Make) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    values = dict.fromkeys("abc", (10,))
    # At the third node a (for the sum), b and c; at the fourth a, c and y.
    assert planned_peak_bytes(read_graph(onnx_model(nodes, {"x": (10,)}, {"y": (10,)}, known=values))) == 3 * 40


def test_by_hand_with_sizes_weights_and_two_outputs(onnx_model: Make) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),  # x 2x3, a 2x50: 24 + 400
        helper.make_node("Relu", ["a"], ["first"]),  # a, first: 400 + 400
        helper.make_node("MatMul", ["first", "v"], ["b"]),  # first (an output), b 2x5: 400 + 40
        helper.make_node("MatMul", ["b", "u"], ["second"]),  # first, b, second 2x5: 400 + 40 + 40
    ]
    model = onnx_model(
        nodes, {"x": (2, 3)}, {"first": (2, 50), "second": (2, 5)}, {"w": (3, 50), "v": (50, 5), "u": (5, 5)}
    )
    weights = 4 * (3 * 50 + 50 * 5 + 5 * 5)
    assert planned_peak_bytes(read_graph(model)) == 800 + weights


def test_an_output_lives_to_the_end(onnx_model: Make) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["early"]),
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["late"]),
    ]
    model = onnx_model(nodes, {"x": (10,)}, {"early": (10,), "late": (10,)}, known={"a": (10,)})
    assert planned_peak_bytes(read_graph(model)) == 3 * 40


def test_a_shared_weight_is_held_once(onnx_model: Make) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    model = onnx_model(nodes, {"x": (1, 4)}, {"y": (1, 4)}, {"w": (4, 4)})
    assert planned_peak_bytes(read_graph(model)) == 2 * 16 + 64


def test_the_order_decides(onnx_model: Make) -> None:
    """Two large values that are reduced one after the other need not be held together."""
    large = [helper.make_node("Expand", ["x", "shape"], [name]) for name in ("a", "b")]
    small = [helper.make_node("ReduceSum", [name], [f"r{name}"], keepdims=0) for name in ("a", "b")]
    join = helper.make_node("Add", ["ra", "rb"], ["y"])
    peaks = []
    for nodes in ([large[0], small[0], large[1], small[1], join], [*large, *small, join]):
        model = onnx_model(nodes, {"x": (1,)}, {"y": ()}, {}, known={"a": (100,), "b": (100,), "ra": (), "rb": ()})
        model.graph.initializer.append(numpy_helper.from_array(np.array([100]), "shape"))
        peaks.append(planned_peak_bytes(read_graph(model)) - 8)
    assert peaks == [4 + 400 + 4, 4 + 400 + 400]


def test_values_that_nothing_reads_go_at_once(onnx_model: Make) -> None:
    """Of two outputs of a node one is never read: it is held while the node runs and not after."""
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=0, num_outputs=2),
        helper.make_node("Expand", ["a", "shape"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": (10,), "unread": (100,)}, {"y": (20, 5)}, known={"a": (5,), "b": (5,)})
    model.graph.initializer.append(numpy_helper.from_array(np.array([20, 5]), "shape"))
    # The first node holds x, both halves and the unread input; the second a and y.
    assert planned_peak_bytes(read_graph(model)) - 16 == max(40 + 400 + 40, 20 + 400)


def test_inputs_that_are_outputs_live_to_the_end(onnx_model: Make) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    model = onnx_model(nodes, {"x": (10,)}, {"y": (10,), "x": (10,)}, known={"a": (10,)})
    assert planned_peak_bytes(read_graph(model)) == 3 * 40
