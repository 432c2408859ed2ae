"""The simulated arena against what ONNX Runtime reports of the same session, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from profiler.memory import MemoryPlan, simulate
from profiler.memory.onnxruntime_order import in_execution_order
from profiler.memory.onnxruntime_rules import ALIASES, IN_PLACE
from profiler.onnx_graph import read_graph

Shape = tuple[int, ...]
DATA = (1, 16, 20, 24)
RUNS = 3


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def profile(model: bytes, folder: Path, optimise: bool) -> tuple[bytes, list[list[dict[str, Any]]]]:
    """The fused model of one session, and what its nodes say of the arena in each run."""
    ort = pytest.importorskip("onnxruntime")
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 4
    levels = ort.GraphOptimizationLevel
    settings.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    settings.optimized_model_filepath = str(folder / "fused.onnx")
    settings.enable_profiling, settings.profile_file_prefix = True, str(folder / "profile")
    session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    feed = {
        value.name: ort.OrtValue.ortvalue_from_numpy(np.ones(value.shape, np.float32)) for value in session.get_inputs()
    }
    for _ in range(RUNS):
        session.run_with_ort_values([value.name for value in session.get_outputs()], feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [e["args"] for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    each = len(nodes) // RUNS
    return (folder / "fused.onnx").read_bytes(), [nodes[i * each : (i + 1) * each] for i in range(RUNS)]


def compare(model: bytes, folder: Path, optimise: bool = True) -> MemoryPlan:
    """Assert that peak, memory held, and the bytes in use at each node are those that the runtime reports."""
    fused, runs = profile(model, folder, optimise)
    graph = read_graph(fused, runtime="onnxruntime")
    graph = graph if optimise else in_execution_order(graph)
    plan = simulate(graph, "onnxruntime")
    assert [args["op_name"] for args in runs[0]] == [n.operator.op_type for n in graph.nodes]
    assert plan.allocator_timeline == tuple(int(args["mem_bytes_in_use"]) for args in runs[0])
    assert plan.allocator_peak_bytes == max(int(args["mem_in_use_peak"]) for run in runs for args in run)
    assert plan.allocator_held_bytes == int(runs[-1][-1]["mem_arena_held"])
    return plan


def single(op: str, operands: list[Any], out: Shape, domain: str = "", **attributes: Any) -> bytes:
    """A model in which an operator reads values that other nodes wrote, and what it writes is no output.

    Args:
        op: the operator.
        operands: a shape for a value, an array for a constant, None for what is left out.
        out: shape of its output.
        domain: its operator set.
        attributes: of the node.
    """
    nodes, inputs, weights, names = [], [], [], []
    for i, operand in enumerate(operands):
        if operand is None:
            names.append("")
        elif isinstance(operand, np.ndarray):
            weights.append(numpy_helper.from_array(operand, f"w{i}"))
            names.append(f"w{i}")
        else:
            inputs.append(helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, operand))
            nodes.append(helper.make_node("Erf", [f"x{i}"], [f"a{i}"]))
            names.append(f"a{i}")
    nodes.append(helper.make_node(op, names, ["b"], domain=domain, **attributes))
    nodes.append(helper.make_node("Erf", ["b"], ["y"]))
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, out)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, out)
    graph = helper.make_graph(nodes, "g", inputs, [output], weights, value_info=[value])
    opsets = [helper.make_opsetid("", 20)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


UNARY = [
    *sorted(kind for kind, inputs in IN_PLACE.items() if inputs == (0,) and kind != "Cast"),
    *("Abs", "Exp", "Neg", "Sqrt", "Floor", "Gelu", "Dropout", "Identity"),
]


@pytest.mark.parametrize("op", UNARY)
def test_functions_of_one_input(op: str, tmp_path: Path) -> None:
    plan = compare(single(op, [DATA], DATA), tmp_path, optimise=False)
    shares = op in IN_PLACE or op in ALIASES
    assert (plan.allocator_timeline[1] == plan.allocator_timeline[0]) == shares


MICROSOFT, BLOCKED = "com.microsoft", "com.microsoft.nchwc"
FLAT = (16, 480)
CASES: dict[str, tuple[Any, ...]] = {
    "reshape": ("Reshape", [DATA, integers(*FLAT)], FLAT, "", {}),
    "flatten": ("Flatten", [DATA], (1, 7680), "", {}),
    "squeeze": ("Squeeze", [DATA, integers(0)], DATA[1:], "", {}),
    "unsqueeze": ("Unsqueeze", [DATA, integers(0)], (1, *DATA), "", {}),
    "transpose": ("Transpose", [DATA], (1, 20, 24, 16), "", {"perm": [0, 2, 3, 1]}),
    "concat": ("Concat", [DATA, DATA], (1, 32, 20, 24), "", {"axis": 1}),
    "slice": ("Slice", [DATA, integers(0), integers(8), integers(1)], (1, 8, 20, 24), "", {}),
    "add": ("Add", [DATA, DATA], DATA, "", {}),
    "add, constant": ("Add", [DATA, weight(24)], DATA, "", {}),
    "mul": ("Mul", [DATA, DATA], DATA, "", {}),
    "sum of three": ("Sum", [DATA, DATA, DATA], DATA, "", {}),
    "max of four": ("Max", [DATA] * 4, DATA, "", {}),
    "softmax": ("Softmax", [DATA], DATA, "", {"axis": -1}),
    "softmax, inner axis": ("Softmax", [DATA], DATA, "", {"axis": 1}),
    "batch norm": ("BatchNormalization", [DATA, weight(16), weight(16), weight(16), abs(weight(16))], DATA, "", {}),
    "layer norm": ("LayerNormalization", [DATA, weight(24), weight(24)], DATA, "", {"axis": -1}),
    "lrn": ("LRN", [DATA], DATA, "", {"size": 3}),
    "gemm": ("Gemm", [(20, 24), weight(24, 30)], (20, 30), "", {}),
    "gemm, transposed": ("Gemm", [(20, 24), weight(30, 24), weight(30)], (20, 30), "", {"transB": 1}),
    "gemm of two values": ("Gemm", [(20, 24), (24, 30)], (20, 30), "", {}),
    "matmul": ("MatMul", [(4, 20, 24), weight(24, 30)], (4, 20, 30), "", {}),
    "matmul, batched weight": ("MatMul", [(4, 20, 24), weight(4, 24, 30)], (4, 20, 30), "", {}),
    "fused matmul": ("FusedMatMul", [(4, 20, 24), weight(30, 24)], (4, 20, 30), MICROSOFT, {"transB": 1}),
    "conv 1x1": ("Conv", [DATA, weight(12, 16, 1, 1)], (1, 12, 20, 24), "", {}),
    "conv 3x3": ("Conv", [DATA, weight(12, 16, 3, 3)], (1, 12, 20, 24), "", {"pads": [1] * 4}),
    "conv, more filters than pixels": (
        "Conv", [(1, 16, 8, 8), weight(100, 16, 3, 3)], (1, 100, 8, 8), "", {"pads": [1] * 4},
    ),
    "conv, grouped": ("Conv", [DATA, weight(12, 4, 3, 3)], (1, 12, 20, 24), "", {"pads": [1] * 4, "group": 4}),
    "conv, batch": ("Conv", [(4, 16, 20, 24), weight(12, 16, 3, 3)], (4, 12, 20, 24), "", {"pads": [1] * 4}),
    "conv and sum": (
        "FusedConv", [DATA, weight(16, 16, 3, 3), weight(16), DATA], DATA, MICROSOFT,
        {"pads": [1] * 4, "activation": "Relu"},
    ),
    "transposed conv": ("ConvTranspose", [DATA, weight(16, 12, 2, 2)], (1, 12, 40, 48), "", {"strides": [2, 2]}),
    "max pool": ("MaxPool", [DATA], DATA, "", {"kernel_shape": [3, 3], "pads": [1] * 4}),
    "blocked conv and sum": (
        "Conv", [DATA, weight(16, 16, 3, 3), weight(16), DATA], DATA, BLOCKED,
        {"pads": [1] * 4, "kernel_shape": [3, 3]},
    ),
    "mean": ("ReduceMean", [DATA, integers(2, 3)], (1, 16, 1, 1), "", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_operator(case: str, tmp_path: Path) -> None:
    op, operands, out, domain, attributes = CASES[case]
    plan = compare(single(op, operands, out, domain, **attributes), tmp_path, optimise=False)
    assert plan.notes == ()


@pytest.fixture(scope="module")
def exported() -> Callable[..., bytes]:
    """Makes the ONNX of a module: `exported(module, shape)`."""
    from profiler.capture import capture_module

    return lambda module, shape: capture_module(module, shape).SerializeToString()


def modules() -> dict[str, tuple[Any, Shape]]:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Residual(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.stem, self.inner, self.head = nn.Conv2d(3, 16, 3, padding=1), inner, nn.Linear(16, 10)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            x = torch.relu(x + self.inner(x))
            return self.head((x + self.inner(x)).mean((2, 3)))

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.qkv, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)

        def forward(self, x: Any) -> Any:
            b, n, d = x.shape
            q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
            mixed = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
            return x + self.out(mixed.transpose(1, 2).reshape(b, n, d))

    class Mixed(nn.Module):
        """Some convolutions read blocked tensors, others few channels as they are."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a = nn.Conv2d(3, 20, 5, 2, 2), nn.Conv2d(20, 10, 1)
            self.b, self.c = nn.Conv2d(10, 14, 3, padding=1), nn.Conv2d(20, 6, (1, 7), padding=(0, 3))

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.stem(x))
            return torch.cat([self.b(torch.sigmoid(self.a(x))), self.c(torch.max_pool2d(x, 3, 1, 1))], 1)

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(3 + 12 * i, 12, 3, padding=1) for i in range(4))

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = torch.cat([x, torch.relu(layer(x))], 1)
            return x

    depthwise = nn.Sequential(
        nn.Conv2d(16, 48, 1), nn.Hardswish(), nn.Conv2d(48, 48, 3, padding=1, groups=48), nn.Conv2d(48, 16, 1)
    )
    torch.manual_seed(0)
    return {
        "residual": (Residual(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))), (1, 3, 32, 32)),
        "depthwise, beyond the first region": (Residual(depthwise), (2, 3, 96, 96)),
        "attention": (Attention(), (2, 40, 32)),
        "dense concatenation": (Dense(), (1, 3, 40, 40)),
        "blocked and plain": (Mixed(), (1, 3, 150, 130)),
    }


