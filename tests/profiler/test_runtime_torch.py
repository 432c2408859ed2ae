"""The runtime `torch` computes what ONNX Runtime computes, and refuses what it cannot run."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from device_profiles.errors import HwnasError, InvalidModel, UnsupportedOperator, UsageError
from profiler import runtimes
from profiler.capture import capture_module
from profiler.onnx_graph import read_graph
from profiler.runtimes.protocol import RuntimeOptions

OPTIONS = RuntimeOptions()
IMAGE = (2, 4, 9, 8)
RNG = np.random.default_rng(7)


def weight(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.abs(weight(*shape)) + np.float32(0.5)


def whole(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def scalar(value: float, dtype: Any = np.float32) -> np.ndarray:
    return np.array(value, dtype=dtype)


def value_info(name: str, shape: Any, element_type: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, element_type, shape)


def model_of(nodes: list[Any], inputs: list[Any], outputs: list[str], weights: dict[str, Any], opset: int = 20) -> Any:
    graph = helper.make_graph(
        nodes,
        "test",
        inputs,
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def one_node(
    op: str,
    *constants: np.ndarray | None,
    shape: Any = IMAGE,
    more: tuple[Any, ...] = (),
    outputs: int = 1,
    opset: int = 20,
    positive: bool = False,
    **attributes: Any,
) -> Any:
    """A node that reads the input `x`, then inputs of the shapes `more`, then constants."""
    names = ["x", *(f"y{i}" for i in range(len(more)))]
    inputs = [value_info(name, each) for name, each in zip(names, (shape, *more), strict=True)]
    weights = {f"w{i}": array for i, array in enumerate(constants) if array is not None}
    reads = [*names, *("" if array is None else f"w{i}" for i, array in enumerate(constants))]
    results = [f"z{i}" for i in range(outputs)]
    nodes = [helper.make_node(op, reads, results, **attributes)]
    if positive:
        nodes[0].input[0] = "magnitude"
        nodes.insert(0, helper.make_node("Exp", ["x"], ["magnitude"]))
    return model_of(nodes, inputs, results, weights, opset)


def saved(model: Any, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    onnx.save(model, path)
    return path


def assert_same_outputs(path: Path) -> None:
    expected = runtimes.load("onnxruntime").load(path, RuntimeOptions(optimisation="none")).outputs()
    session = runtimes.load("torch").load(path, OPTIONS)
    for _ in range(2):
        got = session.outputs()
        assert len(got) == len(expected)
        for mine, theirs in zip(got, expected, strict=True):
            assert mine.shape == theirs.shape
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def conv(**attributes: Any) -> Any:
    return one_node("Conv", weight(6, 4, 3, 3), weight(6), **attributes)


def transposed(kernel: int, **attributes: Any) -> Any:
    return one_node("ConvTranspose", weight(4, 3, kernel, kernel), weight(3), **attributes)


def gemm(left: Any, right: np.ndarray, *bias: np.ndarray, **attributes: Any) -> Any:
    return one_node("Gemm", right, *bias, shape=left, **attributes)


def pool(op: str, **attributes: Any) -> Any:
    return one_node(op, **{"kernel_shape": [3, 3], **attributes})


def resize(scales: Any = None, sizes: Any = None, **attributes: Any) -> Any:
    scales = None if scales is None else np.array(scales, dtype=np.float32)
    return one_node("Resize", None, scales, *([] if sizes is None else [whole(*sizes)]), **attributes)


def batch_norm() -> Any:
    return one_node("BatchNormalization", weight(4), weight(4), weight(4), positive(4), epsilon=1e-3)


def shape_arithmetic() -> Any:
    """Reshape to a shape that nodes compute from the input."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["batches"]),
        helper.make_node("Concat", ["batches", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["z"]),
    ]
    weights = {"first": scalar(0, np.int64), "axis": whole(0), "rest": whole(-1)}
    return model_of(nodes, [value_info("x", IMAGE)], ["z"], weights)


def masked() -> Any:
    """Where over a comparison of integers that come in."""
    nodes = [
        helper.make_node("Equal", ["ids", "one"], ["mask"]),
        helper.make_node("Where", ["mask", "x", "low"], ["chosen"]),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Cast", ["mask"], ["z"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["ids", "minus_two"], ["halves"]),
    ]
    inputs = [value_info("ids", (2, 3), TensorProto.INT64), value_info("x", (2, 3))]
    weights = {
        "one": scalar(1, np.int64), "low": scalar(-9.0), "table": weight(5, 4), "minus_two": scalar(-2, np.int64),
    }  # fmt: skip
    return model_of(nodes, inputs, ["chosen", "rows", "z", "halves"], weights)


