"""Simulated allocations against those that `torch.profiler` lists, byte for byte."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from profiler import runtimes
from profiler.memory import MemoryPlan, simulate
from profiler.memory.torch import contiguous, view_strides
from profiler.onnx_graph import read_graph
from profiler.runtimes.protocol import RuntimeOptions

torch = pytest.importorskip("torch")
Shape = tuple[int, ...]
DATA = (1, 16, 20, 24)

needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="oneDNN lays data out in other blocks on this CPU"
)


def reported(model: Path, folder: Path) -> int:
    """Peak of one inference after others, with the outputs of the last that the session holds."""
    from torch.profiler import ProfilerActivity, profile

    session: Any = runtimes.load("torch").load(model, RuntimeOptions())
    for _ in range(2):
        session.run()
    held = sum(session._values[name].untyped_storage().nbytes() for name in session._output_names)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        session.run()
    seen.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    peak = level = held
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        level += event["args"]["Bytes"]
        peak = max(peak, level)
    return peak


def compare(model: bytes, folder: Path) -> MemoryPlan:
    path = folder / "m.onnx"
    path.write_bytes(model)
    plan = simulate(read_graph(path), "torch")
    assert plan.allocator_peak_bytes == reported(path, folder)
    return plan


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def single(op: str, operands: list[Any], out: Shape, **attributes: Any) -> bytes:
    """A model in which an operator reads values that other nodes wrote, and what it writes is no output."""
    nodes, inputs, weights, names = [], [], [], []
    for i, operand in enumerate(operands):
        if isinstance(operand, np.ndarray):
            weights.append(numpy_helper.from_array(operand, f"w{i}"))
            names.append(f"w{i}")
        else:
            inputs.append(helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, operand))
            nodes.append(helper.make_node("Exp", [f"x{i}"], [f"a{i}"]))
            names.append(f"a{i}")
    nodes += [helper.make_node(op, names, ["b"], **attributes), helper.make_node("Exp", ["b"], ["y"])]
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, out)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, out)
    graph = helper.make_graph(nodes, "g", inputs, [output], weights, value_info=[value])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


PADDED = {"pads": [1] * 4}
CASES: dict[str, tuple[Any, ...]] = {
    "relu": ("Relu", [DATA], DATA, {}),
    "add": ("Add", [DATA, DATA], DATA, {}),
    "sum of three": ("Sum", [DATA, DATA, DATA], DATA, {}),
    "hard sigmoid of its own slope": ("HardSigmoid", [DATA], DATA, {"alpha": 0.3}),
    "reshape": ("Reshape", [DATA, np.array([16, 480])], (16, 480), {}),
    "transpose": ("Transpose", [DATA], (1, 20, 24, 16), {"perm": [0, 2, 3, 1]}),
    "concat": ("Concat", [DATA, DATA], (1, 32, 20, 24), {"axis": 1}),
    "batch norm": ("BatchNormalization", [DATA, weight(16), weight(16), weight(16), abs(weight(16))], DATA, {}),
    "layer norm": ("LayerNormalization", [DATA, weight(24), weight(24)], DATA, {"axis": -1}),
    "max pool": ("MaxPool", [DATA], DATA, {"kernel_shape": [3, 3], **PADDED}),
    "gemm": ("Gemm", [(20, 24), weight(30, 24), weight(30)], (20, 30), {"transB": 1}),
    "gemm, scaled": ("Gemm", [(20, 24), weight(24, 30)], (20, 30), {"alpha": 0.5}),
    "matmul": ("MatMul", [(4, 20, 24), (4, 24, 30)], (4, 20, 30), {}),
    "conv, small": ("Conv", [DATA, weight(12, 16, 3, 3)], (1, 12, 20, 24), PADDED),
    "conv 1x1": ("Conv", [DATA, weight(12, 16, 1, 1)], (1, 12, 20, 24), {}),
}
ONEDNN: dict[str, tuple[Any, ...]] = {
    "conv, large": ("Conv", [(1, 32, 32, 32), weight(48, 32, 3, 3), weight(48)], (1, 48, 32, 32), PADDED),
    "conv, odd channels": ("Conv", [(1, 24, 32, 32), weight(40, 24, 3, 3), weight(40)], (1, 40, 32, 32), PADDED),
    "conv, image": ("Conv", [(1, 3, 96, 96), weight(32, 3, 3, 3)], (1, 32, 96, 96), PADDED),
    "conv, batch": ("Conv", [(4, 16, 20, 24), weight(16, 16, 3, 3)], (4, 16, 20, 24), PADDED),
    "conv, depthwise": ("Conv", [DATA, weight(16, 1, 3, 3)], DATA, {**PADDED, "group": 16}),
    "conv, strided 1x1": ("Conv", [(1, 16, 40, 40), weight(16, 16, 1, 1)], (1, 16, 20, 20), {"strides": [2, 2]}),
}


@pytest.mark.parametrize("case", CASES)
def test_one_operator(case: str, tmp_path: Path) -> None:
    op, operands, out, attributes = CASES[case]
    assert compare(single(op, operands, out, **attributes), tmp_path).notes == ()


@needs_avx512
@pytest.mark.parametrize("case", ONEDNN)
def test_one_convolution_by_onednn(case: str, tmp_path: Path) -> None:
    op, operands, out, attributes = ONEDNN[case]
    assert compare(single(op, operands, out, **attributes), tmp_path).notes == ()


def test_attention_with_views_and_copies(tmp_path: Path) -> None:
    """With a batch of 2 the heads cannot be joined to one batch without a copy."""
    from profiler.capture import capture_module

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)

        def forward(self, x: Any) -> Any:
            b, n, d = x.shape
            q, k, v = self.qkv(x).reshape(b, n, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
            mixed = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
            return x + self.out(mixed.transpose(1, 2).reshape(b, n, d))

    torch.manual_seed(0)
    plan = compare(capture_module(Attention(), (2, 40, 32)).SerializeToString(), tmp_path)
    assert plan.allocator_peak_bytes > plan.activation_peak_bytes, "copies of views"


@pytest.mark.slow
@given(st.data())
@settings(max_examples=100)
def test_views_exist_where_torch_says_so(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    order = data.draw(st.permutations(range(len(shape))))
    tensor = torch.empty(shape).permute(order)
    if data.draw(st.booleans()):
        tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
    left, wanted = tensor.numel(), []
    while left > 1:
        part = data.draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0]))
        wanted.append(part)
        left //= part
    wanted = tuple(data.draw(st.permutations(wanted)))
    assert math.prod(wanted) == tensor.numel()
    try:
        expected = tuple(tensor.view(wanted).stride())
    except RuntimeError:
        expected = None
    found = view_strides(tuple(tensor.shape), tuple(tensor.stride()), wanted)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert all(a == b for a, b, n in zip(found, expected, wanted, strict=True) if n != 1)


def test_strides_of_row_major_order() -> None:
    assert contiguous((2, 3, 4)) == tuple(torch.empty(2, 3, 4).stride()) == (12, 4, 1)
    assert contiguous(()) == ()
    assert view_strides((2, 0), (1, 1), (0, 5)) == (5, 1)


@pytest.mark.parametrize("op", ["Cos", "Mish", "Floor", "Celu", "Trilu", "ThresholdedRelu"])
def test_operators_that_allocate_their_result_alone(op: str, tmp_path: Path) -> None:
    plan = compare(single(op, [DATA], DATA), tmp_path)
    assert plan.allocator == plan.allocator_peak_bytes


def test_what_is_not_known_is_unavailable(tmp_path: Path) -> None:
    plan = simulate(graph_of(single("LRN", [DATA], DATA, size=5), tmp_path), "torch")
    assert plan.unknown == ("LRN",)
    assert "LRN" in plan.allocator.reason


def test_outputs_that_nobody_reads_are_not_written(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node("Dropout", ["a"], ["b", "mask"]),
        helper.make_node("MaxPool", ["b"], ["c", "positions"], kernel_shape=[2, 2]),
        helper.make_node("Exp", ["c"], ["y"]),
    ]
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, DATA)]
    graph = helper.make_graph(nodes, "g", values, [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    compare(onnx.shape_inference.infer_shapes(model).SerializeToString(), tmp_path)


def graph_of(model: bytes, folder: Path) -> Any:
    path = folder / "m.onnx"
    path.write_bytes(model)
    return read_graph(path)
