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
    for probe in many:
        for operator in probe.graph.operators:
            assert macs(operator) <= module.MOST_MACS, f"{probe.name}: {operator}"
            assert all(tensor.elements <= module.MOST_ELEMENTS for tensor in operator.outputs), probe.name
        assert len(probe.graph.operators) >= module.FEWEST_BLOCKS


@pytest.mark.parametrize("index", range(9))
def test_probes_run_and_their_outputs_are_finite_and_depend_on_the_input(many: list[Subject], index: int) -> None:
    probe = many[index]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(probe.onnx(), options, providers=["CPUExecutionProvider"])
    ((name, tensor),) = probe.graph.inputs
    rng = np.random.default_rng(0)
    first, other = (
        session.run(None, {name: rng.standard_normal(tensor.shape).astype(np.float32)})[0] for _ in range(2)
    )
    assert np.isfinite(first).all() and not np.array_equal(first, other)


def test_probes_show_kernels_of_many_kinds(many: list[Subject], tmp_path: Path) -> None:
    """On ONNX Runtime 60 of them have 20 kinds and more, hundreds of different kernels, and both sorts of networks."""
    kernels: Counter[Operator] = Counter()
    path = tmp_path / "probe.onnx"
    for probe in many:
        path.write_bytes(probe.onnx())
        kernels.update(fused_graph(path, ORT).operators)
    kinds = {kernel.kind for kernel in kernels}
    assert len(kinds) >= 20, kinds
    assert len(kernels) >= 200
    assert {"com.microsoft.nchwc:Conv", "Softmax", "LayerNormalization"} <= kinds
