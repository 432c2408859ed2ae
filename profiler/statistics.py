"""From raw blocks to a latency with an honest interval.

Three facts decide the estimator (`benchmarks/estimators.py` shows them on any machine). The lowest block of a process
repeats best, within 1 %: interruptions only ever add time. Yet a whole process can run in a slow state of the machine,
which no counter of the operating system shows and the guard sentinel does: a process that never saw the best state is
divided by its sentinel's slow-down. And the spread inside one process says nothing about the next: so the interval is
taken across fresh processes, with a floor, since three can agree by luck.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiler.measurement import Latency
from profiler.store import BlockRow

#: A block is in the best state if its sentinel is within this of the device's best (Jetpack's benchmark rule).
BEST_STATE = 1.10

#: Fewest blocks in the best state that a process's estimate rests on; with fewer, all blocks count and the slow-down is
#: divided out.
LEAST_BEST = 3

#: Relative standard deviation between processes that is assumed beside what was seen, with the weight of
#: `FLOOR_PROCESSES`.
FLOOR_SPREAD = 0.008
FLOOR_PROCESSES = 3

#: What dividing by a slow-down leaves: networks slow down by 1.15-1.27 where the sentinel does by 1.2.
CORRECTION_SPREAD = 0.25


@dataclass(frozen=True)
class ProcessEstimate:
    """What one fresh process says of one model, in ns for one inference.

    Attributes:
        best_ns: in the best state of the machine.
        typical_ns: as it was.
        blocks: blocks seen.
        best_blocks: those in the best state.
        correction: slow-down that was divided out, 1 if none.
    """

    best_ns: float
    typical_ns: float
    blocks: int
    best_blocks: int
    correction: float = 1.0


def process_estimate(per_call_ns: NDArray[np.float64], slowdown: NDArray[np.float64]) -> ProcessEstimate:
    """Estimate of one process.

    Args:
        per_call_ns: `(b,)`, time of a call in each block.
        slowdown: `(b,)`, sentinel of the block over the device's best.

    Returns:
        The lowest block of those in the best state; where there are fewer than three, the lowest of all, divided by the
        slow-down of the
        process: the lowest tenth of its sentinels.
    """
    calm = slowdown <= BEST_STATE
    if calm.sum() >= LEAST_BEST:
        best, correction = float(per_call_ns[calm].min()), 1.0
    else:
        correction = max(float(np.quantile(slowdown, 0.1)), 1.0)
        best = float(per_call_ns.min()) / correction
    return ProcessEstimate(best, float(np.median(per_call_ns)), len(per_call_ns), int(calm.sum()), correction)


def combine(processes: Sequence[ProcessEstimate]) -> Latency:
    """One latency from the processes that measured a model.

    The interval is the one that a repeated measurement with as many processes falls into with 95 % confidence:
    Student's t across processes times `sqrt(2)`, since the repeat has an error of its own. Its variance is that of the
    processes pooled with the floor.

    Args:
        processes: at least one; with one alone the interval rests on the floor and is wide.
    """
    from scipy.stats import t

    values = np.array([process.best_ns for process in processes])
    count = len(values)
    centre = float(np.median(values))
    freedom = count - 1 + FLOOR_PROCESSES
    seen = (count - 1) * float(values.var(ddof=1)) if count > 1 else 0.0
    variance = (seen + FLOOR_PROCESSES * (FLOOR_SPREAD * centre) ** 2) / freedom
    corrected = float(np.mean([process.correction - 1.0 for process in processes]))
    variance += (CORRECTION_SPREAD * corrected * centre) ** 2 * count / 2.0  # an error that all processes share
    half = float(t.ppf(0.975, freedom)) * float(np.sqrt(2.0 * variance / count))
    calm = sum(process.best_blocks >= LEAST_BEST for process in processes)
    return Latency(
        value_ms=centre / 1e6,
        low_ms=max(centre - half, 0.0) / 1e6,
        high_ms=(centre + half) / 1e6,
        typical_ms=float(np.median([process.typical_ns for process in processes])) / 1e6,
        state="stable" if 2 * calm > count else "degraded",
        processes=count,
        blocks=sum(process.blocks for process in processes),
    )


def best_sentinel_ns(rows: Iterable[BlockRow]) -> float:
    """The device's best state.

    The lowest tenth of the sentinels that its best process saw (one lucky reading is no state).

    Raises:
        ValueError: no blocks.
    """
    by_process: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        by_process[row.process].append(row.sentinel_ns)
    return min(float(np.quantile(sentinels, 0.1)) for sentinels in by_process.values())


def summarise(rows: Sequence[BlockRow], *, best_ns: float | None = None) -> dict[str, Latency]:
    """Latency of every model in the rows.

    Args:
        rows: blocks of one set of conditions.
        best_ns: the device's best sentinel; taken from the rows if None.
    """
    if not rows:
        return {}
    best = best_sentinel_ns(rows) if best_ns is None else best_ns
    return {model: combine(list(estimates.values())) for model, estimates in estimates_by_process(rows, best).items()}


def estimates_by_process(rows: Sequence[BlockRow], best_ns: float) -> dict[str, dict[int, ProcessEstimate]]:
    """Estimates by model, then by process."""
    grouped: dict[tuple[str, int], list[BlockRow]] = defaultdict(list)
    for row in rows:
        grouped[row.model, row.process].append(row)
    found: dict[str, dict[int, ProcessEstimate]] = defaultdict(dict)
    for (model, process), blocks in grouped.items():
        per_call = np.array([row.ns / row.calls for row in blocks])
        slowdown = np.array([row.sentinel_ns for row in blocks]) / best_ns
        found[model][process] = process_estimate(per_call, slowdown)
    return dict(found)