def constants_only() -> Any:
    """Constants in their forms, folded at load, added to the input."""
    nodes = [
        helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(weight(8))),
        helper.make_node("Constant", [], ["b"], value_float=2.5),
        helper.make_node("Constant", [], ["size"], value_ints=[9, 8]),
        helper.make_node(
            "ConstantOfShape", ["size"], ["filled"], value=numpy_helper.from_array(np.full(1, 3.0, np.float32))
        ),
        helper.make_node("Range", ["start", "limit", "step"], ["ramp"]),
        helper.make_node("Sum", ["a", "b", "filled", "ramp"], ["offset"]),
        helper.make_node("Add", ["x", "offset"], ["z"]),
        helper.make_node("Relu", ["x"], ["unread"]),
    ]
    weights = {"start": scalar(0.0), "limit": scalar(4.0), "step": scalar(0.5)}
    return model_of(nodes, [value_info("x", IMAGE)], ["z"], weights)


def shared_weight() -> Any:
    """A weight that the input meets first, and a constant expression afterwards."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"]),
        helper.make_node("Neg", ["w"], ["b"]),
        helper.make_node("Exp", ["b"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["z"]),
    ]
    return model_of(nodes, [value_info("x", IMAGE)], ["z", "c"], {"w": weight(8)})


CASES = {
    "Conv": lambda: conv(),
    "Conv strided and dilated": lambda: conv(strides=[2, 1], dilations=[1, 2], pads=[1, 2, 1, 2]),
    "Conv asymmetric": lambda: conv(pads=[0, 1, 2, 1], strides=[2, 2]),
    "Conv SAME_UPPER": lambda: conv(auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv SAME_LOWER": lambda: conv(auto_pad="SAME_LOWER", strides=[2, 2]),
    "Conv VALID": lambda: conv(auto_pad="VALID"),
    "Conv depthwise": lambda: one_node("Conv", weight(4, 1, 5, 5), group=4, pads=[2, 2, 2, 2]),
    "Conv 1d": lambda: one_node("Conv", weight(6, 2, 3), weight(6), shape=(1, 4, 11), group=2, pads=[1, 1]),
    "ConvTranspose": lambda: transposed(3, strides=[2, 2], pads=[1, 1, 1, 1]),
    "ConvTranspose grouped": lambda: one_node(
        "ConvTranspose", weight(4, 2, 3, 2), group=2, strides=[2, 2], output_padding=[1, 1], dilations=[2, 1]
    ),
    "ConvTranspose asymmetric": lambda: transposed(4, strides=[2, 2], pads=[0, 1, 2, 1]),
    "ConvTranspose output_shape": lambda: transposed(3, strides=[2, 2], output_shape=[18, 16]),
    "ConvTranspose SAME_UPPER": lambda: transposed(3, strides=[2, 2], auto_pad="SAME_UPPER"),
    "Gemm": lambda: gemm((3, 5), weight(5, 7), weight(7)),
    "Gemm linear": lambda: gemm((3, 5), weight(7, 5), weight(7), transB=1),
    "Gemm scaled": lambda: gemm((5, 3), weight(7, 5), weight(3, 1), transA=1, transB=1, alpha=0.5, beta=2.0),
    "Gemm without bias": lambda: gemm((3, 5), weight(5, 7), alpha=0.5),
    "MatMul": lambda: one_node("MatMul", more=((2, 4, 8, 3),)),
    "BatchNormalization": batch_norm,
    "LayerNormalization": lambda: one_node("LayerNormalization", weight(9, 8), weight(9, 8), axis=2),
    "LayerNormalization without bias": lambda: one_node("LayerNormalization", weight(8)),
    "InstanceNormalization": lambda: one_node("InstanceNormalization", weight(4), weight(4)),
    "GroupNormalization": lambda: one_node("GroupNormalization", weight(4), weight(4), num_groups=2, opset=21),
    "GroupNormalization by group": lambda: one_node("GroupNormalization", weight(2), weight(2), num_groups=2, opset=18),
    "LeakyRelu": lambda: one_node("LeakyRelu", alpha=0.2),
    "PRelu": lambda: one_node("PRelu", weight(4, 1, 1)),
    "PRelu single": lambda: one_node("PRelu", weight(1)),
    "PRelu by column": lambda: one_node("PRelu", weight(8)),
    "HardSigmoid": lambda: one_node("HardSigmoid"),
    "HardSigmoid of MobileNet": lambda: one_node("HardSigmoid", alpha=1 / 6),
    "Gelu": lambda: one_node("Gelu"),
    "Gelu tanh": lambda: one_node("Gelu", approximate="tanh"),
    "Elu": lambda: one_node("Elu", alpha=0.7),
    "Clip": lambda: one_node("Clip", scalar(0.0), scalar(0.8)),
    "Clip above": lambda: one_node("Clip", None, scalar(0.8)),
    "Clip by attributes": lambda: one_node("Clip", min=-0.5, max=0.5, opset=9),
    "Log": lambda: one_node("Log", positive=True),
    "Sqrt": lambda: one_node("Sqrt", positive=True),
    "Reciprocal": lambda: one_node("Reciprocal", positive=True),
    "Pow square": lambda: one_node("Pow", scalar(2.0)),
    "Pow": lambda: one_node("Pow", weight(8), positive=True),
    "Add": lambda: one_node("Add", more=((4, 1, 8),)),
    "Sub": lambda: one_node("Sub", more=((8,),)),
    "Mul": lambda: one_node("Mul", scalar(3.0)),
    "Div": lambda: one_node("Div", positive(4, 1, 1)),
    "Sum": lambda: one_node("Sum", weight(8), more=(IMAGE, (1,))),
    "Max": lambda: one_node("Max", weight(8), more=(IMAGE,)),
    "Min": lambda: one_node("Min", more=(IMAGE,)),
    "Softmax": lambda: one_node("Softmax", axis=1),
    "Softmax of old": lambda: one_node("Softmax", opset=11),
    "LogSoftmax": lambda: one_node("LogSoftmax"),
    "MaxPool": lambda: pool("MaxPool", strides=[2, 2], pads=[1, 1, 1, 1]),
    "MaxPool ceil": lambda: pool("MaxPool", strides=[2, 2], ceil_mode=1),
    "MaxPool asymmetric": lambda: pool("MaxPool", strides=[2, 2], pads=[0, 1, 1, 0]),
    "MaxPool asymmetric ceil": lambda: pool("MaxPool", strides=[3, 3], pads=[0, 1, 1, 0], ceil_mode=1),
    "MaxPool wide pads": lambda: pool("MaxPool", pads=[2, 2, 2, 2]),
    "MaxPool dilated": lambda: pool("MaxPool", dilations=[2, 2]),
    "MaxPool SAME": lambda: pool("MaxPool", strides=[2, 2], auto_pad="SAME_UPPER"),
    "MaxPool 1d": lambda: one_node("MaxPool", shape=(1, 4, 11), kernel_shape=[2], strides=[2]),
    "AveragePool": lambda: pool("AveragePool", pads=[1, 1, 1, 1]),
    "AveragePool with pads": lambda: pool("AveragePool", pads=[1, 1, 1, 1], count_include_pad=1),
    "AveragePool ceil": lambda: pool("AveragePool", strides=[2, 2], ceil_mode=1),
    "AveragePool asymmetric": lambda: pool("AveragePool", pads=[0, 1, 1, 0]),
    "AveragePool asymmetric with pads": lambda: pool("AveragePool", pads=[0, 1, 1, 0], count_include_pad=1),
    "AveragePool asymmetric ceil": lambda: pool("AveragePool", pads=[0, 0, 1, 0], strides=[3, 3], ceil_mode=1),
    "GlobalAveragePool": lambda: one_node("GlobalAveragePool"),
    "GlobalMaxPool": lambda: one_node("GlobalMaxPool"),
    "ReduceMean": lambda: one_node("ReduceMean", whole(2, 3)),
    "ReduceMean by attribute": lambda: one_node("ReduceMean", axes=[-1], keepdims=0, opset=13),
    "ReduceSum": lambda: one_node("ReduceSum", whole(1), keepdims=0),
    "ReduceSum of all": lambda: one_node("ReduceSum"),
    "ReduceSum of nothing": lambda: one_node("ReduceSum", noop_with_empty_axes=1),
    "ReduceMax": lambda: one_node("ReduceMax", whole(-2)),
    "Concat": lambda: one_node("Concat", weight(2, 1, 9, 8), more=(IMAGE,), axis=1),
    "Split": lambda: one_node("Split", whole(1, 3), axis=1, outputs=2),
    "Split evenly": lambda: one_node("Split", axis=2, num_outputs=3, outputs=3),
    "Split with a rest": lambda: one_node("Split", axis=2, num_outputs=2, outputs=2),
    "Split of old": lambda: one_node("Split", axis=3, outputs=4, opset=11),
    "Split into one": lambda: one_node("Split", axis=2, num_outputs=1),
    "Slice": lambda: one_node("Slice", whole(1, -5), whole(3, 2**62), whole(1, -1), whole(1, 2)),
    "Slice backward": lambda: one_node("Slice", whole(-1, 0), whole(-(2**62), 3), whole(2, 3), whole(-2, 1)),
    "Slice by attributes": lambda: one_node("Slice", starts=[1], ends=[4], axes=[2], opset=9),
    "Gather": lambda: one_node("Gather", np.array([[0, -1], [2, 2]]), axis=1),
    "Gather one": lambda: one_node("Gather", scalar(-2, np.int64), axis=2),
    "Reshape": lambda: one_node("Reshape", whole(0, -1, 6)),
    "Flatten": lambda: one_node("Flatten"),
    "Flatten from behind": lambda: one_node("Flatten", axis=-1),
    "Transpose": lambda: one_node("Transpose", perm=[0, 2, 3, 1]),
    "Transpose all": lambda: one_node("Transpose"),
    "Squeeze": lambda: one_node("Squeeze", whole(-1), shape=(1, 3, 1)),
    "Squeeze all": lambda: one_node("Squeeze", shape=(1, 3, 1)),
    "Unsqueeze": lambda: one_node("Unsqueeze", whole(0, -1)),
    "Unsqueeze by attribute": lambda: one_node("Unsqueeze", axes=[1, 3], opset=11),
    "Expand": lambda: one_node("Expand", whole(2, 1, 4), shape=(3, 1)),
    "Pad": lambda: one_node("Pad", whole(0, 1, 0, 2, 0, 0, 1, 1), scalar(1.5)),
    "Pad of axes": lambda: one_node("Pad", whole(1, 2), None, whole(-1)),
    "Pad by attributes": lambda: one_node("Pad", pads=[0, 0, 1, 1, 0, 0, 2, 2], value=0.5, opset=9),
    "Pad reflect": lambda: one_node("Pad", whole(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    "Pad edge": lambda: one_node("Pad", whole(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"),
    "CastLike": lambda: one_node("CastLike", scalar(0, np.int64)),
    "Cast": lambda: one_node("Cast", to=TensorProto.INT32),
    "Shape": lambda: one_node("Shape", start=1, end=-1),
    "Resize nearest up": lambda: resize([1, 1, 2, 2]),
    "Resize nearest down": lambda: resize([1, 1, 0.5, 0.5], coordinate_transformation_mode="half_pixel"),
    "Resize nearest corners": lambda: resize(sizes=[2, 4, 5, 13], coordinate_transformation_mode="align_corners"),
    "Resize nearest floor": lambda: resize(
        sizes=[2, 4, 7, 20], coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "Resize nearest of axes": lambda: resize([3.0, 2.0], axes=[3, 1], nearest_mode="ceil"),
    "Resize linear": lambda: resize([1, 1, 1.7, 0.6], mode="linear"),
    "Resize linear to sizes": lambda: resize(sizes=[2, 4, 18, 5], mode="linear"),
    "Resize linear corners": lambda: resize(
        [1, 1, 2, 3], mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "Resize of old": lambda: one_node("Resize", np.array([1, 1, 2, 2], np.float32), opset=10),
    "DepthToSpace": lambda: one_node("DepthToSpace", blocksize=2),
    "DepthToSpace CRD": lambda: one_node("DepthToSpace", blocksize=2, mode="CRD"),
    "computed shape": shape_arithmetic,
    "Where, Equal, Gather, Cast, Div of integers": masked,
    "constants": constants_only,
    "shared weight": shared_weight,
    **{
        op: lambda op=op: one_node(op)
        for op in (
            "Relu", "Sigmoid", "HardSwish", "Tanh", "Softplus", "Erf", "Exp", "Abs", "Neg", "Identity", "Dropout",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_onnxruntime(case: str, tmp_path: Path):
    assert_same_outputs(saved(CASES[case](), tmp_path))


class Net(nn.Module):
    """A residual block, a depthwise one with squeeze-and-excitation, attention, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
        )
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.body(x) * self.gate(x)
        tokens = self.norm(self.pool(x).flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(nn.functional.gelu(tokens).mean(1)).softmax(-1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return saved(capture_module(Net(), (1, 3, 16, 16)), tmp_path_factory.mktemp("network"))


@pytest.mark.parametrize("name", CASES)
def test_attributes_that_a_node_writes_out_are_heeded_or_do_not_matter(name: str, tmp_path: Path):
    """Each attribute that it leaves out, as its default and as another whole number: exporters write what they like."""
    model = CASES[name]()
    node = model.graph.node[-1]
    try:
        known = onnx.defs.get_schema(node.op_type, model.opset_import[0].version).attributes
    except onnx.defs.SchemaError:
        return
    given = {attribute.name for attribute in node.attribute}
    for attribute, schema in known.items():
        usual = onnx.helper.get_attribute_value(schema.default_value) if schema.default_value.type else None
        values = {0, 1} if schema.type == onnx.defs.OpSchema.AttrType.INT else {usual} - {None}
        for value in values if attribute not in given and not isinstance(usual, list) else ():
            changed = type(model)()
            changed.CopyFrom(model)
            changed.graph.node[-1].attribute.append(helper.make_attribute(attribute, value))
            path = saved(changed, tmp_path, f"{attribute}.{value}.onnx")
            try:
                runtimes.load("onnxruntime").load(path, RuntimeOptions(optimisation="none")).outputs()
            except HwnasError:  # another rank, no groups at all: not of this case
                continue
            assert_same_outputs(path)


def test_exported_network(network: Path):
    assert_same_outputs(network)


def test_agrees_with_an_optimising_exporter(tmp_path: Path):
    torch.manual_seed(0)
    path = tmp_path / "net.onnx"
    torch.onnx.export(Net().eval(), (torch.zeros(1, 3, 16, 16),), path, dynamo=True, verbose=False)
    assert_same_outputs(path)


def test_session_equals_plain_onnxruntime(network: Path):
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    feed = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    (expected,) = session.run(None, {session.get_inputs()[0].name: feed})
    (got,) = runtimes.load("torch").load(network, OPTIONS).outputs()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_profile_has_one_entry_for_each_node_of_the_graph(network: Path):
    graph = read_graph(network)
    profile = runtimes.load("torch").load(network, OPTIONS).profile(5)
    assert [kernel.op_type for kernel in profile.kernels] == [node.operator.op_type for node in graph.nodes]
    assert [kernel.node for kernel in profile.kernels] == [node.name for node in graph.nodes]
    assert all(kernel.mean_ns > 0 and kernel.runs == 5 for kernel in profile.kernels)
    assert profile.allocator_peak_bytes is None


def test_intermediate_values_are_freed(network: Path):
    session = runtimes.load("torch").load(network, OPTIONS)
    session.run()
    gc.collect()
    session.outputs()
    proto = onnx.load(network)
    known = {value.name for value in (*proto.graph.initializer, *proto.graph.input, *proto.graph.output)}
    written = {value.name for value in proto.graph.input}  # what depends on the input; weights may stay transposed
    for node in proto.graph.node:
        if written & set(node.input):
            written |= set(node.output)
    assert session._values.keys() & written <= known
    session.close()
    assert not session._values


def test_callables_keep_no_activation(tmp_path: Path):
    size = (1, 8, 123, 45)
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("AveragePool", ["b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c", "low"], ["d"]),
        helper.make_node("ReduceSum", ["d", "axes"], ["z"]),
    ]
    weights = {"w": weight(8, 8, 3, 3), "low": scalar(0.0), "axes": whole(2, 3)}
    path = saved(model_of(nodes, [value_info("x", size)], ["z"], weights), tmp_path)
    session = runtimes.load("torch").load(path, OPTIONS)
    session.run()
    gc.collect()
    alive = [item for item in gc.get_objects() if type(item) is torch.Tensor and tuple(item.shape) == size]
    assert len(alive) <= 1  # the input


def test_runtime_facts():
    runtime = runtimes.load("torch")
    assert runtime.version == f"torch {torch.__version__.split('+')[0]}"
    assert runtime.sentinels() is None
    assert runtime.fuse(Path("any.onnx"), OPTIONS) is None
    assert isinstance(runtime.clock(), int)


def test_threads_are_set(network: Path):
    before = torch.get_num_threads()
    try:
        runtimes.load("torch").load(network, RuntimeOptions(threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def refusal(path: Path, error: type[Exception], options: RuntimeOptions = OPTIONS) -> Any:
    with pytest.raises(error) as caught:
        runtimes.load("torch").load(path, options)
    assert caught.value.hint
    return caught.value


def test_other_precisions_are_refused(network: Path):
    assert "int8" in refusal(network, UsageError, RuntimeOptions(precision="int8")).message


def test_levels_of_optimisation(network: Path):
    for level in ("all", "basic", "none"):
        runtimes.load("torch").load(network, RuntimeOptions(optimisation=level)).run()
    assert "most" in refusal(network, UsageError, RuntimeOptions(optimisation="most")).message


def test_unsupported_operator(tmp_path: Path):
    error = refusal(saved(one_node("NonMaxSuppression", shape=(1, 3, 4)), tmp_path), UnsupportedOperator)
    assert "NonMaxSuppression" in error.message
    assert "model.onnx" in error.message


def test_unsupported_domain(tmp_path: Path):
    model = one_node("Relu")
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "com.microsoft:Relu" in refusal(saved(model, tmp_path), UnsupportedOperator).message


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: resize([1, 1, 2, 2], coordinate_transformation_mode="tf_crop_and_resize"), "tf_crop_and_resize"),
        (lambda: resize([1, 1, 0.6, 0.7], coordinate_transformation_mode="align_corners"), "align_corners"),
        (lambda: pool("AveragePool", dilations=[2, 2]), "dilations"),
        (lambda: pool("LpPool", dilations=[2, 2]), "dilations"),
        (lambda: one_node("Pad", whole(0, -1, 0, 0, 0, 0, 0, 0), mode="wrap"), "wrap"),
        (lambda: one_node("Relu", surprise=1), "surprise"),
        (lambda: one_node("Dropout", scalar(0.5), scalar(True, bool)), "training_mode"),
    ],
)
def test_unsupported_attributes(model: Any, named: str, tmp_path: Path):
    error = refusal(saved(model(), tmp_path), UnsupportedOperator)
    assert named in error.message
    assert "model.onnx" in error.message


