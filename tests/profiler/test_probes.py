"""Probes: networks that load, run and differ, the same for equal seeds, and with kernels of many kinds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from device_profiles.errors import UsageError
from device_profiles.profile import load
from profiler import probes as module
from profiler.fusing import fused_graph
from profiler.operators import Operator
from profiler.probes import probes
from profiler.probes.drawing import Drawing, Image
from profiler.probes.rare_images import Block
from profiler.subjects import Subject
from profiler.work import macs

ORT = load("local-onnxruntime")


@pytest.fixture(scope="module")
def many() -> list[Subject]:
    return probes(60, seed=0)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-3, 0), (2, -1)])
def test_numbers_out_of_range_are_refused(count: int, seed: int) -> None:
    with pytest.raises(UsageError) as caught:
        probes(count, seed)
    assert str(count) in caught.value.message and str(seed) in caught.value.message


def test_probes_are_distinct(many: list[Subject]) -> None:
    assert len(many) == len({probe.id for probe in many}) == len({probe.name for probe in many}) == 60
    assert all(probe.space is None and probe.arch is None and probe.kernel is None for probe in many)


def test_equal_seeds_give_equal_probes_and_a_shorter_list_is_the_beginning(many: list[Subject]) -> None:
    some = probes(7, seed=0)
    assert [probe.id for probe in some] == [probe.id for probe in many[:7]]
    assert [probe.name for probe in some] == [probe.name for probe in many[:7]]
    assert [probe.onnx() for probe in some] == [probe.onnx() for probe in many[:7]], "weights, too"


def test_other_seeds_give_other_probes(many: list[Subject]) -> None:
    assert not {probe.id for probe in probes(9, seed=1)} & {probe.id for probe in many}


def test_the_global_seed_is_neither_used_nor_moved() -> None:
    np.random.seed(3)  # noqa: NPY002 - the global generator is what this is about
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = probes(2, seed=5)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(4)  # noqa: NPY002
    assert [probe.id for probe in probes(2, seed=5)] == [probe.id for probe in first]


def test_probes_are_valid_onnx(many: list[Subject]) -> None:
    for probe in many:
        onnx.checker.check_model(onnx.load_from_string(probe.onnx()), full_check=True)


def test_probes_are_small_enough_to_measure(many: list[Subject]) -> None:
    """Operators take milliseconds; one or two of a few probes are as large as those of real networks."""
    large = 0
    for probe in many:
        counts = [macs(operator) for operator in probe.graph.operators]
        assert max(counts) <= module.MOST_LARGE and sum(counts) <= 3 * module.MOST_LARGE, probe.name
        assert sum(count > module.MOST_MACS for count in counts) <= 2, probe.name
        large += max(counts) > module.MOST_MACS
        for operator in probe.graph.operators:
            assert all(tensor.elements <= 2 * module.MOST_ELEMENTS for tensor in operator.outputs), probe.name
        assert len(probe.graph.operators) >= module.FEWEST_BLOCKS
    assert 3 <= large <= 12


def test_a_fifth_is_as_small_as_models_of_sensors_are(many: list[Subject]) -> None:
    small = [p for p in many if int(p.name.rpartition(".")[2]) % 10 in (0, 9)]
    work, rest = (
        [sum(map(macs, p.graph.operators)) for p in some] for some in (small, [p for p in many if p not in small])
    )
    assert len(small) == 12 and np.median(work) < 2e6 < np.median(rest) / 20


def test_recurrent_and_unvectorised_operators_are_small(many: list[Subject]) -> None:
    """They take a hundred times as long as others of as many elements."""
    slow = [op for probe in many for op in probe.graph.operators if op.op_type in ("LRN", "LSTM", "GRU", "Softplus")]
    assert len(slow) >= 15
    for operator in slow:
        assert operator.outputs[0].elements <= 150_000 and macs(operator) <= module.MOST_MACS / 2, operator


#: What ONNX Runtime makes of real files; each is in some of 60 probes, whatever the seed.
REAL_KINDS = frozenset(
    {
        "Abs", "Add", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "ConvInteger",
        "ConvTranspose", "CumSum", "DepthToSpace", "DequantizeLinear", "Div", "DynamicQuantizeLinear", "Einsum",
        "Elu", "Equal", "Exp", "Expand", "GRU", "Gather", "GatherElements", "Gelu", "Gemm", "GlobalAveragePool",
        "Greater", "HardSigmoid", "InstanceNormalization", "LRN", "LSTM", "LayerNormalization", "Less", "Log",
        "LogSoftmax", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "PRelu", "Pad", "Pow", "QLinearMatMul",
        "QuantizeLinear", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu",
        "Reshape", "Resize", "Sigmoid", "SimplifiedLayerNormalization", "Sin", "Slice", "Softmax", "Softplus",
        "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose", "Unsqueeze",
        "Where", "com.microsoft.nchwc:AveragePool", "com.microsoft.nchwc:Conv",
        "com.microsoft.nchwc:GlobalAveragePool", "com.microsoft.nchwc:MaxPool", "com.microsoft.nchwc:ReorderInput",
        "com.microsoft.nchwc:ReorderOutput", "com.microsoft.nchwc:Upsample", "com.microsoft:DynamicQuantizeMatMul",
        "com.microsoft:FastGelu", "com.microsoft:FusedConv", "com.microsoft:FusedGemm", "com.microsoft:FusedMatMul",
        "com.microsoft:Gelu", "com.microsoft:QGemm", "com.microsoft:QLinearAdd", "com.microsoft:QLinearConv",
        "com.microsoft:QLinearGlobalAveragePool", "com.microsoft:QuickGelu", "com.microsoft:SkipLayerNormalization",
    }
)  # fmt: skip


def run(probe: Subject) -> tuple[np.ndarray, np.ndarray]:
    """What it makes of two inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(probe.onnx(), options, providers=["CPUExecutionProvider"])
    ((name, tensor),) = probe.graph.inputs
    x = np.random.default_rng(0).standard_normal(tensor.shape).astype(np.float32)
    return session.run(None, {name: x})[0], session.run(None, {name: -x})[0]


