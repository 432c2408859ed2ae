"""Simulate the memory of a graph under the rules of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from device_profiles.facts import Unavailable
from profiler.memory.allocation import Allocation
from profiler.memory.liveness import LiveTensor, alive_at, liveness, weights
from profiler.operators import OperatorGraph


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of a network, in bytes. All figures are simulated.

    Attributes:
        runtime: whose rules were used.
        weight_bytes: of the graph's constants, each counted once by name.
        activation_peak_bytes: largest sum of live tensors, the network's inputs included, weights not.
        peak_index: the node at which that is reached; None if the graph has no nodes.
        peak_name: its name, or that of its first output; `""` if there is none.
        peak_tensors: the tensors that are alive there, largest first.
        timeline: bytes of live tensors at each node; its maximum is `activation_peak_bytes`.
        allocator_peak_bytes: most that the runtime's allocator hands out at once. Which weights are part of it, and
            whether inputs are, is the runtime's own; see `docs/explanation/how-memory-is-simulated.md`.
        allocator_resident_bytes: the part of it that stays between inferences.
        allocator_held_bytes: what the allocator takes from the system; None where it gives back what is freed.
        allocator_timeline: bytes handed out when each node of the first inference ends.
        allocator_touched_bytes: what a process that runs one inference has of the allocator's memory. Less than the
            peak where chunks are handed out larger than asked for, or later inferences need more.
        replaced_weight_bytes: weights in whose place the allocator holds packed copies.
        notes: what the rules of the runtime leave open, for people.
        unknown: operators of which the rules do not tell what they need; then the figures of the allocator are lower
            bounds.
    """

    runtime: str
    weight_bytes: int
    activation_peak_bytes: int
    peak_index: int | None
    peak_name: str
    peak_tensors: tuple[LiveTensor, ...]
    timeline: tuple[int, ...]
    allocator_peak_bytes: int
    allocator_resident_bytes: int
    allocator_held_bytes: int | None
    allocator_timeline: tuple[int, ...]
    allocator_touched_bytes: int
    replaced_weight_bytes: int
    notes: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def allocator(self) -> int | Unavailable:
        """The allocator's peak, or why it cannot be told."""
        if self.unknown:
            return Unavailable(f"the rules of {self.runtime!r} do not tell what {', '.join(self.unknown)} allocates")
        return self.allocator_peak_bytes


def _onnxruntime(graph: OperatorGraph) -> Allocation:
    from profiler.memory.onnxruntime import allocate

    return allocate(graph)


def _torch(graph: OperatorGraph) -> Allocation:
    from profiler.memory.torch import allocate

    return allocate(graph)


def _plain(graph: OperatorGraph) -> Allocation:
    """Every tensor has memory of its own while it is alive."""
    live = liveness(graph)
    return Allocation(live.peak_bytes, 0, None, live.timeline, ())


_RULES: dict[str, Callable[[OperatorGraph], Allocation]] = {
    "fake": _plain,
    "onnxruntime": _onnxruntime,
    "torch": _torch,
}


def runtimes_with_rules() -> tuple[str, ...]:
    """Runtimes whose allocator is simulated; for any other the plan is plain liveness."""
    return tuple(sorted(_RULES))


def allocation(graph: OperatorGraph, runtime: str) -> Allocation:
    """What a runtime's allocator is asked for, the part of `simulate` that the runtime decides.

    Args:
        graph: as for `simulate`.
        runtime: likewise.
    """
    return _RULES.get(runtime, _plain)(graph)


def simulate(graph: OperatorGraph, runtime: str) -> MemoryPlan:
    """Simulate the memory of one network, run again and again on one thread.

    Takes time linear in the number of nodes (times the logarithm of the buffers that are alive).

    Args:
        graph: the nodes that run, in the order in which they run: for a runtime that fuses, its fused graph
            (`profiler.fusing.fused_graph`).
        runtime: name of the runtime; one without rules gets plain liveness, and a note that says so.
    """
    live = liveness(graph)
    found = allocation(graph, runtime)
    notes = found.notes
    if runtime not in _RULES:
        known = ", ".join(runtimes_with_rules())
        notes = (f"no rules are known of the allocator of {runtime!r}, so this is plain liveness (known: {known})",)
    index = live.peak_index
    node = None if index is None else graph.nodes[index]
    return MemoryPlan(
        runtime=runtime,
        weight_bytes=sum(tensor.bytes for tensor in weights(graph).values()),
        activation_peak_bytes=live.peak_bytes,
        peak_index=index,
        peak_name="" if node is None else node.name or next(iter(node.outputs), ""),
        peak_tensors=() if index is None else alive_at(graph, index),
        timeline=live.timeline,
        allocator_peak_bytes=found.peak_bytes,
        allocator_resident_bytes=found.resident_bytes,
        allocator_held_bytes=found.held_bytes,
        allocator_timeline=found.timeline,
        allocator_touched_bytes=found.peak_bytes if found.touched_bytes is None else found.touched_bytes,
        replaced_weight_bytes=found.replaced_bytes,
        notes=notes,
        unknown=found.unknown,
    )
