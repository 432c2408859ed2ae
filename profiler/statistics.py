"""From raw blocks to a latency with an honest interval.

Three facts decide the estimator (docs/explanation/measuring.md shows the data). The median inside one process repeats within 1 %, yet
fresh processes differ by up to 50 %: so the interval is taken across processes. A slow machine slows a matrix product about as much as
a network: so every block is divided by its sentinel's slow-down. What is left is small but not zero even when three processes
agree by luck: so the interval has a floor.
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

#: Relative standard deviation of a process that is assumed even if the processes seen agree better: what a few of them cannot show.
FLOOR_SPREAD = 0.006

#: A measurement is `stable` if at least this share of its blocks, and two of its processes, were in the best state.
STABLE_SHARE = 0.5


@dataclass(frozen=True)
class ProcessEstimate:
    """What one fresh process says of one model, in ns for one inference.

    Attributes:
        best_ns: in the best state of the machine.
        typical_ns: as it was.
        blocks: blocks seen.
        best_blocks: those in the best state.
    """

    best_ns: float
    typical_ns: float
    blocks: int
    best_blocks: int


def process_estimate(per_call_ns: NDArray[np.float64], slowdown: NDArray[np.float64]) -> ProcessEstimate:
    """Estimate of one process.

    Args:
        per_call_ns: `(b,)`, time of a call in each block.
        slowdown: `(b,)`, sentinel of the block over the device's best, at least 1.

    Returns:
        The lower quartile of the blocks after each was divided by its slow-down: interruptions only ever add time.
    """
    normalised = per_call_ns / slowdown
    return ProcessEstimate(
        best_ns=float(np.quantile(normalised, 0.25)),
        typical_ns=float(np.median(per_call_ns)),
        blocks=len(per_call_ns),
        best_blocks=int((slowdown <= BEST_STATE).sum()),
    )


def combine(processes: Sequence[ProcessEstimate]) -> Latency:
    """One latency from the processes that measured a model.

    The interval is the one that a repeated measurement with as many processes falls into with 95 % confidence: Student's t across
    processes times `sqrt(2)`, since the repeat has an error of its own.

    Args:
        processes: at least one; with one alone the interval rests on the floor and is wide.
    """
    from scipy.stats import t

    values = np.array([process.best_ns for process in processes])
    count = len(values)
    centre = float(np.median(values))
    pooled = max(count - 1, 0) * (float(values.var(ddof=1)) if count > 1 else 0.0)
    prior = 3.0  # the floor counts as three more processes
    variance = (pooled + prior * (FLOOR_SPREAD * centre) ** 2) / (max(count - 1, 0) + prior)
    half = float(t.ppf(0.975, count - 1 + prior)) * np.sqrt(2.0 * variance / count)
    blocks = sum(process.blocks for process in processes)
    best = sum(process.best_blocks for process in processes)
    calm = sum(2 * process.best_blocks >= process.blocks for process in processes)
    stable = best >= STABLE_SHARE * blocks and calm >= min(2, count)
    return Latency(
        value_ms=centre / 1e6,
        low_ms=max(centre - half, 0.0) / 1e6,
        high_ms=(centre + half) / 1e6,
        typical_ms=float(np.median([process.typical_ns for process in processes])) / 1e6,
        state="stable" if stable else "degraded",
        processes=count,
        blocks=blocks,
    )


def best_sentinel_ns(rows: Iterable[BlockRow]) -> float:
    """The device's best state: the lowest tenth of the sentinels that its best process saw (one lucky reading is no state).

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
        slowdown = np.maximum(np.array([row.sentinel_ns for row in blocks]) / best_ns, 1.0)
        found[model][process] = process_estimate(per_call, slowdown)
    return dict(found)
