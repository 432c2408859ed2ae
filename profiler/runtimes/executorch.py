"""ExecuTorch with its XNNPACK backend. Its kernels are XNNPACK's own operators, by the events of one run.

The converter writes the kernels that a program asks for beside it, as JSON; which of XNNPACK's operators run each, and
which run as one, the events tell. Programs whose events do not fit are refused: no kernel is guessed.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import DeviceError, InvalidModel, UsageError
from profiler.runtimes._executorch.etdump import Event, read
from profiler.runtimes._executorch.matching import Kernel, NoMatch, matched
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

OPTIONS: dict[str, Option] = {}
#: What the converter writes beside a program.
SCHEMA = "hwnas.executorch/1"
#: Inferences before a profile.
WARM_RUNS = 3
#: XNNPACK cuts times to whole microseconds: what is cut off, on average.
_CUT_OFF_NS = 500.0
#: Element types by the codes of ExecuTorch.
_DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool",
}  # fmt: skip
_HINT = "pip install 'hwnas[executorch]'"


class ExecuTorchSession:
    """A loaded method, and its inputs in place."""

    def __init__(
        self,
        model: Path,
        options: RuntimeOptions,
        inputs: Mapping[str, Any] | None = None,
        *,
        traced: bool = False,
    ) -> None:
        _require(options)
        self._model, self._options, self._known = model, options, _described(model)
        self._threads = _set_threads(options.threads)
        self._program, self._method = _load(model, traced=traced)
        self._feed = _feed(model, self._known, self._method.method_meta(), inputs)
        self._method.set_inputs(self._feed)
        _LOADED.add(self)

    @property
    def threads(self) -> int:
        """Threads of the pool that it runs on, the caller included."""
        return self._threads

    def run(self) -> None:
        """One inference."""
        try:
            self._method.execute()
        except RuntimeError as error:
            raise InvalidModel(f"ExecuTorch cannot run {self._model.name}: {error}") from error

    @property
    def call(self) -> Callable[[], object]:
        """One inference, with inputs bound."""
        execute: Callable[[], object] = self._method.execute
        return execute

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        self.run()
        return [output.numpy().copy() for output in self._method.get_outputs()]

    def profile(self, runs: int) -> Profile | None:
        """Kernel times of a second session, whose events are recorded.

        XNNPACK cuts the time of each of its operators to whole microseconds; half of one is added again. What runs
        outside of XNNPACK has its time in nanoseconds.
        """
        traced = ExecuTorchSession(self._model, self._options, self._named(), traced=True)
        times_ns = []
        for number in range(WARM_RUNS + runs):
            start = time.perf_counter_ns()
            traced.run()
            if number >= WARM_RUNS:
                times_ns.append(time.perf_counter_ns() - start)
        recorded = traced.events()[WARM_RUNS:]
        kernels = _matched(self._model, self._known, recorded[0])
        spent = [_durations(self._model, self._known, events) for events in recorded]
        means = np.mean(spent, axis=0)
        traced.close()
        times = tuple(
            KernelTime(kernel.name, kernel.op_type, float(mean), runs)
            for kernel, mean in zip(kernels, means, strict=True)
        )
        return Profile(times, None, float(undisturbed(times_ns)))

    def events(self) -> list[tuple[Event, ...]]:
        """What was recorded of each run."""
        with tempfile.TemporaryDirectory(prefix="hwnas-etdump-") as place:
            path = Path(place) / "model.etdp"
            self._program.write_etdump_result_to_file(str(path), "")
            return read(path.read_bytes())

    def close(self) -> None:
        """Drop the method and its program."""
        _LOADED.discard(self)
        self._method = self._program = None

    def _named(self) -> dict[str, Any]:
        names = [name for name, *_ in self._known["inputs"]]
        return {name: tensor.numpy() for name, tensor in zip(names, self._feed, strict=True)}


class ExecuTorch(OnHost):
    """ExecuTorch's runtime as its Python package has it."""

    traits: ClassVar[Traits] = Traits(
        packages=("executorch", "torch"),
        extra="executorch",
        precisions=("fp32", "int8"),
        kernels="XNNPACK's operators and ExecuTorch's own kernels, by the events of a run",
        times="its event tracer, XNNPACK's in whole microseconds",
        replay=False,
    )

    def __init__(self) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            # The package has the event tracer compiled in, builds for phones have not.
            self._version = f"executorch {version('executorch').partition('+')[0]} with event tracer"
        except PackageNotFoundError as error:
            raise DeviceError("the package executorch is not installed", hint=_HINT) from error
        if "XnnpackBackend" not in _library()._get_registered_backend_names():
            raise DeviceError("this ExecuTorch was built without XNNPACK", hint=_HINT)

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> ExecuTorchSession:
        """Load a program and its only method."""
        return ExecuTorchSession(model, options, inputs)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """The kernels of one run, as the JSON of an operator graph."""
        session = ExecuTorchSession(model, options, traced=True)
        session.run()
        kernels = _matched(model, _described(model), session.events()[0])
        session.close()
        return json.dumps(_graph(_described(model), kernels), separators=(",", ":")).encode()