@pytest.mark.parametrize("content", [b"this is no model", b"", b"\x08\x08"])
def test_not_onnx(content: bytes, tmp_path: Path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    assert "broken.onnx" in refusal(path, InvalidModel).message


def test_missing_file(tmp_path: Path):
    assert "nowhere.onnx" in refusal(tmp_path / "nowhere.onnx", InvalidModel).message


def test_missing_external_weights(tmp_path: Path):
    path = tmp_path / "split.onnx"
    onnx.save(conv(), path, save_as_external_data=True, location="split.data", size_threshold=0)
    assert_same_outputs(path)
    (tmp_path / "split.data").unlink()
    assert "split.onnx" in refusal(path, InvalidModel).message


@pytest.mark.parametrize("shape", [("batch", 4), (None, 4), (0, 4), None])
def test_dynamic_shape(shape: Any, tmp_path: Path):
    path = saved(model_of([helper.make_node("Relu", ["x"], ["z"])], [value_info("x", shape)], ["z"], {}), tmp_path)
    error = refusal(path, InvalidModel)
    assert "'x'" in error.message
    assert not isinstance(error, UnsupportedOperator)


def test_nodes_that_do_not_fit(tmp_path: Path):
    model = one_node("Add", more=(IMAGE,))
    model.graph.input[1].type.tensor_type.shape.dim[3].dim_value = 5
    assert "Add" in refusal(saved(model, tmp_path), InvalidModel).message


def test_dangling_names(tmp_path: Path):
    model = one_node("Relu")
    model.graph.node[0].input[0] = "nobody"
    assert "'nobody'" in refusal(saved(model, tmp_path), InvalidModel).message
    model = one_node("Relu")
    model.graph.output[0].name = "nothing"
    assert "'nothing'" in refusal(saved(model, tmp_path), InvalidModel).message


def test_types_that_are_not_read(tmp_path: Path):
    model = model_of(
        [helper.make_node("Identity", ["x"], ["z"])], [value_info("x", (2,), TensorProto.STRING)], ["z"], {}
    )
    assert "STRING" in refusal(saved(model, tmp_path), InvalidModel).message


def test_operator_sets_before_broadcasting(tmp_path: Path):
    error = refusal(saved(one_node("Add", more=(IMAGE,), opset=6), tmp_path), UnsupportedOperator)
    assert "Add" in error.message
    assert "operator set 6" in error.message


def test_operators_that_did_not_change_since_old_sets(tmp_path: Path):
    assert_same_outputs(saved(one_node("Relu", opset=6), tmp_path))
