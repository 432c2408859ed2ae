"""Operators of the runtime `torch` with random attributes: what ONNX Runtime computes, or a refusal by name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from device_profiles.errors import InvalidModel, UnsupportedOperator, UsageError
from profiler import runtimes
from profiler.runtimes.protocol import RuntimeOptions

CASES = sorted((Path(__file__).resolve().parents[3] / "shared" / "cases").glob("*.onnx"))
PLAIN = RuntimeOptions(optimisation="none")
few = settings(max_examples=25, deadline=None)


def node_model(op: str, operands: list[np.ndarray | None], outputs: int = 1, constant: bool = True, **attributes: Any):
    """A node over given arrays: the first is the input, the others are weights, or inputs too."""
    names = ["" if array is None else f"x{i}" for i, array in enumerate(operands)]
    arrays = {name: array for name, array in zip(names, operands, strict=True) if array is not None}
    weights = {name: array for name, array in arrays.items() if constant and name != "x0"}
    results = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attributes)],
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
            if name not in weights
        ],
        [helper.make_empty_tensor_value_info(name) for name in results],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model), {name: arrays[name] for name in arrays if name not in weights}


def assert_as_onnxruntime(model: Any, inputs: dict[str, Any], *, exact: bool = False) -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        got = torch_session(path, inputs).outputs()
    for mine, theirs in zip(got, expected, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        if exact:
            np.testing.assert_array_equal(mine, theirs)
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def torch_session(path: Path, inputs: dict[str, Any] | None = None) -> Any:
    runtime: Any = runtimes.load("torch")
    return runtime.load(path, RuntimeOptions(), inputs)


@few
@given(
    kind=st.sampled_from(["LSTM", "GRU", "RNN"]),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    late=st.booleans(),
    bias=st.booleans(),
    state=st.booleans(),
    short=st.booleans(),
    clip=st.booleans(),
    constant=st.booleans(),
    seed=st.integers(0, 9),
)
def test_recurrent(kind, direction, late, bias, state, short, clip, constant, seed):
    rng = np.random.default_rng(seed)
    gates, ways, size = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 2 if direction == "bidirectional" else 1, 5

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    operands = [draw(6, 3, 4), draw(ways, gates * size, 4), draw(ways, gates * size, size)]
    operands.append(draw(ways, 2 * gates * size) if bias else None)
    operands.append(np.array([6, 2, 4], np.int32) if short else None)
    operands.append(draw(ways, 3, size) if state else None)
    more: dict[str, Any] = {"linear_before_reset": int(late)} if kind == "GRU" else {}
    more |= {"clip": 0.7} if clip else {}
    while operands[-1] is None:
        operands.pop()
    outputs = 3 if kind == "LSTM" else 2
    model, inputs = node_model(kind, operands, outputs, constant, hidden_size=size, direction=direction, **more)
    assert_as_onnxruntime(model, inputs)


@few
@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    move=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    exclude=st.booleans(),
)
def test_resize(mode, move, height, width, exclude):
    if mode == "nearest" and move != "asymmetric":
        move = "asymmetric"  # positions half-way between two elements are rounded by the last bit elsewhere
    data = np.random.default_rng(0).standard_normal((1, 2, 5, 7)).astype(np.float32)
    more = {"exclude_outside": 1} if exclude and mode == "cubic" else {}
    more |= {"nearest_mode": "floor"} if mode == "nearest" else {}
    sizes = np.array([1, 2, height, width])
    model, inputs = node_model(
        "Resize", [data, None, None, sizes], mode=mode, coordinate_transformation_mode=move, **more
    )
    assert_as_onnxruntime(model, inputs)


@few
@given(
    kernel=st.integers(2, 3),
    stride=st.integers(1, 3),
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    dilation=st.integers(1, 2),
    ceil=st.booleans(),
    column=st.booleans(),
)
def test_max_pool_with_positions(kernel, stride, pads, dilation, ceil, column):
    data = np.random.default_rng(1).permutation(2 * 3 * 9 * 8).reshape(2, 3, 9, 8).astype(np.float32)
    model, inputs = node_model(
        "MaxPool",
        [data],
        2,
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=pads,
        dilations=[dilation] * 2,
        ceil_mode=int(ceil),
        storage_order=int(column),
    )
    assert_as_onnxruntime(model, inputs, exact=True)


@few
@given(
    channels=st.integers(1, 40),
    kernel=st.integers(1, 3),
    each=st.booleans(),
    bias=st.booleans(),
    constant=st.booleans(),
    seed=st.integers(0, 9),
)
def test_quantised_convolution_is_exact(channels, kernel, each, bias, constant, seed):
    rng = np.random.default_rng(seed)
    filters = 4
    scales = rng.uniform(0.001, 0.02, filters if each else ()).astype(np.float32)
    operands: list[Any] = [
        rng.integers(0, 256, (1, channels, 6, 6), dtype=np.uint8),
        np.float32(0.02),
        np.uint8(rng.integers(0, 256)),
        rng.integers(-128, 128, (filters, channels, kernel, kernel), dtype=np.int8),
        scales,
        np.zeros_like(scales, dtype=np.int8),
        np.float32(0.3),
        np.uint8(rng.integers(0, 256)),
    ]
    if bias:
        operands.append(rng.integers(-5000, 5000, filters, dtype=np.int32))
    operands = [np.asarray(operand) for operand in operands]
    model, inputs = node_model("QLinearConv", operands, constant=constant or each or bias, pads=[kernel // 2] * 4)
    assert_as_onnxruntime(model, inputs, exact=True)


@few
@given(k=st.integers(1, 6), largest=st.booleans(), axis=st.integers(-2, 1), ties=st.booleans())
def test_top_k_of_equal_elements(k, largest, axis, ties):
    rng = np.random.default_rng(2)
    data = rng.integers(0, 3, (6, 7)).astype(np.float32) if ties else rng.standard_normal((6, 7)).astype(np.float32)
    model, inputs = node_model("TopK", [data, np.array([k])], 2, axis=axis, largest=int(largest))
    assert_as_onnxruntime(model, inputs, exact=True)


@few
@given(way=st.sampled_from(["none", "add", "mul", "max", "min"]), depth=st.integers(1, 3), constant=st.booleans())
def test_scatter_and_gather_by_positions(way, depth, constant):
    rng = np.random.default_rng(depth)
    shape = (4, 3, 5)
    data = rng.standard_normal(shape).astype(np.float32)
    rows = rng.permutation(shape[0])[:3]  # each once: the order of writes to one place is nobody's
    indices = np.stack([rows, *(rng.integers(-extent, extent, 3) for extent in shape[1:depth])], -1)
    updates = rng.standard_normal((3, *shape[depth:])).astype(np.float32)
    model, inputs = node_model("ScatterND", [data, indices, updates], constant=constant, reduction=way)
    assert_as_onnxruntime(model, inputs)
    model, inputs = node_model("GatherND", [data, indices], constant=constant)
    assert_as_onnxruntime(model, inputs)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_small_files_that_show_a_need(case: Path):
    proto = onnx.load(case)
    known = {weight.name for weight in proto.graph.initializer}
    rng, inputs = np.random.default_rng(0), {}
    for value in proto.graph.input:
        if value.name not in known:
            kind = value.type.tensor_type
            shape = [dim.dim_value or 2 for dim in kind.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            drawn = rng.standard_normal(shape) if np.issubdtype(dtype, np.floating) else np.zeros(shape)
            inputs[value.name] = drawn.astype(dtype)
    if "topk" in case.stem:
        inputs = {name: np.ones_like(array) if array.dtype == np.int64 else array for name, array in inputs.items()}
    import onnxruntime as ort

    expected = ort.InferenceSession(str(case), providers=["CPUExecutionProvider"]).run(None, inputs)
    session = torch_session(case, inputs)
    for _ in range(2):
        for mine, theirs in zip(session.outputs(), expected, strict=True):
            assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
            np.testing.assert_allclose(mine.astype(float), theirs.astype(float), rtol=2e-3, atol=1e-3)


def relu(shape: Any, tmp_path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_given_inputs_fill_open_dimensions(tmp_path: Path):
    array = np.array([[-1.0, 2.0]], np.float32)
    (got,) = torch_session(relu(("N", 2), tmp_path), {"x": array}).outputs()
    np.testing.assert_array_equal(got, [[0.0, 2.0]])
    assert array[0, 0] == -1.0


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"y": np.zeros((1, 2), np.float32)}, "'y'"),
        ({"x": np.zeros((1, 2))}, "float64"),
        ({"x": np.zeros((1, 3), np.float32)}, "1x3"),
        ({"x": np.zeros(2, np.float32)}, "'x'"),
    ],
)
def test_given_inputs_that_do_not_fit(inputs: Any, named: str, tmp_path: Path):
    with pytest.raises(UsageError, match=named):
        torch_session(relu(("N", 2), tmp_path), inputs)


def test_positions_out_of_range_are_the_models_fault():
    model, inputs = node_model("Gather", [np.zeros((3, 2), np.float32), np.array([7])])
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "m.onnx")
        with pytest.raises(InvalidModel, match="Gather") as caught:
            torch_session(Path(folder) / "m.onnx", inputs)
    assert not isinstance(caught.value, UnsupportedOperator)


def test_endless_loop_is_refused_by_name(tmp_path: Path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["s"], ["t"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, (2,)),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, (2,)),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "yes", "x"], ["z"], body=body)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2,))],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, (2,))],
        [numpy_helper.from_array(np.array(True), "yes")],
    )
    path = tmp_path / "endless.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    with pytest.raises(UnsupportedOperator, match=r"Loop of endless\.onnx"):
        torch_session(path)
