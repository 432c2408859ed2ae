"""PyTorch on the CPU as `torch.compile` runs it: kernels that inductor generates in C++, and those of libraries."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from device_profiles.errors import DeviceError
from profiler.runtimes._host import OnHost
from profiler.runtimes.protocol import (
    KernelTime,
    Option,
    Profile,
    RuntimeOptions,
    Traits,
    require_level,
    require_options,
    require_precision,
)

#: Modes of `torch.compile` that mean anything on a CPU.
MODES = ("default", "max-autotune-no-cudagraphs")
OPTIONS = {
    "mode": Option(" or ".join(MODES), lambda value: value in MODES),
    "freezing": Option("0 or 1", lambda value: value in (0, 1, False, True)),
}
LEVELS = ("all",)
#: The range of torch's profiler around the kernels of one inference, and what generated functions are called there.
_RANGE, _PREFIX = "## Call CompiledFxGraph", r"^graph_\d+_"


class TorchCompileSession:
    """A compiled program and its inputs."""

    def __init__(
        self, model: Path, options: RuntimeOptions, version: str, inputs: Mapping[str, Any] | None = None
    ) -> None:
        import torch

        from profiler.runtimes._inductor import kept
        from profiler.runtimes._torch import archive

        _require(options)
        torch.set_num_threads(options.threads)
        read = archive.read(model)
        self._feed = read.feed(inputs)
        self._inference_mode, self._to_array = torch.inference_mode, archive.to_array
        self._run, self._record = kept.compiled(read, self._feed, *_place(options, version))

    def run(self) -> None:
        """One inference."""
        with self._inference_mode():
            self._run(*self._feed)

    @property
    def call(self) -> Callable[[], object]:
        """The same: guards of the compiled region are part of what a user calls."""
        return self.run

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        with self._inference_mode():
            made = self._run(*self._feed)
        return [self._to_array(one) for one in (made if isinstance(made, (tuple, list)) else [made])]

    def profile(self, runs: int) -> Profile | None:
        """Kernel times by torch's profiler; None where it sees other kernels than those that were compiled."""
        from profiler.runtimes._torch.profiling import kernel_times

        seen = kernel_times(self.run, runs, self._record["events"], _RANGE, _PREFIX)
        if seen is None:
            return None
        means_ns, run_ns = seen
        graph = self._record["graph"]
        kernels = [
            KernelTime(name, graph["operators"][number][1], float(mean_ns), runs)
            for (number, _, _, name), mean_ns in zip(graph["nodes"], means_ns, strict=True)
        ]
        return Profile(tuple(kernels), None, run_ns)

    def close(self) -> None:
        """Drop the program and its inputs."""
        del self._run
        self._feed.clear()


class TorchCompile(OnHost):
    """`torch.compile` with inductor, on the CPU."""

    traits: ClassVar[Traits] = Traits(
        packages=("torch",),
        precisions=("fp32", "bf16"),
        kernels="inductor's generated C++ and calls of libraries",
        times="torch.profiler",
        patience_s=1800.0,  # seconds for each generated function
        keeps=True,
    )

    def __init__(self) -> None:
        try:
            import torch
        except ImportError as error:
            raise DeviceError(f"the package {error.name} is not installed", hint=f"pip install {error.name}") from error
        self._version = f"torch {torch.__version__.split('+')[0]}, {_compiler()}"

    def load(
        self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None
    ) -> TorchCompileSession:
        """Compile a program, or take it out of the cache of these conditions."""
        return TorchCompileSession(model, options, self._version, inputs)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """Inductor's kernels, as the JSON of an operator graph; threads of this process stay as they are."""
        import torch

        from profiler.runtimes._inductor import kept
        from profiler.runtimes._torch import archive

        _require(options)
        before = torch.get_num_threads()
        torch.set_num_threads(options.threads)
        try:
            read = archive.read(model)
            record = kept.record_of(read, read.feed(None), *_place(options, self._version))
        finally:
            torch.set_num_threads(before)
        return json.dumps(record["graph"], separators=(",", ":")).encode()


RUNTIME = TorchCompile


def _require(options: RuntimeOptions) -> None:
    require_precision("torch-compile", TorchCompile.traits, options.precision)
    require_options("torch-compile", options.options, OPTIONS)
    require_level("torch-compile", LEVELS, options.optimisation, "; local-torch runs nodes as they are")


def _place(options: RuntimeOptions, version: str) -> tuple[dict[str, Any], Path]:
    """Inductor's settings, and the folder of the cache of these conditions."""
    import torch

    from profiler.runtimes._inductor import kept

    given = options.options
    chosen = kept.settings(options.threads, str(given.get("mode", "default")), bool(given.get("freezing", 0)))
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {options.precision}"
    return chosen, kept.folder_of(version, processor, chosen)


def _compiler() -> str:
    """Name and version of the C++ compiler that inductor takes.

    Raises:
        DeviceError: there is none.
    """
    hint = "apt install g++, or pip install ziglang and set CXX to a C++ compiler."
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        path = get_cpp_compiler()
        done = subprocess.run([path, "-dumpversion"], capture_output=True, text=True, check=True, timeout=30)
    except Exception as error:  # torch raises errors of its own, the system others
        raise DeviceError(
            f"torch.compile needs a C++ compiler: {' '.join(str(error).split())[:200]}", hint=hint
        ) from error
    return f"{os.path.basename(path)} {done.stdout.strip()}"  # noqa: PTH119 - a command, not always a path
