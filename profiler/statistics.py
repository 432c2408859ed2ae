"""From raw blocks to a latency with an honest interval.

Four facts decide the estimator (`benchmarks/estimators.py` shows them on any machine):

1. A machine wanders between states in which everything takes 1.1 to 1.3 times as long, for milliseconds or minutes. No
   counter of the operating system shows it; the guard sentinel does. So the time of each block is divided by the
   sentinel around it.
2. Interruptions only ever add time. So a process stands for the lower quartile of its blocks.
3. Where a process happens to lie in memory stays for its life, and its own spread says nothing of it. So the value is
   the median over fresh processes, and the interval is taken across them, with a floor, since three can agree by luck.
4. Networks do not slow down exactly as the sentinel does. So the interval widens with the slow-down that was divided
   out.

The result, a multiple of the sentinel, becomes a time by the device's reference sentinel (`profiler.reference`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiler.measurement import Latency
from profiler.rows import BlockRow

#: A block is in the best state if its sentinel is within this of the reference (Jetpack's benchmark rule).
BEST_STATE = 1.10

#: A process stands for this quantile of its blocks; it is calm if at least that share of them is in the best state.
LOWER = 0.25

#: Relative standard deviation between processes that is assumed beside what was seen, with the weight of
#: `FLOOR_PROCESSES`.
FLOOR_SPREAD = 0.012
FLOOR_PROCESSES = 3

#: Standard error that dividing by a slow-down leaves, as a share of it.
CORRECTION_SPREAD = 0.10


@dataclass(frozen=True)
class ProcessEstimate:
    """What one fresh process says of one model, in ns for one inference.

    Attributes:
        best_ns: in the state of the reference sentinel.
        typical_ns: as it was.
        blocks: blocks seen.
        best_blocks: those in the best state.
        slowdown: median sentinel over the reference, at least 1.
    """

    best_ns: float
    typical_ns: float
    blocks: int
    best_blocks: int
    slowdown: float = 1.0

    @property
    def calm(self) -> bool:
        """Whether what it stands for rests on blocks in the best state."""
        return self.best_blocks >= LOWER * self.blocks


def process_estimate(
    per_call_ns: NDArray[np.float64], sentinel_ns: NDArray[np.float64], reference_ns: float
) -> ProcessEstimate:
    """Estimate of one process.

    Args:
        per_call_ns: `(b,)`, time of a call in each block.
        sentinel_ns: `(b,)`, sentinel around each block.
        reference_ns: the device's reference sentinel.
    """
    slowdown = sentinel_ns / reference_ns
    return ProcessEstimate(
        best_ns=float(np.quantile(per_call_ns / slowdown, LOWER)),
        typical_ns=float(np.median(per_call_ns)),
        blocks=len(per_call_ns),
        best_blocks=int((slowdown <= BEST_STATE).sum()),
        slowdown=max(float(np.median(slowdown)), 1.0),
    )


def combine(processes: Sequence[ProcessEstimate]) -> Latency:
    """One latency from the processes that measured a model.

    The interval is the one that a repeated measurement with as many processes falls into with 95 % confidence:
    Student's t across processes times `sqrt(2)`, since the repeat has an error of its own. Its variance is that of the
    processes pooled with the floor, and that of the correction, an error that all processes share.

    Args:
        processes: at least one; with one alone the interval rests on the floor and is wide.
    """
    from scipy.stats import t

    values = np.array([process.best_ns for process in processes])
    count = len(values)
    centre = float(np.median(values))
    freedom = count - 1 + FLOOR_PROCESSES
    seen = (count - 1) * float(values.var(ddof=1)) if count > 1 else 0.0
    pooled = (seen + FLOOR_PROCESSES * (FLOOR_SPREAD * centre) ** 2) / freedom
    corrected = float(np.mean([process.slowdown - 1.0 for process in processes]))
    variance = 2.0 * pooled / count + (CORRECTION_SPREAD * corrected * centre) ** 2
    half = float(t.ppf(0.975, freedom)) * float(np.sqrt(variance))
    return Latency(
        value_ms=centre / 1e6,
        low_ms=max(centre - half, 0.0) / 1e6,
        high_ms=(centre + half) / 1e6,
        typical_ms=float(np.median([process.typical_ns for process in processes])) / 1e6,
        state="stable" if 2 * sum(process.calm for process in processes) > count else "degraded",
        processes=count,
        blocks=sum(process.blocks for process in processes),
    )


def by_process(rows: Sequence[BlockRow], reference_ns: float) -> dict[str, dict[int, ProcessEstimate]]:
    """Estimates by model, then by process, in the order of the rows."""
    grouped: dict[tuple[str, int], list[BlockRow]] = defaultdict(list)
    for row in rows:
        grouped[row.model, row.process].append(row)
    found: dict[str, dict[int, ProcessEstimate]] = defaultdict(dict)
    for (model, process), blocks in grouped.items():
        per_call = np.array([row.ns / row.calls for row in blocks])
        sentinel = np.array([row.sentinel_ns for row in blocks], dtype=np.float64)
        found[model][process] = process_estimate(per_call, sentinel, reference_ns)
    return dict(found)