@pytest.mark.parametrize(
    "name", ["residual", "depthwise, beyond the first region", "attention", "dense concatenation", "blocked and plain"]
)
def test_a_network(name: str, exported: Callable[..., bytes], tmp_path: Path) -> None:
    module, shape = modules()[name]
    plan = compare(exported(module, shape), tmp_path)
    assert plan.weight_bytes > 0


def test_networks_of_a_space(tmp_path: Path) -> None:
    """This package may not import `nas`, its tests may."""
    import nas
    from device_profiles.errors import ConstantNetwork
    from nas.spaces.export import onnx_bytes

    space, compared = nas.spaces.load("nasbench201:cells=1"), 0
    for arch in space.sample(4, np.random.default_rng(1)):
        try:
            model = onnx_bytes(space, arch)
        except ConstantNetwork:
            continue
        compare(model, tmp_path)
        compared += 1
    assert compared >= 2


def test_independent_nodes_of_an_untouched_model_run_from_the_last(onnx_model: Any, tmp_path: Path) -> None:
    """Sizes differ, so another order is another timeline."""
    nodes = [helper.make_node("Erf", [f"x{i}"], [f"a{i}"]) for i in range(3)]
    nodes += [helper.make_node("Erf", ["a1"], ["b"]), helper.make_node("Concat", ["a2", "b", "a0"], ["y"], axis=0)]
    sizes = {"x0": (500,), "x1": (1000,), "x2": (2000,)}
    known = {"a0": (500,), "a1": (1000,), "a2": (2000,), "b": (1000,)}
    model = onnx_model(nodes, sizes, {"y": (3500,)}, known=known).SerializeToString()
    compare(model, tmp_path, optimise=False)
    graph = read_graph(model)
    assert in_execution_order(graph).nodes != graph.nodes
    assert {n.outputs for n in in_execution_order(graph).nodes} == {n.outputs for n in graph.nodes}


