"""LiteRT on the CPU with XNNPACK. Its kernels are the operators of the `.tflite` file; it times none in the graph."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator
from profiler.runtimes._host import OnHost, drawn
from profiler.runtimes.protocol import (
    Option,
    Profile,
    RuntimeOptions,
    Traits,
    require_options,
    require_precision,
)

#: XNNPACK's flag that brings a graph in fp32 to fp16, or fails (`TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16`). The
#: `reduced_precision_support` of a file does nothing on x86.
FORCE_FP16 = 0x4
LAYOUTS = ("nchw", "nhwc")
OPTIONS = {
    "layout": Option("nchw or nhwc", lambda value: value in LAYOUTS),
    "xnnpack": Option("0 or 1", lambda value: value in (0, 1, False, True)),
}


class LiteRtSession:
    """A compiled model and buffers with its inputs in place."""

    def __init__(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> None:
        self._model = model
        self._compiled = _compile(model, options)
        with _quiet():
            self._inputs = self._compiled.create_input_buffers(0)
            self._outputs = self._compiled.create_output_buffers(0)
        self._signature = self._compiled.get_signature_by_index(0)
        self._fill(inputs, options.options.get("layout", "nchw") == "nhwc")
        self._call = partial(
            self._compiled._model.RunByIndex,  # `run_by_index` makes these lists anew in each call
            0,
            [buffer.capsule for buffer in self._inputs],
            [buffer.capsule for buffer in self._outputs],
        )

    def run(self) -> None:
        """One inference."""
        try:
            self._call()
        except RuntimeError as error:
            raise InvalidModel(f"LiteRT cannot run {self._model.name}: {_words(error)}") from error

    @property
    def call(self) -> Callable[[], object]:
        """One inference, with inputs and outputs bound."""
        return self._call

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        self.run()
        found, known = [], self._compiled.get_output_tensor_details(self._signature["key"])
        for name, buffer in zip(self._signature["outputs"], self._outputs, strict=True):
            details = known[name]
            shape = [int(extent) for extent in details["shape"]]
            found.append(buffer.read(int(np.prod(shape)), np.dtype(details["dtype"])).reshape(shape))
        return found

    def profile(self, runs: int) -> Profile | None:
        """None: LiteRT times no kernels in Python; they are replayed."""
        return None

    def close(self) -> None:
        """Drop the buffers and the model."""
        del self._call, self._inputs, self._outputs
        self._compiled.close()

    def _fill(self, inputs: Mapping[str, Any] | None, channels_last: bool) -> None:
        """The given arrays, which are laid out as the ONNX file has them, or drawn ones."""
        rng = np.random.default_rng(0)
        known = self._compiled.get_input_tensor_details(self._signature["key"])
        for name, buffer in zip(self._signature["inputs"], self._inputs, strict=True):
            details = known[name]
            shape, dtype = [int(extent) for extent in details["shape"]], np.dtype(details["dtype"])
            last = channels_last and len(shape) == 4
            onnx_shape = [shape[axis] for axis in (0, 3, 1, 2)] if last else shape
            if inputs is None:
                array = drawn(rng, onnx_shape, dtype)
            elif name in inputs:
                array = np.asarray(inputs[name]).reshape(onnx_shape)
            else:
                raise InvalidModel(f"{self._model.name}: there is nothing for its input {name!r}")
            array = array.transpose(0, 2, 3, 1) if last else array
            buffer.write(np.ascontiguousarray(array, dtype=dtype))


class LiteRt(OnHost):
    """LiteRT's compiled models on the CPU."""

    traits: ClassVar[Traits] = Traits(
        packages=("ai-edge-litert",),
        extra="litert",
        precisions=("fp32", "fp16", "int8"),
        kernels="the operators of the `.tflite` file, by XNNPACK or LiteRT's own",
        times="",
        replay=True,
    )

    def __init__(self) -> None:
        try:
            import ai_edge_litert
        except ImportError as error:
            raise DeviceError(
                "the package ai-edge-litert is not installed", hint="pip install 'hwnas[litert]'"
            ) from error
        self._version = f"litert {ai_edge_litert.__version__}"

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> LiteRtSession:
        """Compile a model."""
        return LiteRtSession(model, options, inputs)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """The operators of the file, and who runs each, as the JSON of an operator graph."""
        from profiler.runtimes._litert import kernels

        compiled = _compile(model, options)  # refuses what cannot be run
        accelerated = compiled.is_fully_accelerated()
        compiled.close()
        floating = "fp16" if options.precision == "fp16" and _is_half(model, options) else "fp32"
        delegated = kernels.delegated(_details(model, options)) if options.options.get("xnnpack", 1) else set()
        read = kernels.read(model.read_bytes())
        whole = len(delegated) == len(read.subgraphs[0].operators)
        if options.precision != "fp16" and whole != accelerated and delegated:
            raise InvalidModel(f"LiteRT contradicts itself about who runs {model.name}", hint="Report this.")
        graph = kernels.graph(read, delegated, floating)
        return json.dumps(graph, separators=(",", ":")).encode()


