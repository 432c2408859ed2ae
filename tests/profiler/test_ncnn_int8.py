"""ncnn in int8: what is quantised, by which scales, that other layers keep their weights, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from device_profiles.errors import InvalidModel, WrongPrecision
from device_profiles.profile import load
from profiler import Budget, Store, compilers, measure
from profiler.fusing import read_fused
from profiler.measurement import Deviation
from profiler.onnx_graph import read_graph
from profiler.proofs import require_precision
from profiler.runtimes.protocol import RuntimeOptions
from profiler.subjects import from_bytes
from profiler.summary import measurements

ncnn = pytest.importorskip("ncnn")
from profiler.compilers._converters import _ncnn_int8  # noqa: E402 - after what may skip
from profiler.compilers.ncnn import NcnnCompiler  # noqa: E402
from profiler.runtimes._ncnn import layers  # noqa: E402
from profiler.runtimes.ncnn import Ncnn  # noqa: E402

if not NcnnCompiler.converter.installed:
    pytest.skip(NcnnCompiler.converter.command, allow_module_level=True)

Make = Callable[..., Any]
INT8 = RuntimeOptions(precision="int8")
PADDED = {"kernel_shape": [3, 3], "pads": [1] * 4}


def in_a_row(onnx_model: Make) -> Any:
    """Convolutions of three kinds whose values nobody else reads, a sum, and a classifier."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "wb"], ["a"], name="stem", **PADDED),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "v", "vb"], ["c"], name="depthwise", group=8, **PADDED),
        helper.make_node("Conv", ["c", "t"], ["d"], name="grouped", group=2, **PADDED),
        helper.make_node("Conv", ["d", "u", "ub"], ["e"], name="point", kernel_shape=[1, 1]),
        helper.make_node("Add", ["d", "e"], ["f"], name="add"),
        helper.make_node("GlobalAveragePool", ["f"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["h"], name="flat"),
        helper.make_node("Gemm", ["h", "k", "kb"], ["y"], name="gemm", transB=1),
    ]
    weights = {"w": (8, 3, 3, 3), "v": (8, 1, 3, 3), "t": (8, 4, 3, 3), "u": (8, 8, 1, 1), "k": (5, 8)}
    biases = {"wb": (8,), "vb": (8,), "ub": (8,), "kb": (5,)}
    return onnx_model(nodes, {"x": (1, 3, 12, 12)}, {"y": (1, 5)}, weights | biases)


#: Operators with weights that stay as they are, between two convolutions: names of weights, their shapes, attributes.
OTHERS: dict[str, tuple[str, dict[str, tuple[int, ...]], dict[str, Any]]] = {
    "none": ("Relu", {}, {}),
    "slopes": ("PRelu", {"s": (8, 1, 1)}, {}),
    "instances": ("InstanceNormalization", {"s": (8,), "o": (8,)}, {}),
    "norm": ("LayerNormalization", {"s": (10,), "o": (10,)}, {"axis": -1}),
    "product": ("MatMul", {"m": (10, 10)}, {}),
    "constant": ("Add", {"c": (1, 8, 10, 10)}, {}),
    "transposed": ("ConvTranspose", {"t": (8, 8, 3, 3)}, {"kernel_shape": [3, 3], "pads": [1] * 4}),
    "grown": ("ConvTranspose", {"t": (8, 1, 3, 3), "o": (8,)}, {**PADDED, "group": 8}),
}


def between(onnx_model: Make, which: str) -> Any:
    op_type, weights, attributes = OTHERS[which]
    nodes = [
        helper.make_node("Conv", ["x", "w", "wb"], ["a"], name="before", **PADDED),
        helper.make_node(op_type, ["a", *weights], ["b"], name="between", **attributes),
        helper.make_node("Conv", ["b", "v", "vb"], ["y"], name="after", **PADDED),
    ]
    own = {"w": (8, 3, 3, 3), "wb": (8,), "v": (4, 8, 3, 3), "vb": (4,)}
    return onnx_model(nodes, {"x": (1, 3, 10, 10)}, {"y": (1, 4, 10, 10)}, own | weights)


