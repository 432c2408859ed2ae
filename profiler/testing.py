"""Conformance kits: what every runtime, energy meter and transport must do.

They run over this project's own, and are for those of others.

Example:
    >>> from profiler.testing import check_meter
    >>> check_meter("none")
"""

from __future__ import annotations

import gc
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.conditions import Cpu
from device_profiles.errors import DeviceError, HwnasError, InvalidModel, UsageError, WrongPrecision
from device_profiles.facts import Unavailable
from profiler import compilers, meters, runtimes, transports
from profiler.agent.job import Candidate, Job, JobPlan
from profiler.fusing import read_fused
from profiler.onnx_graph import read_graph
from profiler.operators import OperatorGraph, operator_to_plain
from profiler.proofs import require_precision
from profiler.runtimes.protocol import Runtime, RuntimeOptions
from profiler.work import graph_macs

_SHAPE = (1, 3, 8, 8)

#: How far outputs may be from those of ONNX's own evaluator, as a share of the largest, by precision.
DEVIATIONS = {"fp64": 1e-4, "fp32": 1e-4, "tf32": 5e-3, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}


def check_runtime(name: str, options: Mapping[str, Any] | None = None, *, precision: str = "fp32") -> None:
    """Hold a registered runtime and its compiler to `profiler.runtimes.protocol` and `profiler.compilers.protocol`.

    Args:
        name: of the runtime.
        options: settings that it needs.
        precision: one of those that it has; outputs are held to ONNX's own within what that precision allows.

    Raises:
        AssertionError: it breaks a rule; the message says which.
    """
    made = runtimes.REGISTRY.get(name)
    runtime, compiler, traits = runtimes.load(name), compilers.load(name), made.traits
    assert precision in traits.precisions, f"its traits have no precision {precision}"
    chosen = RuntimeOptions(precision=precision, options=dict(options or {}))
    assert isinstance(runtime.version, str) and runtime.version, "a version is part of every number's conditions"
    clock = runtime.clock
    ticks = [clock() for _ in range(100)]
    assert ticks == sorted(ticks) and all(isinstance(tick, int) for tick in ticks), "the clock is whole ns, monotonic"
    guards = runtime.sentinels()
    assert guards is None or guards["gemm"].operations > 0, "the guard is among its own sentinels, and states its work"
    assert guards is None or guards["memory"].bytes > 0, "so does what shows the memory"
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        path.write_bytes(convolution())
        compiled = compiler.compile(path, chosen)
        assert compiled.parent == path.parent and compiled.is_file(), "what travels lies beside the model"
        graph = _kernels(runtime, name, compiled, chosen, path)
        if not traits.simulated:
            try:
                require_precision(graph, precision, read_graph(path), name)
            except WrongPrecision:
                return  # this device does not have it, and no number is called so
            _loses_no_work(runtime, name, compiler, chosen, Path(place))
        _runs(runtime, compiled, chosen, path)
        if traits.replay:
            _replays(runtime, compiler, graph, chosen, Path(place))
        if traits.calls_cost:
            (Path(place) / "empty.onnx").write_bytes(compilers.empty_model())
            runtime.load(compiler.compile(Path(place) / "empty.onnx", chosen), chosen).call()
        if not traits.simulated:
            _refusals(runtime, compiler, chosen, Path(place))
        lacks = RuntimeOptions(precision="fp3", options=dict(options or {}))
        _refuses(lambda: runtime.load(compiler.compile(path, lacks), lacks), "a precision that nobody has", UsageError)
    _takes_signals()


def _runs(runtime: Runtime, compiled: Path, chosen: RuntimeOptions, path: Path) -> None:
    """It runs what was compiled, computes what ONNX defines, and times what it says it times."""
    clock, traits = runtime.clock, runtime.traits
    session = runtime.load(compiled, chosen)
    for work in (session.run, session.call):
        start = clock()
        work()
        assert clock() > start, "time passes while a model runs"
    if not traits.simulated:
        for given in (None, np.full(_SHAPE, 0.25, dtype=np.float32)):
            inputs = None if given is None else {"x": given}
            outputs = runtime.load(compiled, chosen, inputs).outputs()
            expected = _reference(path, given)
            assert len(outputs) == 1, "all outputs are given"
            far = float(np.abs(outputs[0].reshape(expected.shape) - expected).max() / np.abs(expected).max())
            assert far <= DEVIATIONS[chosen.precision], f"it computes what ONNX defines, within {far:.2g} of it"
    profile = session.profile(3)
    assert (profile is not None) == bool(traits.times), "its traits say whether it times kernels"
    if profile is not None:
        assert profile.kernels, "a profile has kernels"
        assert all(kernel.mean_ns >= 0 and kernel.runs == 3 for kernel in profile.kernels), "kernel times are means"
        assert (profile.allocator_peak_bytes is not None) == traits.allocator, "its traits speak of its allocator"
    session.close()