@pytest.mark.parametrize("index", range(15))
def test_probes_run_and_their_outputs_are_finite_and_depend_on_the_input(many: list[Subject], index: int) -> None:
    first, other = run(many[index])
    assert np.isfinite(first).all() and not np.array_equal(first, other)


def fused(drawn: list[Subject], folder: Path) -> list[Operator]:
    """Their kernels, as the runtime has them."""
    path = folder / "probe.onnx"
    found: list[Operator] = []
    for probe in drawn:
        path.write_bytes(probe.onnx())
        found.extend(fused_graph(path, ORT).operators)
    return found


def check_kinds(drawn: list[Subject], folder: Path) -> None:
    kernels = fused(drawn, folder)
    counts = Counter(kernel.kind for kernel in set(kernels))
    assert not REAL_KINDS - counts.keys()
    rare = ("LRN", "LSTM", "GRU", "ConvTranspose", "InstanceNormalization", "com.microsoft:QLinearConv", "Resize")
    assert all(counts[kind] >= 3 for kind in rare), "fewer than three have no line of their own"
    windows = [kernel for kernel in kernels if kernel.kind == "com.microsoft.nchwc:Conv"]
    wide = {kernel.attribute("kernel_shape", (1, 1)) for kernel in windows if kernel.attribute("group") > 8}
    assert len([window for window in wide if max(window) >= 7]) >= 2, wide
    assert {"forward", "bidirectional"} <= {op.attribute("direction") for op in kernels if op.kind in ("LSTM", "GRU")}
    ranks = {len(op.outputs[0].shape) for op in kernels if op.op_type in ("MatMul", "FusedMatMul")}
    assert {3, 4} <= ranks
    assert {3, 4} <= {len(op.outputs[0].shape) for op in kernels if op.op_type in ("Conv", "FusedConv")}, (
        "of speech, too"
    )
    assert any(max(op.attribute("dilations", (1,))) > 1 for op in kernels)


def test_sixty_probes_show_all_kinds_of_real_files(many: list[Subject], tmp_path: Path) -> None:
    check_kinds(many, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_whatever_the_seed_sixty_probes_run_and_show_all_kinds(seed: int, tmp_path: Path) -> None:
    drawn = probes(60, seed)
    for probe in drawn:
        onnx.checker.check_model(onnx.load_from_string(probe.onnx()), full_check=True)
        first, other = run(probe)
        assert np.isfinite(first).all() and not np.array_equal(first, other), probe.name
    check_kinds(drawn, tmp_path)


def test_rare_blocks_are_dealt_before_any_is_dealt_twice() -> None:
    drawing, drawn = module.Drawing(np.random.default_rng(0)), []

    def block(name: int) -> Block:
        def draw(drawing: Drawing, image: Image) -> Image:
            drawn.append((name, drawing.turn))
            return image

        return draw

    deck = tuple(block(name) for name in range(10))
    for hand in range(5):
        for dealt in module._dealt(deck, 3, hand):
            dealt(drawing, Image("input", 8, 4, 4))
    assert sorted(drawn[:10]) == [(name, 0) for name in range(10)]
    assert sorted(drawn[10:]) == [(name, 1) for name in range(10)]
    assert [name for name, _ in drawn[:10]] != [name for name, _ in drawn[10:]]
