"""PyTorch on an NVIDIA GPU: eager, replayed as a CUDA graph, or as `torch.compile` makes it.

Calls are started back to back, and the clock waits for the GPU before it is read: what starting costs shows where the
host is slower than the GPU, as it does for users, and waiting after each call, which lets clocks drop, is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from device_profiles.errors import DeviceError, InvalidModel
from profiler.runtimes._torch import gpu
from profiler.runtimes.protocol import (
    KernelTime,
    Option,
    Profile,
    RuntimeOptions,
    Sentinel,
    Traits,
    require_level,
    require_options,
    require_precision,
)

MODES = ("eager", "graphs", "compile")
OPTIONS = {"mode": Option(", ".join(MODES), lambda value: value in MODES)}
#: A kernel alone is loaded with `none`: its copies are captured as one CUDA graph, whatever the mode, since starting a
#: kernel takes longer than most of them run.
LEVELS = ("all", "none")
#: The guard is 4 products of such matrices in fp32, the memory sentinel a copy of this many bytes, 5 times the L2 cache
#: of the largest GPUs.
GEMM_SIZE, GEMM_PRODUCTS, MEMORY_BYTES = 2048, 4, 256 << 20
_RANGE = "hwnas program"


class TorchCudaSession:
    """A program on the GPU and its inputs."""

    def __init__(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> None:
        import torch

        from profiler.runtimes._torch import archive

        _require(options)
        torch.set_num_threads(options.threads)
        gpu.set_precision(options.precision)
        read = archive.read(model)
        self._name, self._mode = model.name, _mode(options)
        self._archive, self._to_array = read, archive.to_array
        self._inference_mode, self._range = torch.inference_mode, torch.profiler.record_function
        program = _on_device(read.program)
        self._events, self._marks = _calls(program)
        self._feed = [one.to(gpu.DEVICE) for one in read.feed(inputs)]
        self._module = program.module()
        if self._mode == "compile":
            self._module = torch.compile(self._module, dynamic=False)
        self._made: Any = None
        self._start: Callable[[], Any] = self._started()

    def run(self) -> None:
        """One inference, finished."""
        self._start()
        gpu.synchronise()

    @property
    def call(self) -> Callable[[], object]:
        """One inference, started; the clock waits for it."""
        return self._start

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        from torch.utils._pytree import tree_leaves

        made = self._start()
        gpu.synchronise()
        return [self._to_array(one) for one in tree_leaves(self._made if self._mode == "graphs" else made)]

    def profile(self, runs: int) -> Profile | None:
        """Times of the nodes on the GPU by torch's profiler, in eager mode; else None."""
        if self._mode != "eager":
            return None
        from profiler.runtimes._torch.profiling import kernel_times

        seen = kernel_times(self._in_range, runs, self._events, _RANGE, on_device=True)
        if seen is None:
            return None
        spent = dict.fromkeys(range(len(self._archive.nodes)), 0.0)
        for mark, mean_ns in zip(self._marks, seen[0], strict=True):
            if mark in spent:
                spent[mark] += mean_ns
        kernels = [
            KernelTime(name, operator[1], spent[number], runs)
            for number, (name, operator, _) in enumerate(self._archive.nodes)
        ]
        return Profile(tuple(kernels), gpu.peak_bytes(self.run), seen[1])

    def close(self) -> None:
        """Drop the program and its inputs."""
        del self._start, self._module
        self._made = None
        self._feed.clear()

    def _started(self) -> Callable[[], Any]:
        if self._mode != "graphs":
            return self._called
        try:
            replay, self._made = gpu.captured(self._called)
        except RuntimeError as error:
            words = " ".join(str(error).split())[:300]
            raise InvalidModel(
                f"{self._name} cannot be captured as a CUDA graph: {words}", hint="Measure it with mode = 'eager'."
            ) from error
        return replay

    def _called(self) -> Any:
        with self._inference_mode():
            return self._module(*self._feed)

    def _in_range(self) -> None:
        with self._inference_mode(), self._range(_RANGE):
            self._module(*self._feed)
        gpu.synchronise()


class TorchCuda:
    """PyTorch on the first NVIDIA GPU."""

    traits: ClassVar[Traits] = Traits(
        packages=("torch", "nvidia-ml-py"),
        precisions=("fp32", "tf32", "fp16", "bf16"),
        kernels="the nodes of the model",
        times="torch.profiler, in eager mode",
        untimed=("mode", "graphs"),
        replay=True,
        allocator=True,
        patience_s=1800.0,
        device="gpu",
    )

    def __init__(self) -> None:
        try:
            import torch
        except ImportError as error:
            raise DeviceError("the package torch is not installed", hint="pip install torch") from error
        gpu.require()
        cudnn: Any = torch.backends.cudnn
        self._version = f"torch {torch.__version__}, cudnn {cudnn.version()}"

    @property
    def version(self) -> str:
        """Of torch, with its build of CUDA, and of cuDNN."""
        return self._version

    @property
    def clock(self) -> Callable[[], int]:
        """The host's, read when the GPU is done with all that was started."""
        return _clock

    def facts(self) -> Mapping[str, Any]:
        """Of the GPU: its name, driver and capability."""
        return gpu.facts()

    def state(self) -> Mapping[str, Any]:
        """Of the GPU at this moment: clocks, temperature, and what slows it down."""
        return gpu.state()

    def sentinels(self) -> Mapping[str, Sentinel]:
        """Products of matrices in fp32, and a copy of memory, on the GPU."""
        import torch

        gpu.set_precision("fp32")
        left, right = torch.randn(2, GEMM_SIZE, GEMM_SIZE, device=gpu.DEVICE)
        source = torch.zeros(MEMORY_BYTES // 4, device=gpu.DEVICE)
        product, target = torch.empty_like(left), torch.empty_like(source)

        def gemm() -> None:
            for _ in range(GEMM_PRODUCTS):
                torch.mm(left, right, out=product)

        def memory() -> None:
            target.copy_(source)

        return {
            "gemm": Sentinel(gemm, operations=2.0 * GEMM_PRODUCTS * GEMM_SIZE**3),
            "memory": Sentinel(memory, bytes=2.0 * MEMORY_BYTES),
        }

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> TorchCudaSession:
        """Bring a program to the GPU."""
        return TorchCudaSession(model, options, inputs)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """Nodes as they are, in the precision asked for; what cuDNN or `torch.compile` fuse of them is not told."""
        from profiler.runtimes._torch import archive

        _require(options)
        return archive.read(model).graph.encode() or None


RUNTIME = TorchCuda


def _clock() -> int:
    gpu.synchronise()
    return time.perf_counter_ns()


def _mode(options: RuntimeOptions) -> str:
    return "graphs" if options.optimisation == "none" else str(options.options.get("mode", "eager"))


def _require(options: RuntimeOptions) -> None:
    require_precision("torch-cuda", TorchCuda.traits, options.precision)
    require_options("torch-cuda", options.options, OPTIONS)
    require_level("torch-cuda", LEVELS, options.optimisation, "; its modes are options")


def _on_device(program: Any) -> Any:
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, gpu.DEVICE)


def _calls(program: Any) -> tuple[list[str], list[int]]:
    """Names of the calls of a program as the profiler shows them, and the numbers of the nodes that they came from."""
    calls = [node for node in program.graph.nodes if node.op == "call_function" and hasattr(node.target, "_schema")]
    marks = [int(node.meta.get("custom", {}).get("hwnas", -1)) for node in calls]
    return [str(node.target._schema.name) for node in calls], marks
