"""OpenVINO on the CPU. Its kernels, and the precision of each, come from the runtime model of what it compiled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator
from profiler.runtimes import _openvino
from profiler.runtimes._host import OnHost, drawn, undisturbed
from profiler.runtimes.protocol import (
    KernelTime,
    Option,
    Profile,
    RuntimeOptions,
    Traits,
    require_options,
    require_precision,
)

#: Inferences before a profile.
WARM_RUNS = 3
#: Counters are rounded down to whole microseconds, half of one on the average.
HALF_TICK_US = 0.5
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_ZERO_OR_ONE = Option("0 or 1", lambda value: value in (0, 1, False, True))
OPTIONS = {
    "denormals_to_zero": _ZERO_OR_ONE,
    "hyper_threading": _ZERO_OR_ONE,
    "streams": Option("1: latency is of one inference at a time", lambda value: value == 1),
}


class OpenVinoSession:
    """A compiled model and a request with its inputs in place."""

    def __init__(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> None:
        self._model, self._options = model, options
        self._compiled = _compile(_read(model), model.name, options)
        self._feed = _feed(model, self._compiled, inputs)
        self._request = _request(self._compiled, self._feed)

    def run(self) -> None:
        """One inference."""
        try:
            self._request.infer()
        except RuntimeError as error:
            raise InvalidModel(f"OpenVINO cannot run {self._model.name}: {_words(error)}") from error

    @property
    def call(self) -> Callable[[], object]:
        """One inference, with inputs bound."""
        infer: Callable[[], object] = self._request.infer
        return infer

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        self.run()
        return [self._request.get_tensor(output).data.copy() for output in self._compiled.outputs]

    def profile(self, runs: int) -> Profile | None:
        """Kernel times of a second model, compiled with counters, which are means in whole microseconds.

        They count from the first inference on; what the first ones took is taken off again.
        """
        read = _read(self._model)
        compiled = _compile(read, self._model.name, self._options, counters=True)
        request = _request(compiled, self._feed)
        for _ in range(WARM_RUNS):
            request.infer()
        before = _counters(request)
        times_ns = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            request.infer()
            times_ns.append(time.perf_counter_ns() - start)
        after, whole = _counters(request), WARM_RUNS + runs
        kernels, known = [], _openvino.operators(read)
        for layer in _openvino.layers(compiled):
            own, (name, kind, _) = layer.get_friendly_name(), _openvino.kernel(layer, known)
            spent_us = after.get(own, 0.0) * whole - before.get(own, 0.0) * WARM_RUNS
            mean_us = max(spent_us, 0.0) / runs + HALF_TICK_US
            kernels.append(KernelTime(name, kind, mean_us * 1e3, runs))
        return Profile(tuple(kernels), None, float(undisturbed(times_ns)))

    def close(self) -> None:
        """Drop the request and the model."""
        del self._request, self._compiled


class OpenVino(OnHost):
    """OpenVINO's CPU plug-in."""

    traits: ClassVar[Traits] = Traits(
        packages=("openvino",),
        extra="openvino",
        precisions=("fp32", "bf16", "int8"),
        kernels="its runtime model",
        times="its counters, whole microseconds",
        replay=False,
    )

    def __init__(self) -> None:
        try:
            import openvino
        except ImportError as error:
            raise DeviceError("the package openvino is not installed", hint="pip install 'hwnas[openvino]'") from error
        self._version = f"openvino {openvino.__version__.partition('-')[0]}"

    @property
    def forks(self) -> bool:
        """Not once it was used: its threads are not in a forked process, which waits for them."""
        return _core.cache_info().currsize == 0

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> OpenVinoSession:
        """Compile a model."""
        return OpenVinoSession(model, options, inputs)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """The kernels of the runtime model, as the JSON of an operator graph."""
        read = _read(model)
        compiled = _compile(read, model.name, options)
        return json.dumps(_openvino.graph(compiled, _openvino.operators(read)), separators=(",", ":")).encode()


RUNTIME = OpenVino


@cache
def _core() -> Any:
    """One for the life of the process.

    OpenVINO gives the thread a larger stack for signals where the CPU has AMX, and takes it back with the core: where
    there were two of them, signals end on memory that is gone, and the next one kills the process.
    """
    import openvino

    return openvino.Core()


def _read(model: Path) -> Any:
    try:
        return _core().read_model(str(model))
    except RuntimeError as error:
        words = _words(error)
        if "is not supported" in words or "No conversion rule" in words or "not a registered" in words:
            raise UnsupportedOperator(
                f"OpenVINO lacks an operator of {model.name}: {words}", hint="Replace it, or use another runtime."
            ) from error
        raise InvalidModel(f"OpenVINO cannot read {model.name}: {words}", hint="Export it again.") from error


def _compile(read: Any, name: str, options: RuntimeOptions, *, counters: bool = False) -> Any:
    require_precision("openvino", OpenVino.traits, options.precision)
    require_options("openvino", options.options, OPTIONS)
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[options.precision],
        "INFERENCE_NUM_THREADS": options.threads,
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # the agent pins
        "ENABLE_HYPER_THREADING": bool(options.options.get("hyper_threading", 1)),
        "CPU_DENORMALS_OPTIMIZATION": bool(options.options.get("denormals_to_zero", 0)),
        "PERF_COUNT": counters,
    }
    if read.is_dynamic():
        raise InvalidModel(f"{name} has free dimensions", hint="Fix them with --shape or --dim.")
    try:
        compiled = _core().compile_model(read, "CPU", settings)
    except RuntimeError as error:
        raise InvalidModel(f"OpenVINO cannot compile {name}: {_words(error)}") from error
    took = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if took != _HINTS[options.precision]:
        raise InvalidModel(
            f"OpenVINO took the precision {took} for {options.precision}", hint="This CPU may not have it."
        )
    return compiled


def _feed(model: Path, compiled: Any, inputs: Mapping[str, Any] | None) -> list[Any]:
    """An array for each input, in order: the given ones, or drawn."""
    rng = np.random.default_rng(0)
    feed = []
    for value in compiled.inputs:
        given = [np.asarray(inputs[name]) for name in value.get_names() if inputs is not None and name in inputs]
        shape, dtype = list(value.get_shape()), value.get_element_type().to_dtype()
        if inputs is not None and not given:
            raise InvalidModel(f"{model.name}: there is nothing for its input {value.get_any_name()!r}")
        array = given[0] if given else drawn(rng, shape, dtype)
        feed.append(np.ascontiguousarray(array, dtype=dtype).reshape(shape))
    return feed


def _request(compiled: Any, feed: list[Any]) -> Any:
    import openvino

    request = compiled.create_infer_request()
    for value, array in zip(compiled.inputs, feed, strict=True):
        request.set_tensor(value, openvino.Tensor(array))
    return request


def _counters(request: Any) -> dict[str, float]:
    """Mean time of each layer since the model was compiled, in whole microseconds."""
    return {one.node_name: one.real_time.total_seconds() * 1e6 for one in request.profiling_info}


def _words(error: Exception) -> str:
    """What OpenVINO says, without the places of its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check '")) and "src/" not in line]
    return " ".join(said or lines)[:400]