def recurrent(onnx_model: Make, op_type: str) -> Any:
    """A convolution over time, a recurrent layer of two directions, and a product."""
    gates, hidden = {"LSTM": 4, "GRU": 3}[op_type], 6
    own = {"linear_before_reset": 1} if op_type == "GRU" else {}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="before", kernel_shape=[1, 3], pads=[0, 1, 0, 1]),
        helper.make_node("Squeeze", ["a", "two"], ["b"], name="squeeze"),
        helper.make_node("Transpose", ["b"], ["c"], name="transpose", perm=[2, 0, 1]),
        helper.make_node(op_type, ["c", "W", "R", "B"], ["d"], name="steps", direction="bidirectional",
                         hidden_size=hidden, **own),
        helper.make_node("Transpose", ["d"], ["e"], name="back", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["e", "flat"], ["f"], name="joined"),
        helper.make_node("MatMul", ["f", "k"], ["y"], name="head"),
    ]  # fmt: skip
    weights = {
        "w": (4, 3, 1, 3), "W": (2, gates * hidden, 4), "R": (2, gates * hidden, hidden), "B": (2, 2 * gates * hidden),
        "k": (2 * hidden, 5),
    }  # fmt: skip
    proto = onnx_model(nodes, {"x": (1, 3, 1, 9)}, {"y": (9, 1, 5)}, weights)
    whole = {"two": np.array([2]), "flat": np.array([9, 1, 2 * hidden])}
    from onnx import numpy_helper

    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in whole.items())
    return proto


def products(onnx_model: Make) -> Any:
    """A convolution that a product reads, and products one after the other."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", **PADDED),
        helper.make_node("Flatten", ["a"], ["b"], name="flat"),
        helper.make_node("Gemm", ["b", "k", "kb"], ["c"], name="first", transB=1),
        helper.make_node("Relu", ["c"], ["d"], name="relu"),
        helper.make_node("Gemm", ["d", "l", "lb"], ["e"], name="second", transB=1),
        helper.make_node("Gemm", ["e", "m"], ["y"], name="third", transB=1),
    ]
    weights = {"w": (4, 3, 3, 3), "k": (24, 144), "kb": (24,), "l": (16, 24), "lb": (16,), "m": (5, 16)}
    return onnx_model(nodes, {"x": (1, 3, 6, 6)}, {"y": (1, 5)}, weights)


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., Path]:
    def compile_(proto: Any, options: RuntimeOptions = INT8, calibration: Any = None) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        return compilers.load("ncnn").compile(path, options, calibration)

    return compile_


def deviation(compiled: Callable[..., Path], proto: Any) -> float:
    """How far the outputs in int8 are from those in fp32, as a share of the largest."""
    plain = RuntimeOptions()
    exact = Ncnn().load(compiled(proto, plain), plain).outputs()[0]
    rounded = Ncnn().load(compiled(proto), INT8).outputs()[0]
    assert rounded.shape == exact.shape
    return float(np.abs(rounded - exact).max() / np.abs(exact).max())


def test_products_run_in_int8_near_what_they_are_in_fp32(onnx_model, compiled):
    proto = in_a_row(onnx_model)
    graph = read_fused(Ncnn().fuse(compiled(proto), INT8), "ncnn")
    require_precision(graph, "int8", read_graph(proto), "model")
    products = [node.operator for node in graph.nodes if node.operator.op_type in ("Conv", "Gemm")]
    assert [one.attribute("precision") for one in products] == ["int8"] * 5
    assert [one.inputs[1].dtype for one in products] == ["int8"] * 5
    assert [one.inputs[2].dtype for one in products if len(one.inputs) > 2] == ["float32"] * 4
    assert 1e-4 < deviation(compiled, proto) < 5e-2


def test_what_only_products_read_stays_in_eight_bits(onnx_model, compiled):
    """The sum reads what `grouped` writes, in floating point."""
    graph = read_fused(Ncnn().fuse(compiled(in_a_row(onnx_model)), INT8), "ncnn")
    written = {node.name: node.operator.outputs[0].dtype for node in graph.nodes}
    assert {name: dtype for name, dtype in written.items() if dtype == "int8"}.keys() == {"relu", "depthwise"}
    assert written["grouped"] == written["gemm"] == "float32"


def test_products_one_after_the_other_read_floating_point(onnx_model, compiled):
    """ncnn's `InnerProduct` has no scale for what it gives."""
    graph = read_fused(Ncnn().fuse(compiled(products(onnx_model)), INT8), "ncnn")
    assert {node.operator.outputs[0].dtype for node in graph.nodes} == {"float32"}
    assert deviation(compiled, products(onnx_model)) < 5e-2


