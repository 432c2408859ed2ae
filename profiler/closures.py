"""Why the kernels of a network, as its runtime's profiler times them, do not add up to the network."""

from __future__ import annotations

from collections.abc import Sequence

#: A closure within this is that of a profiler that is as good as they get; beyond it, it is explained or flagged.
USUAL = 0.25
#: Share of a closure that a cause must make up to explain it.
MOST_OF_IT = 0.5

_WITH_GRAPHS = frozenset({"If", "Loop", "Scan"})
UNEXPLAINED = "unexplained: do not use the times of its kernels"


def explain(closure: float, kinds: Sequence[str], latency_ms: float, profiled_ms: float | None) -> str | None:
    """The cause of a closure beyond `USUAL`, or `UNEXPLAINED`; None within it.

    Args:
        closure: (sum of kernels + empty call - latency) / latency.
        kinds: operators of the kernels.
        latency_ms: of the network, unprofiled.
        profiled_ms: of a whole inference under the profiler, or None if it is not known.
    """
    if abs(closure) <= USUAL:
        return None
    slower = None if profiled_ms is None else profiled_ms / latency_ms - 1.0
    if slower is not None and slower * closure > 0 and abs(slower) >= MOST_OF_IT * abs(closure):
        held = sorted({kind for kind in kinds if kind in _WITH_GRAPHS})
        inside = f", most of it inside of {' and '.join(held)}" if held and closure > 1.0 else ""
        return (
            f"the profiler makes the network {slower:.0%} slower ({len(kinds)} kernels){inside}"
            if slower > 0
            else f"the network ran {-slower:.0%} faster under the profiler: the machine was in another state"
        )
    return UNEXPLAINED
