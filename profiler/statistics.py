"""From raw blocks to a latency with an honest interval.

Five facts decide the estimator (`benchmarks/estimators.py` shows them on any machine):

1. A machine wanders between states in which everything takes 1.1 to 1.3 times as long, for milliseconds or minutes. No
   counter of the operating system shows it; the guard sentinel does. So times are divided by sentinels.
2. Interruptions only ever add time. So a process stands for the lower quartile of its blocks, divided by the lower
   quartile of the sentinels around them. Divided one by one, blocks whose sentinel alone was disturbed would be the
   fastest ones, and the lower quartile of them 4 % too low.
3. Where a process happens to lie in memory stays for its life, and its own spread says nothing of it. So the value is
   the median over fresh processes, and the interval is taken across them, with a floor, since three can agree by luck.
4. Where other programs take the CPU, the clock counts their time. So a block during which the process was made to wait
   stands with its CPU time, and what rests on such blocks is degraded: caches lost to others are in it all the same.
5. Networks do not slow down exactly as the sentinel does: some as much, those that wait for memory half as much. So
   the interval widens with the slow-down that was divided out, upwards more than downwards.

The result, a multiple of the sentinel, becomes a time by the device's reference sentinel (`profiler.reference`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from profiler.groups import Groups
from profiler.measurement import CONFIDENCE, Latency
from profiler.records import BlockRow

K = TypeVar("K", bound=Hashable)

#: A block is in the best state if its sentinel is within this of the reference (Jetpack's benchmark rule).
BEST_STATE = 1.10

#: A process stands for this quantile of its blocks; it is calm if at least that share of them is in the best state.
LOWER = 0.25

#: Relative standard deviation between processes that is assumed beside what was seen, with the weight of
#: `FLOOR_PROCESSES`.
FLOOR_SPREAD = 0.012
FLOOR_PROCESSES = 3

#: A block is contended if the process had to wait for others for more than this share of it.
CONTENDED = 0.05

#: Standard error that others leave behind in CPU time: caches that they emptied, a core that they share.
CONTENTION_SPREAD = 0.10

#: A relative half-width beyond this is no result to rely on; fewer processes than this are no interval.
WIDE = 0.10
FEWEST_PROCESSES = 3

#: Standard errors that dividing by a slow-down leaves, as a share of it: the truth may be below, or above. Beside loops
#: that were timed while the machine was calm, 17 networks at slow-downs of 1.1 to 1.6 were 3 % too high to 20 % low.
CORRECTION_BELOW, CORRECTION_ABOVE = 0.10, 0.20


@dataclass(frozen=True)
class ProcessEstimate:
    """What one fresh process says of one model, in ns for one inference.

    Attributes:
        best_ns: in the state of the reference sentinel.
        typical_ns: as it was.
        blocks: blocks seen.
        best_blocks: those in the best state.
        slowdown: median sentinel over the reference, at least 1.
        contended_blocks: those during which other programs took the CPU.
    """

    best_ns: float
    typical_ns: float
    blocks: int
    best_blocks: int
    slowdown: float = 1.0
    contended_blocks: int = 0

    @property
    def calm(self) -> bool:
        """Whether what it stands for rests on blocks in the best state that nobody disturbed."""
        return self.best_blocks >= LOWER * self.blocks

    @property
    def contended(self) -> bool:
        """Whether others disturbed most of its blocks: those in between find their caches emptied."""
        return 2 * self.contended_blocks > self.blocks


def process_estimate(
    per_call_ns: NDArray[np.float64],
    sentinel_ns: NDArray[np.float64],
    reference_ns: float,
    cpu_share: NDArray[np.float64] | None = None,
) -> ProcessEstimate:
    """Estimate of one process.

    Args:
        per_call_ns: `(b,)`, time of a call in each block.
        sentinel_ns: `(b,)`, sentinel around each block.
        reference_ns: the device's reference sentinel.
        cpu_share: `(b,)`, share of each block in which the process had the CPU; 1 where it was not made to wait. None
            if that is not known.
    """
    share = np.ones(len(per_call_ns)) if cpu_share is None else cpu_share
    return _estimates(Groups.of([0] * len(per_call_ns)), per_call_ns, sentinel_ns, reference_ns, share)[0]


def _estimates(
    groups: Groups[K],
    per_call_ns: NDArray[np.float64],
    sentinel_ns: NDArray[np.float64],
    reference_ns: float,
    cpu_share: NDArray[np.float64],
) -> list[ProcessEstimate]:
    """Estimates of the processes whose blocks the groups are, in their order."""
    slowdown = sentinel_ns / reference_ns
    contended = cpu_share < 1.0 - CONTENDED
    columns = (
        groups.quantile(np.where(contended, cpu_share, 1.0) * per_call_ns, LOWER) / groups.quantile(slowdown, LOWER),
        groups.quantile(per_call_ns, 0.5),
        groups.sizes,
        groups.counts((slowdown <= BEST_STATE) & ~contended),
        np.maximum(groups.quantile(slowdown, 0.5), 1.0),
        groups.counts(contended),
    )
    return [ProcessEstimate(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def combine(processes: Sequence[ProcessEstimate]) -> Latency:
    """One latency from the processes that measured a model.

    The interval is the one that a repeated measurement with as many processes falls into with 95 % confidence:
    Student's t across processes times `sqrt(2)`, since the repeat has an error of its own. Its variance is that of the
    processes pooled with the floor, and that of the correction, an error that all processes share.

    Args:
        processes: at least one; with one alone the interval rests on the floor and is wide.
    """
    # A handful of values for each of hundreds of models: plain floats are faster than arrays.
    values = [process.best_ns for process in processes]
    count = len(values)
    centre, mean = median(values), math.fsum(values) / count
    freedom = count - 1 + FLOOR_PROCESSES
    seen = math.fsum((value - mean) ** 2 for value in values)
    pooled = (seen + FLOOR_PROCESSES * (FLOOR_SPREAD * centre) ** 2) / freedom
    corrected = math.fsum(process.slowdown - 1.0 for process in processes) / count
    disturbed = sum(process.contended for process in processes) / count
    others = 2.0 * pooled / count + (CONTENTION_SPREAD * disturbed * centre) ** 2
    below, above = (
        student(freedom) * math.sqrt(others + (share * corrected * centre) ** 2)
        for share in (CORRECTION_BELOW, CORRECTION_ABOVE)
    )
    causes = _causes(processes, above / centre if centre else 0.0)
    return Latency(
        value_ms=centre / 1e6,
        low_ms=max(centre - below, 0.0) / 1e6,
        high_ms=(centre + above) / 1e6,
        typical_ms=median([process.typical_ns for process in processes]) / 1e6,
        state="degraded" if causes else "stable",
        processes=count,
        blocks=sum(process.blocks for process in processes),
        causes=causes,
    )


def _causes(processes: Sequence[ProcessEstimate], spread: float) -> tuple[str, ...]:
    """Why a latency is degraded, of `profiler.measurement.CAUSES`."""
    count = len(processes)
    calm = 2 * sum(process.calm for process in processes) > count
    contended = 2 * sum(process.contended for process in processes) >= count
    found = {
        "contention": contended,
        "slow state": not calm and not contended,
        "too few processes": count < FEWEST_PROCESSES,
        "wide": spread > WIDE,
    }
    return tuple(cause for cause, holds in found.items() if holds)


@functools.cache
def student(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Student's t that that share of draws does not exceed on either side.

    `scipy.stats` has it too, and takes a second to import.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1.0 + confidence) / 2.0))


def cpu_ns_of(row: BlockRow) -> float:
    """Time of a block, or its CPU time where the process was made to wait for others."""
    share = _cpu_share(row)
    return row.ns * share if share < 1.0 - CONTENDED else row.ns


def _cpu_share(row: BlockRow) -> float:
    """Share of a block in which the process had the CPU; 1 where it was not made to wait, or nobody knows."""
    return min(row.cpu_ns / row.ns, 1.0) if row.switches and row.cpu_ns else 1.0


def by_process(rows: Sequence[BlockRow], reference_ns: float) -> dict[str, dict[int, ProcessEstimate]]:
    """Estimates by model, then by process, in the order of the rows."""
    groups = Groups.of([(row.model, row.process) for row in rows])
    per_call = np.array([row.ns / row.calls for row in rows], dtype=np.float64)
    sentinel = np.array([row.sentinel_ns for row in rows], dtype=np.float64)
    share = np.array([_cpu_share(row) for row in rows])
    found: dict[str, dict[int, ProcessEstimate]] = {}
    for (model, process), estimate in zip(
        groups.keys, _estimates(groups, per_call, sentinel, reference_ns, share), strict=True
    ):
        found.setdefault(model, {})[process] = estimate
    return found
