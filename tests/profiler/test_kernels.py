"""Fused kernels as models of their own: what they hold, how they are counted, and that networks stay apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from device_profiles.profile import Target, load
from predictors.samples import networks
from profiler import Budget, Store, measure, runtimes
from profiler.agent.protocol import Block
from profiler.conditions import conditions_of
from profiler.fusing import as_it_is, fused_graph, runtime_options
from profiler.kernels import (
    FEWEST_COPIES,
    MOST_COPIES,
    ROTATED_BYTES,
    kernel_subjects,
    measured_kernels,
    rotated_copies,
)
from profiler.operators import Operator, Tensor
from profiler.runtimes.protocol import RuntimeOptions
from profiler.store import ModelRow
from profiler.subjects import Subject, from_bytes
from profiler.summary import measurements

Make = Callable[..., Any]
ORT = load("local-onnxruntime")


def at_level(optimisation: str) -> Target:
    return ORT.model_copy(update={"runtime": ORT.runtime.model_copy(update={"optimisation": optimisation})})


@pytest.fixture
def network(onnx_model: Make) -> bytes:
    """Two convolutions, pooling, a bias, a classifier; every operator once."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="full", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "v"], ["c"], name="depthwise", kernel_shape=[3, 3], pads=[1] * 4, group=16),
        helper.make_node("MaxPool", ["c"], ["d"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Add", ["d", "bias"], ["e"], name="add"),
        helper.make_node("GlobalAveragePool", ["e"], ["f"], name="mean"),
        helper.make_node("Flatten", ["f"], ["g"], name="flatten"),
        helper.make_node("Gemm", ["g", "u"], ["h"], name="classify"),
        helper.make_node("Softmax", ["h"], ["y"], name="softmax"),
    ]
    weights = {"w": (16, 3, 3, 3), "v": (16, 1, 3, 3), "u": (16, 10), "bias": (16, 8, 8)}
    model = onnx_model(nodes, {"x": (1, 3, 16, 16)}, {"y": (1, 10)}, weights)
    content: bytes = onnx.shape_inference.infer_shapes(model).SerializeToString()
    return content


def kernels_of(content: bytes, target: Target, folder: Path) -> tuple[Operator, ...]:
    path = folder / "network.onnx"
    path.write_bytes(content)
    return fused_graph(path, target).operators


def saved(subject: Subject, folder: Path) -> Path:
    path = folder / "kernel.onnx"
    path.write_bytes(subject.onnx())
    return path


@pytest.mark.parametrize("optimisation", ["all", "basic", "none"])
def test_every_fused_kernel_loads_alone_and_computes(network: bytes, tmp_path: Path, optimisation: str) -> None:
    target = at_level(optimisation)
    operators = kernels_of(network, target, tmp_path)
    subjects = kernel_subjects(operators, target)
    assert [subject.kernel for subject in subjects] == list(dict.fromkeys(operators))
    for subject in subjects:
        kernel = subject.kernel
        assert kernel is not None and subject.name == str(kernel) and subject.copies == rotated_copies(kernel)
        assert Counter(subject.graph.operators) == {kernel: subject.copies}
        outputs = runtimes.load("onnxruntime").load(saved(subject, tmp_path), runtime_options(target)).outputs()
        assert len(outputs) == subject.copies * len(kernel.outputs)
        assert all(np.isfinite(output).all() for output in outputs)
        shapes = {output.shape for output in outputs}
        assert len(shapes) == 1
        if any(tensor is not None and tensor.constant for tensor in kernel.inputs):
            assert not np.array_equal(outputs[0], outputs[1]), "each copy has weights of its own"


def test_plain_kernels_compute_what_onnx_defines(network: bytes, tmp_path: Path) -> None:
    target = at_level("none")
    for subject in kernel_subjects(kernels_of(network, target, tmp_path), target):
        path = saved(subject, tmp_path)
        outputs = runtimes.load("onnxruntime").load(path, RuntimeOptions()).outputs()
        rng = np.random.default_rng(0)
        feed = {name: rng.standard_normal(tensor.shape).astype(tensor.dtype) for name, tensor in subject.graph.inputs}
        for mine, expected in zip(outputs, ReferenceEvaluator(str(path)).run(None, feed), strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimisation", ["all", "none"])
def test_a_kernel_alone_is_still_that_kernel(network: bytes, tmp_path: Path, optimisation: str) -> None:
    """What the runtime makes of the model of a kernel must be the kernel that is asked for."""
    target = at_level(optimisation)
    changed = {}
    for subject in kernel_subjects(kernels_of(network, target, tmp_path), target):
        made = Counter(operator.kind for operator in fused_graph(saved(subject, tmp_path), as_it_is(target)).operators)
        assert subject.kernel is not None
        if made != {subject.kernel.kind: subject.copies}:
            changed[subject.kernel.kind] = dict(made)
    assert changed == {}


def test_kernels_are_equal_if_their_keys_are() -> None:
    """However they came about, and whatever they share in memory; a set holds each once."""
    image = Tensor((1, 4, 8, 8))
    one = Operator("", "Clip", (("min", 0.0),), (image, None), (image,))
    same = Operator("", "Clip", (("min", 0.0),), (Tensor((1, 4, 8, 8)), None), (Tensor((1, 4, 8, 8)),))
    others = [
        Operator("com.microsoft", "Clip", one.attributes, one.inputs, one.outputs),
        Operator("", "Relu", one.attributes, one.inputs, one.outputs),
        Operator("", "Clip", (("min", 1.0),), one.inputs, one.outputs),
        Operator("", "Clip", (), one.inputs, one.outputs),
        Operator("", "Clip", one.attributes, (image,), one.outputs),
        Operator("", "Clip", one.attributes, (image, image), one.outputs),
        Operator("", "Clip", one.attributes, (Tensor((1, 4, 8, 8), constant=True), None), one.outputs),
        Operator("", "Clip", one.attributes, (Tensor((1, 4, 8, 8), "float16"), None), one.outputs),
        Operator("", "Clip", one.attributes, one.inputs, (Tensor((1, 4, 64)),)),
    ]
    assert one == same and hash(one) == hash(same) and one.key == same.key
    assert len({one, same, *others}) == len({op.key for op in (one, *others)}) == 10
    assert all(one != other for other in others) and one != one.key


def test_equal_kernels_are_one(network: bytes, tmp_path: Path) -> None:
    operators = kernels_of(network, ORT, tmp_path)
    once = kernel_subjects(operators, ORT)
    assert [subject.id for subject in kernel_subjects(operators * 3, ORT)] == [subject.id for subject in once]
    assert len({subject.id for subject in once}) == len(once)


def test_runtimes_that_replay_no_kernels_give_none(network: bytes, tmp_path: Path) -> None:
    assert kernel_subjects(kernels_of(network, load("fake"), tmp_path), load("fake")) == []


@pytest.mark.parametrize(
    ("elements", "copies"),
    [(0, FEWEST_COPIES), (1, MOST_COPIES), (1 << 20, FEWEST_COPIES), (1 << 22, FEWEST_COPIES), (1 << 16, 16)],
)
def test_copies_are_enough_to_leave_the_caches(elements: int, copies: int) -> None:
    weights = (Tensor((elements,), constant=True),) if elements else ()
    kernel = Operator("", "Mul", (), (Tensor((1,)), *weights), (Tensor((max(elements, 1),)),))
    assert rotated_copies(kernel) == copies
    assert copies in (FEWEST_COPIES, MOST_COPIES) or copies * elements * 4 == ROTATED_BYTES["cpu"]


@pytest.fixture
def filled(tmp_path: Path, subject: Make, fake: Make) -> Any:
    """A store with a network of 8 us, and a kernel whose ten copies take 20 us together."""
    kernel = Operator("", "Relu", (), (Tensor((1, 4)),), (Tensor((1, 4)),))
    conditions = conditions_of(fake())
    one = subject(4)
    with Store(tmp_path / "a.db") as store:
        store.bind("fake", "{}", conditions)
        store.add_model(ModelRow("network", "a network", None, None), one.graph)
        store.add_model(ModelRow("kernel", "a kernel", None, None, kernel, 10), one.graph)
        store.add_fused("network", conditions, one.graph)
        store.add_fused("kernel", conditions, one.graph)
        for _ in range(3):
            process = store.start_process(conditions, "one", 0)
            for number in range(6):
                store.add_block(process, Block("network", number, 100, 800_000, 400_000, 400_000))
                store.add_block(process, Block("kernel", number, 100, 2_000_000, 400_000, 400_000))
        yield store, conditions, kernel


def test_the_latency_of_a_kernel_is_that_of_one_copy(filled: Any) -> None:
    store, conditions, kernel = filled
    ((found, latency),) = measured_kernels(store, conditions).items()
    (whole,) = measurements(store, conditions, ["kernel"])
    assert found == kernel
    assert latency.value_ms == pytest.approx(0.002, rel=0.01)
    for name in ("value_ms", "low_ms", "high_ms", "typical_ms"):
        assert getattr(latency, name) == pytest.approx(getattr(whole.latency, name) / 10)
    assert latency.low_ms < latency.value_ms < latency.high_ms
    assert (latency.processes, latency.blocks) == (3, 18)


def test_kernels_are_no_networks(filled: Any) -> None:
    store, conditions, _ = filled
    assert [row.model for row in measurements(store, conditions)] == ["network"]
    samples = networks(store, conditions)
    assert samples.ids == ("network",) and samples.cost == pytest.approx([0.008], rel=0.01)


def test_kernels_are_measured_like_networks_but_neither_profiled_nor_weighed(
    network: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    budget = Budget(spread=1.0, device_s=0.1, min_processes=1, max_processes=1, rounds=5, profile_runs=2)
    subjects = kernel_subjects(kernels_of(network, ORT, tmp_path)[:2], ORT)
    with Store(tmp_path / "a.db") as store:
        outcome = measure([from_bytes(network, name="all"), *subjects], target=ORT, store=store, budget=budget)
        assert outcome.failures == () and len(outcome.measurements) == 3
        conditions = conditions_of(ORT)
        alone = measured_kernels(store, conditions)
        assert set(alone) == {subject.kernel for subject in subjects}
        assert {profile.model for profile in store.profiles(conditions)} == {outcome.measurements[0].model}
        assert set(store.memory(conditions)) == {outcome.measurements[0].model}
        assert all(latency.value_ms > 0 for latency in alone.values())
        assert [row.model for row in measurements(store, conditions)] == [outcome.measurements[0].model]