RUNTIME = LiteRt


def _compile(model: Path, options: RuntimeOptions) -> Any:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.cpu_kernel_mode import CpuKernelMode
    from ai_edge_litert.cpu_options import CpuOptions
    from ai_edge_litert.options import Options

    require_precision("litert", LiteRt.traits, options.precision)
    require_options("litert", options.options, OPTIONS)
    cpu = CpuOptions(
        num_threads=options.threads,
        kernel_mode=CpuKernelMode.DELEGATE if options.options.get("xnnpack", 1) else CpuKernelMode.BUILTIN,
        xnnpack_flags=FORCE_FP16 if options.precision == "fp16" else None,
    )
    said: list[str] = []
    try:
        with _quiet(said):
            return CompiledModel.from_file(str(model), environment=_environment(), options=Options(cpu_options=cpu))
    except (RuntimeError, ValueError) as error:
        words = " ".join([_words(error), *said])
        if "unresolved" in words.lower() or "didn't find op" in words.lower():
            raise UnsupportedOperator(
                f"LiteRT lacks an operator of {model.name}: {words[:400]}", hint="Use another runtime."
            ) from error
        raise InvalidModel(f"LiteRT cannot load {model.name}: {words[:400]}", hint="Convert it again.") from error


@cache
def _environment() -> Any:
    """One for the process: each looks for accelerators, and says so."""
    from ai_edge_litert.environment import Environment

    made = Environment.create()
    atexit.register(_end, made)
    return made


def _end(environment: Any) -> None:
    with _quiet():
        environment.close()


def _details(model: Path, options: RuntimeOptions) -> list[dict[str, Any]]:
    """The operators after delegation, by the interpreter, which tells them."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with _quiet():
            interpreter = Interpreter(str(model), num_threads=options.threads)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise InvalidModel(
            f"LiteRT cannot load {model.name}: {_words(error)}", hint="Measure it with another runtime."
        ) from error
    found: list[dict[str, Any]] = interpreter._get_ops_details()
    return found


def _is_half(model: Path, options: RuntimeOptions) -> bool:
    """Whether XNNPACK computes in fp16: then the outputs are others than in fp32, if the model computes at all."""
    full = RuntimeOptions(options.threads, "fp32", options.optimisation, options.options)
    sessions = [LiteRtSession(model, options), LiteRtSession(model, full)]
    outputs = [session.outputs() for session in sessions]
    for session in sessions:
        session.close()
    return any(not np.array_equal(half, whole) for half, whole in zip(*outputs, strict=True))


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


@contextlib.contextmanager
def _quiet(said: list[str] | None = None) -> Iterator[None]:
    """LiteRT writes what it tries to the process's standard error; the errors among it are kept in `said`."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as place:
        os.dup2(place.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if said is not None:
                place.seek(0)
                lines = place.read().decode(errors="replace").splitlines()
                said += [line.strip() for line in lines if line.startswith("ERROR")]