def _kernels(runtime: Runtime, name: str, compiled: Path, chosen: RuntimeOptions, path: Path) -> OperatorGraph:
    """It says what kernels it made of a model; its profile speaks of the same, in their order."""
    fused = runtime.fuse(compiled, chosen)
    assert (fused is not None) == bool(runtime.traits.kernels), "its traits say whether it has kernels of its own"
    graph = read_fused(path.read_bytes() if fused is None else fused, name)
    assert graph.nodes and graph.runtime == name, "what it makes of a model can be read"
    assert OperatorGraph.from_json(graph.to_json()).digest == graph.digest, "and kept"
    again = runtime.fuse(compiled, chosen)
    assert again is None or read_fused(again, name).digest == graph.digest, "it makes the same of the same model"
    profile = runtime.load(compiled, chosen).profile(3)
    if profile is not None:
        assert [kernel.op_type for kernel in profile.kernels] == [node.operator.op_type for node in graph.nodes], (
            "its profile speaks of its own kernels, in their order"
        )
    return graph


def _loses_no_work(
    runtime: Runtime, name: str, compiler: compilers.Compiler, chosen: RuntimeOptions, place: Path
) -> None:
    """What it joins and renames stays what it is: its kernels do the work of the model."""
    for kind, content in (("convolution", convolution()), ("residual", residual())):
        path = place / f"{kind}.onnx"
        path.write_bytes(content)
        fused = runtime.fuse(compiler.compile(path, chosen), chosen)
        graph = read_fused(content if fused is None else fused, name)
        expected, made = graph_macs(read_graph(content)), graph_macs(graph)
        assert made >= expected, f"its kernels do the work of the {kind} model: {expected} MACs, got {made}"


def _replays(
    runtime: Runtime, compiler: compilers.Compiler, graph: OperatorGraph, chosen: RuntimeOptions, place: Path
) -> None:
    """Some kernel of a model runs alone."""
    replayed = 0
    for number, operator in enumerate(dict.fromkeys(graph.operators)):
        model = compiler.kernel_model(operator_to_plain(operator), 2)
        if model is not None:
            path = place / f"kernel{number}{model.suffix}"
            path.write_bytes(model.content)
            runtime.load(path, replace(chosen, optimisation="none")).call()
            replayed += 1
    assert replayed, "its traits say that it replays kernels"


def _refusals(runtime: Runtime, compiler: compilers.Compiler, chosen: RuntimeOptions, place: Path) -> None:
    """What cannot be run is refused by name."""
    for content, what in (
        (b"this is no model", "a file that is not ONNX"),
        (convolution(operator="NoSuchOperator"), "an operator that nobody has"),
    ):
        path = place / "bad.onnx"
        path.write_bytes(content)
        _refuses(lambda path=path: runtime.load(compiler.compile(path, chosen), chosen), what)  # type: ignore[misc]


def _takes_signals() -> None:
    """A process that loaded models, and let go of them, can still be stopped: the stack of its signals is there."""
    gc.collect()
    if not hasattr(os, "fork"):
        return
    child = os.fork()
    if child == 0:  # it has the parent's stacks, and its end costs nothing else
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"a signal is taken by its handler after models were let go of: the process ended with {code}"


def check_meter(name: str) -> None:
    """Hold a registered energy meter to `profiler.meters.EnergyMeter`.

    Raises:
        AssertionError: it breaks a rule.
    """
    meter = meters.load(name)
    reason = meter.available()
    calls = []
    energy = meter.measure(lambda: calls.append(1), window_s=0.05)
    if reason is None:
        assert not isinstance(energy, Unavailable), "an available meter measures"
        assert calls, "it runs the work"
        assert energy.gross_mj > 0 and energy.sensor and energy.update_ms > 0, "it says what it read, and from where"
        assert energy.net_mj <= energy.gross_mj, "net is gross less idle"
    else:
        assert reason.reason, "what is missing has a reason"
        assert isinstance(energy, Unavailable), "a missing sensor is never a number"


