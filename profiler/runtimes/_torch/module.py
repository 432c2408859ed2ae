"""A torch module as its user runs it: made by the user's own factory, with the weights that were exported.

The exported program itself is not run: its calls are the same, and around them it costs 50 us a call more (torch 2.13).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from device_profiles.errors import InvalidModel
from profiler.runtimes._torch import archive
from profiler.runtimes._torch.profiling import kernel_times
from profiler.runtimes.protocol import KernelTime, Profile

_RANGE = "hwnas module"


class ModuleSession:
    """A module and its inputs."""

    def __init__(self, model: Path, threads: int, inputs: Mapping[str, Any] | None = None) -> None:
        import torch

        read = archive.read(model)
        torch.set_num_threads(threads)
        self._module = _made(read)
        self._feed, self._nodes = read.feed(inputs), read.nodes
        self._events = [
            str(node.target._schema.name) for node in read.program.graph.nodes if node.op == "call_function"
        ]
        self._inference_mode, self._range = torch.inference_mode, torch.profiler.record_function

    def run(self) -> None:
        """One inference."""
        with self._inference_mode():
            self._module(*self._feed)

    @property
    def call(self) -> Callable[[], object]:
        """The same."""
        return self.run

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        from torch.utils._pytree import tree_leaves

        with self._inference_mode():
            return [archive.to_array(one) for one in tree_leaves(self._module(*self._feed))]

    def profile(self, runs: int) -> Profile | None:
        """Times of the operators by torch's profiler; None where others ran than those that were exported."""
        seen = kernel_times(self._in_range, runs, self._events, _RANGE)
        if seen is None:
            return None
        kernels = [
            KernelTime(name, operator[1], mean_ns, runs)
            for (name, operator, _), mean_ns in zip(self._nodes, seen[0], strict=True)
        ]
        return Profile(tuple(kernels), None, seen[1])

    def close(self) -> None:
        """Drop the module and its inputs."""
        del self._module
        self._feed.clear()

    def _in_range(self) -> None:
        with self._inference_mode(), self._range(_RANGE):
            self._module(*self._feed)


def _made(read: archive.Archive) -> Any:
    """The module of the archive's factory, with the exported weights, in eval mode."""
    if not read.factory:
        raise InvalidModel(
            f"{read.name} has no factory: an exported program run by itself is slower than its module",
            hint="hwnas.measure(module, inputs, factory='package.module:function'), or a target of torch-compile.",
        )
    home, _, name = read.factory.partition(":")
    if read.path and read.path not in sys.path:
        sys.path.append(read.path)
    try:
        module = getattr(importlib.import_module(home), name)()
        module.load_state_dict(read.program.state_dict)
        return module.eval()
    except Exception as error:  # the user's own code
        raise InvalidModel(
            f"{read.factory} does not make the module that was exported: {type(error).__name__}: {error}",
            hint="The factory takes no arguments, and makes a module with the same weights.",
        ) from error