@pytest.mark.parametrize("which", OTHERS)
def test_other_layers_keep_their_weights(which, onnx_model, compiled):
    assert deviation(compiled, between(onnx_model, which)) < 5e-2


@pytest.mark.parametrize("op_type", ["LSTM", "GRU"])
def test_recurrent_layers_keep_theirs_and_are_refused(op_type, onnx_model, compiled):
    proto = recurrent(onnx_model, op_type)
    assert deviation(compiled, proto) < 5e-2
    graph = read_fused(Ncnn().fuse(compiled(proto), INT8), "ncnn")
    with pytest.raises(WrongPrecision, match=f"in fp32, not in int8.*{op_type}"):
        require_precision(graph, "int8", read_graph(proto), "model")


def test_scales_are_those_of_calibration(onnx_model, compiled):
    """The scale of what a layer reads is 127 over the largest magnitude in any set; its last number in the file."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **PADDED)]
    proto = onnx_model(nodes, {"x": (1, 3, 6, 6)}, {"y": (1, 4, 6, 6)}, {"w": (4, 3, 3, 3)})
    sets = [{"x": np.full((1, 3, 6, 6), value, np.float32)} for value in (0.5, -4.0, 1.0)]
    path = compiled(proto, calibration=sets)
    assert path.read_text().splitlines()[-1].endswith(" 8=2")
    scales = np.frombuffer(path.with_suffix(".bin").read_bytes()[-4 * 5 :], np.float32)
    assert scales[-1] == pytest.approx(127 / 4)
    weights = np.abs(np.frombuffer(proto.graph.initializer[0].raw_data, np.float32).reshape(4, -1))
    np.testing.assert_allclose(scales[:4], 127 / weights.max(axis=1), rtol=1e-6)


@pytest.mark.parametrize("damage", [lambda content: content[:-4], lambda content: content + b"\0" * 4])
def test_weights_that_are_not_those_of_the_layers_are_refused(damage, onnx_model, compiled):
    path = compiled(in_a_row(onnx_model), RuntimeOptions())
    names = {name: 1.0 for layer in layers(path.read_text()) for name in layer.writes}
    with pytest.raises(InvalidModel, match=r"weights|bytes"):
        _ncnn_int8.quantise(path.read_text(), damage(path.with_suffix(".bin").read_bytes()), names)


def test_values_that_are_all_zero_have_a_scale(onnx_model, compiled):
    """Neither a channel without weights nor one that calibration never saw divides by zero."""
    proto = in_a_row(onnx_model)
    path = compiled(proto, calibration=[{"x": np.zeros((1, 3, 12, 12), np.float32)}])
    assert np.isfinite(Ncnn().load(path, INT8).outputs()[0]).all()


def test_a_model_is_measured_with_how_far_it_is_from_fp32(onnx_model, tmp_path):
    subject = from_bytes(in_a_row(onnx_model).SerializeToString(), name="in a row")
    target = load("local-ncnn-int8")
    with Store(str(tmp_path / "store.db")) as store:
        measure([subject], target=target, store=store, budget=Budget(device_s=2.0), wait=True)
        (found,) = measurements(store, store.require_conditions(target.name))
    assert found.latency.value_ms > 0
    assert isinstance(found.deviation, Deviation) and 0 < found.deviation.largest < 0.1
