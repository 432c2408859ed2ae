"""Rows of a measurement store as they are read: raw, nothing summarised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from profiler.operators import Operator


@dataclass(frozen=True)
class ModelRow:
    """A model that the store knows.

    Attributes:
        id: digest of its captured graph.
        name: for people.
        space: spec of its space, or None.
        arch: its text form there, or None.
        kernel: the one kernel that it replays, or None for a network.
        copies: how often it does.
    """

    id: str
    name: str
    space: str | None
    arch: str | None
    kernel: Operator | None = None
    copies: int = 1


class BlockRow(NamedTuple):
    """A block: times in ns, `calls` inferences; the sentinel is the better of the two around it.

    `cpu_ns` is CPU time of the calling thread and `switches` how often the process was made to wait for others; None
    where they are not known. A tuple and no dataclass: a store has tens of thousands, and a tuple is made five times as
    fast.
    """

    process: int
    invocation: str
    model: str
    calls: int
    ns: int
    sentinel_ns: int
    cpu_ns: int | None = None
    switches: int | None = None


class OfDevice(NamedTuple):
    """A process of a fleet: address of its device, why that was set aside or None, and all facts of the process."""

    address: str
    aside: str | None
    facts: list[Mapping[str, Any]]


@dataclass(frozen=True)
class ProfileRow:
    """A profile: `kernels` is `[[node, op_type, mean_ns, runs], ...]`; the sentinel was taken around it.

    `run_ns` is a whole inference under the profiler, or None.
    """

    model: str
    kernels: list[Any]
    allocator_peak_bytes: int | None
    sentinel_ns: int
    run_ns: float | None = None
