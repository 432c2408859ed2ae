"""Conformance kits: what every runtime, energy meter and transport must do.

They run over this project's own, and are for those of others.

Example:
    >>> from profiler.testing import check_meter
    >>> check_meter("none")
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import DeviceError, InvalidModel
from device_profiles.facts import Unavailable
from profiler import meters, runtimes, transports
from profiler.agent.job import Candidate, Job, JobPlan
from profiler.onnx_graph import read_graph
from profiler.runtimes.protocol import RuntimeOptions

_SHAPE = (1, 3, 8, 8)


def check_runtime(name: str, options: Mapping[str, Any] | None = None, *, computes: bool = True) -> None:
    """Hold a registered runtime to `profiler.runtimes.protocol.Runtime`.

    Args:
        name: of the runtime.
        options: settings that it needs.
        computes: False for runtimes that simulate: they have no outputs, and take files that are no models.

    Raises:
        AssertionError: it breaks a rule; the message says which.
    """
    runtime = runtimes.load(name)
    chosen = RuntimeOptions(options=dict(options or {}))
    assert isinstance(runtime.version, str) and runtime.version, "a version is part of every number's conditions"
    clock = runtime.clock
    ticks = [clock() for _ in range(100)]
    assert ticks == sorted(ticks) and all(isinstance(tick, int) for tick in ticks), "the clock is whole ns, monotonic"
    guards = runtime.sentinels()
    assert guards is None or "gemm" in guards, "sentinels of its own include the guard"
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        path.write_bytes(convolution())
        session = runtime.load(path, chosen)
        start = clock()
        session.run()
        assert clock() > start, "time passes while a model runs"
        start = clock()
        session.call()
        assert clock() > start, "what is timed is an inference"
        outputs = session.outputs()
        if computes:
            expected = _reference(path)
            assert len(outputs) == 1, "all outputs are given"
            assert np.allclose(outputs[0], expected, rtol=1e-4, atol=1e-5), "it computes what ONNX defines"
        profile = session.profile(3)
        if profile is not None:
            assert profile.kernels, "a profile has kernels"
            assert all(kernel.mean_ns >= 0 and kernel.runs == 3 for kernel in profile.kernels), "kernel times are means"
        fused = runtime.fuse(path, chosen)
        graph = read_graph(path if fused is None else fused, runtime=name)
        assert graph.nodes and graph.runtime == name, "what it makes of a model can be read"
        if profile is not None:
            types = {node.operator.op_type for node in graph.nodes}
            assert {kernel.op_type for kernel in profile.kernels} <= types, "its profile speaks of its own kernels"
        session.close()
        empty = runtime.empty_model()
        if empty is not None:
            (Path(place) / "empty.onnx").write_bytes(empty)
            runtime.load(Path(place) / "empty.onnx", chosen).call()
        if computes:
            given = np.full(_SHAPE, 0.25, dtype=np.float32)
            outputs = runtime.load(path, chosen, {"x": given}).outputs()
            expected = _reference(path, given)
            assert np.allclose(outputs[0], expected, rtol=1e-4, atol=1e-5), "it takes the inputs that it is given"
            path.write_bytes(b"this is no model")
            _refuses(lambda: runtime.load(path, chosen), "a file that is not ONNX")
            path.write_bytes(convolution(operator="NoSuchOperator"))
            _refuses(lambda: runtime.load(path, chosen), "an operator that nobody has")


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


def _reference(path: Path, given: Any = None) -> Any:
    """Outputs by ONNX's own evaluator, for the inputs that every runtime draws, or for given ones."""
    from onnx.reference import ReferenceEvaluator

    drawn = np.random.default_rng(0).standard_normal(_SHAPE).astype(np.float32)
    return ReferenceEvaluator(str(path)).run(None, {"x": drawn if given is None else given})[0]


def _refuses(work: Callable[[], Any], what: str) -> None:
    try:
        work()
    except InvalidModel as error:
        assert error.message, f"{what} is refused with a message"
        return
    raise AssertionError(f"{what} must be refused with InvalidModel")