def check_transport(name: str, address: str = "", options: Mapping[str, object] | None = None) -> None:
    """Hold a registered transport to `profiler.transports.protocol.Transport`, with a job on the fake runtime.

    Raises:
        AssertionError: it breaks a rule.
    """
    transport = transports.load(name, address, dict(options or {}))
    facts = transport.facts("fake")
    wanted = {field.name for field in fields(Cpu)} - {"threads", "affinity"} | {"device", "runtime_version", "allowed"}
    assert facts.keys() == wanted, "the device says what its numbers share"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "model.onnx").write_bytes(convolution())
        job = Job(
            "nonce", "fake", (Candidate("model", "model.onnx"),), plan=JobPlan(rounds=3, min_rounds=3, seconds=1.0)
        )
        job.write(folder / "job.json")
        lines = [json.loads(line) for line in transport.run(folder, {"HWNAS_PROCESS": "1"}, lambda: 120.0)]
        assert all(line["nonce"] == "nonce" for line in lines), "every line carries the job's nonce"
        events = [line["event"] for line in lines]
        assert events[0] == "started" and events[-1] == "finished", "lines come in order, and all of them"
        assert events.count("block") >= 3, "blocks come back"
        (folder / "job.json").write_text("{}")
        try:
            list(transport.run(folder, {}, lambda: 120.0))
        except DeviceError as error:
            assert error.message, "a failed agent says why"
        else:
            raise AssertionError("an agent that fails is an error")


def convolution(operator: str = "Relu") -> bytes:
    """A small model: a convolution with a bias, and one more operator; an input `x` of 1x3x8x8."""
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    weights = numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")
    bias = numpy_helper.from_array(rng.standard_normal(4).astype(np.float32), "b")
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node(operator, ["c"], ["y"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    serialised: bytes = ModelProto.SerializeToString(model)
    return serialised


def residual() -> bytes:
    """A small model as people train them: convolutions with batch norm, a sum, a mean and a product; `x` of 1x3x8x8."""
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    rng = np.random.default_rng(8)
    shapes = {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "w3": (5, 4), "b3": (5,)}
    weights = {weight: rng.standard_normal(shape) for weight, shape in shapes.items()}
    weights |= {f"{part}{i}": rng.random(4) + 0.5 for i in (1, 2) for part in ("scale", "shift", "mean", "variance")}
    nodes = []
    for i, (read, made) in enumerate((("x", "c1"), ("r1", "c2")), start=1):
        norm = [made, *(f"{part}{i}" for part in ("scale", "shift", "mean", "variance"))]
        nodes += [
            helper.make_node("Conv", [read, f"w{i}"], [made], name=f"conv{i}", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", norm, [f"n{i}"], name=f"norm{i}"),
            *([helper.make_node("Relu", ["n1"], ["r1"], name="relu")] if i == 1 else []),
        ]
    nodes += [
        helper.make_node("Add", ["r1", "n2"], ["s"], name="sum"),
        helper.make_node("GlobalAveragePool", ["s"], ["p"], name="mean"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="product", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5))],
        [numpy_helper.from_array(values.astype(np.float32), weight) for weight, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    serialised: bytes = ModelProto.SerializeToString(model)
    return serialised


def _reference(path: Path, given: Any = None) -> Any:
    """Outputs by ONNX's own evaluator, for the inputs that every runtime draws, or for given ones."""
    from onnx.reference import ReferenceEvaluator

    drawn = np.random.default_rng(0).standard_normal(_SHAPE).astype(np.float32)
    return ReferenceEvaluator(str(path)).run(None, {"x": drawn if given is None else given})[0]


def _refuses(work: Callable[[], Any], what: str, kind: type[HwnasError] = InvalidModel) -> None:
    try:
        work()
    except kind as error:
        assert error.message, f"{what} is refused with a message"
        return
    raise AssertionError(f"{what} must be refused with {kind.__name__}")
