"""What runtimes have in common whose work the clock of this process times; standard library and numpy alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from profiler.runtimes.protocol import Sentinel

#: Share of runs that is kept, the fastest: interruptions only ever add time.
KEPT = 0.8


class OnHost:
    """A runtime with a version, timed by the host's clock beside the agent's own sentinels."""

    _version: str

    @property
    def version(self) -> str:
        """Name and version, such as `onnxruntime X.Y.Z`."""
        return self._version

    @property
    def clock(self) -> Callable[[], int]:
        """The host's clock."""
        return time.perf_counter_ns

    def sentinels(self) -> Mapping[str, Sentinel] | None:
        """The agent's own."""
        return None


def drawn(rng: np.random.Generator, shape: Sequence[int], dtype: Any) -> Any:
    """An input where none is given: normal floats, or 0 and 1."""
    floating = np.issubdtype(dtype, np.floating)
    return np.asarray(rng.standard_normal(shape) if floating else rng.integers(0, 2, shape), dtype=dtype)


def undisturbed(times: Any) -> Any:
    """Mean over the first axis, without the slowest fifth: `(runs, ...)` to `(...)`."""
    kept = max(1, int(np.ceil(len(times) * KEPT)))
    return np.sort(np.asarray(times, dtype=np.float64), axis=0)[:kept].mean(axis=0)