RUNTIME = ExecuTorch

_LOADED: weakref.WeakSet[ExecuTorchSession] = weakref.WeakSet()


def _library() -> Any:
    """ExecuTorch's extension itself: the module around it imports the whole exporter, which takes seconds."""
    try:
        import torch  # noqa: F401 - its libraries must be there first

        with _quiet():
            from executorch.extension.pybindings import _C
    except ImportError as error:
        raise DeviceError(f"ExecuTorch cannot be loaded: {error}", hint=_HINT) from error
    return _C


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Its libraries write what they read of the CPU, and that threads are set, to standard error."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _require(options: RuntimeOptions) -> None:
    require_precision("executorch", ExecuTorch.traits, options.precision)
    require_options("executorch", options.options, OPTIONS)
    if options.optimisation != "all":
        raise UsageError(
            f"the runtime executorch has no optimisation level {options.optimisation!r}: XNNPACK has one alone",
            hint='Set optimisation = "all".',
        )


def _set_threads(threads: int) -> int:
    """Give XNNPACK so many threads: it takes them when a program is loaded, and holds them as long as that lives."""
    library = _library()
    with _quiet():
        if library._threadpool_get_thread_count() != threads:
            if len(_LOADED):
                raise UsageError(
                    "the threads of ExecuTorch cannot change while a model is loaded", hint="Close its sessions first."
                )
            library._unsafe_reset_threadpool(threads)
        return int(library._threadpool_get_thread_count())


def _load(model: Path, *, traced: bool) -> tuple[Any, Any]:
    try:
        with _quiet():
            program = _library()._load_program(str(model), enable_etdump=traced)
            return program, program.load_method("forward")
    except RuntimeError as error:
        raise InvalidModel(
            f"ExecuTorch cannot read {model.name}: {error}", hint="Convert it again, with the device's own version."
        ) from error


def _described(model: Path) -> dict[str, Any]:
    """What the converter wrote beside a program."""
    path = model.with_suffix(".json")
    try:
        known: dict[str, Any] = json.loads(path.read_text())
        if known["schema"] != SCHEMA:
            raise InvalidModel(
                f"{path.name} is of schema {str(known['schema'])[:40]}, not {SCHEMA}", hint="Convert again."
            )
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InvalidModel(
            f"the kernels of {model.name} cannot be read from {path.name} beside it: {error}",
            hint="Both come from the converter.",
        ) from error
    return known


def _feed(model: Path, known: Mapping[str, Any], meta: Any, inputs: Mapping[str, Any] | None) -> list[Any]:
    """A tensor for each input, in order: the given ones, or drawn."""
    import torch

    rng = np.random.default_rng(0)
    feed = []
    for position, (name, *_) in enumerate(known["inputs"]):
        of = meta.input_tensor_meta(position)
        shape, dtype = tuple(of.sizes()), _DTYPES.get(of.dtype(), "float32")
        if inputs is not None and name not in inputs:
            raise InvalidModel(f"{model.name}: there is nothing for its input {name!r}")
        array = np.array(drawn(rng, shape, dtype) if inputs is None else inputs[name], dtype=dtype, order="C")
        feed.append(torch.from_numpy(array.reshape(shape)))
    return feed


def _matched(model: Path, known: Mapping[str, Any], events: tuple[Event, ...]) -> list[Kernel]:
    try:
        return matched(known["kernels"], events)
    except NoMatch as error:
        raise InvalidModel(
            f"what ran of {model.name} is not what was asked for: {error}",
            hint="Its kernels cannot be told; measure it with another runtime.",
        ) from error


def _durations(model: Path, known: Mapping[str, Any], events: tuple[Event, ...]) -> list[float]:
    """Time of each kernel in one run."""
    return [kernel.ns + (_CUT_OFF_NS if kernel.within else 0.0) for kernel in _matched(model, known, events)]


def _graph(known: Mapping[str, Any], kernels: list[Kernel]) -> dict[str, Any]:
    """The kernels as an operator graph in plain lists."""
    operators: list[list[Any]] = []
    nodes: list[list[Any]] = []
    for kernel in kernels:
        inputs, outputs = [tensor for _, tensor in kernel.inputs], [tensor for _, tensor in kernel.outputs]
        attributes = sorted(map(list, kernel.attributes.items()))
        nodes.append([len(nodes), [v for v, _ in kernel.inputs], [v for v, _ in kernel.outputs], kernel.name])
        operators.append(["executorch", kernel.op_type, attributes, inputs, outputs])
    return {
        "schema": "hwnas.graph/1",
        "runtime": "executorch",
        "inputs": [[value, tensor] for _, value, tensor in known["inputs"]],
        "outputs": known["outputs"],
        "operators": operators,
        "nodes": nodes,
    }