def test_an_order_that_the_runtime_does_not_fix_is_said() -> None:
    from profiler.operators import Node, Operator, OperatorGraph, Tensor

    def node(kind: str, source: str, target: str) -> Node:
        domain, _, op = kind.rpartition(":")
        return Node(Operator(domain, op, (), (Tensor(DATA),), (Tensor(DATA),)), (source,), (target,))

    first, reorder = node(f"{BLOCKED}:ReorderInput", "x", "a"), node(f"{BLOCKED}:ReorderOutput", "a", "y")
    pool = node(f"{BLOCKED}:MaxPool", "a", "z")
    inputs = (("x", Tensor(DATA)),)
    forked = simulate(OperatorGraph((first, reorder, pool), inputs, ("y", "z")), "onnxruntime")
    assert len(forked.notes) == 1 and "orders ReorderOutput" in forked.notes[0]
    assert simulate(OperatorGraph((first, reorder), inputs, ("y",)), "onnxruntime").notes == ()


def test_channels_are_filled_up_to_whole_blocks() -> None:
    """20 channels are stored as 32 where blocks have 16, as 24 where they have 8: the weights show which."""
    from profiler.memory.onnxruntime import stored_tensors
    from profiler.operators import Node, Operator, OperatorGraph, Tensor

    for full in (32, 24):
        data = Tensor((1, 20, 8, 8))
        reorder = Operator(BLOCKED, "ReorderInput", (), (data,), (data,))
        pool = Operator(BLOCKED, "MaxPool", (), (data,), (data,))
        kernel = Tensor((full, full, 1, 1), constant=True)
        conv = Operator(BLOCKED, "Conv", (), (data, kernel), (Tensor((1, full, 8, 8)),))
        back = Operator(BLOCKED, "ReorderOutput", (), conv.outputs, (data,))
        plain = Operator(
            BLOCKED, "Conv", (), (Tensor((1, 12, 8, 8)), Tensor((full, 12, 1, 1), constant=True)), conv.outputs
        )
        nodes = (
            Node(plain, ("z", "v"), ("d",)),  # reads 12 channels that are not blocked, which says nothing
            Node(reorder, ("x",), ("a",)),
            Node(pool, ("a",), ("b",)),
            Node(conv, ("b", "w"), ("c",)),
            Node(back, ("c",), ("y",)),
        )
        inputs = (("x", data), ("z", Tensor((1, 12, 8, 8))))
        stored = stored_tensors(OperatorGraph(nodes, inputs, ("y", "d")))
        assert [stored[name].shape[1] for name in "abcy"] == [full, full, full, 20]
