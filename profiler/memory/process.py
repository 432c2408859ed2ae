"""From a simulated plan to the peak memory of a process: the one thing here that is fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from device_profiles.errors import InvalidData, UsageError
from profiler.memory.plan import MemoryPlan

#: Fewest networks that the two numbers are fitted on: one more than there are numbers, so that there are residuals.
FEWEST = 3


@dataclass(frozen=True)
class ProcessOverhead:
    """What a process that runs a network needs beside what the allocator hands out.

    It holds for the conditions that it was fitted under: a runtime and its version, a machine, a way of measuring.

    Attributes:
        base_bytes: of the process and the runtime alone.
        per_weight_byte: bytes for each byte of weights that are not replaced by packed copies: as the model is read and
            optimised, several copies are made.
        spread_bytes: standard deviation of what was measured around the fit.
        worst_bytes: largest deviation, without its sign.
        networks: number of networks that it was fitted on.
    """

    base_bytes: float
    per_weight_byte: float
    spread_bytes: float
    worst_bytes: float
    networks: int

    def process_peak_bytes(self, plan: MemoryPlan) -> float:
        """`base_bytes + per_weight_byte * weights + what the allocator's memory takes` of a network, in bytes."""
        return self.base_bytes + self.per_weight_byte * _kept_weights(plan) + plan.allocator_touched_bytes


def _kept_weights(plan: MemoryPlan) -> int:
    return plan.weight_bytes - plan.replaced_weight_bytes


def fit_process_overhead(plans: Sequence[MemoryPlan], measured_bytes: Sequence[float]) -> ProcessOverhead:
    """Fit `measured = base + per_weight_byte * weights + allocator` with neither number below 0.

    `weights` are those that packed copies do not replace; `allocator` is `MemoryPlan.allocator_touched_bytes`, of which
    the packed copies are a part.

    Source: non-negative least squares, Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23.

    Args:
        plans: `(n,)`, n >= 3, of networks whose weights differ in size.
        measured_bytes: `(n,)`, peak memory of a fresh process that ran each network, in bytes, above 0.

    Raises:
        UsageError: the lengths differ, or there are fewer than 3 networks.
        InvalidData: a peak is not a finite number above 0, the runtimes differ, or all weights are of one size.
    """
    if len(plans) != len(measured_bytes):
        raise UsageError(
            f"expected one measured peak for each of {len(plans)} plans, got {len(measured_bytes)}",
            hint="Give both in the same order.",
        )
    if len(plans) < FEWEST:
        raise UsageError(
            f"got {len(plans)} networks, at least {FEWEST} are needed to fit two numbers",
            hint="Measure more networks with memory.",
        )
    bad = [peak for peak in measured_bytes if not (math.isfinite(peak) and peak > 0)]
    if bad:
        raise InvalidData(
            f"a measured peak is {bad[0]!r}, allowed are finite numbers of bytes above 0",
            hint="Leave out networks whose peak is unknown.",
        )
    kinds = sorted({plan.runtime for plan in plans})
    if len(kinds) > 1:
        raise InvalidData(
            f"the plans are of several runtimes: {', '.join(kinds)}; one fit holds for one",
            hint="Fit each runtime by itself.",
        )
    sizes = {_kept_weights(plan) for plan in plans}
    if len(sizes) == 1:
        raise InvalidData(
            f"all {len(plans)} networks have {sizes.pop()} bytes of weights, so base and weights cannot be told apart",
            hint="Add networks of other sizes.",
        )
    return _fit(plans, measured_bytes)


def _fit(plans: Sequence[MemoryPlan], measured_bytes: Sequence[float]) -> ProcessOverhead:
    import numpy as np
    from scipy.optimize import nnls

    weights = np.array([_kept_weights(plan) for plan in plans], dtype=np.float64)
    rest = np.array(measured_bytes, dtype=np.float64) - [plan.allocator_touched_bytes for plan in plans]
    scale = weights.max()  # both columns of about the same size
    (base, share), _ = nnls(np.column_stack([np.ones_like(weights), weights / scale]), rest)
    residuals = rest - base - share * weights / scale
    spread = math.sqrt(float(residuals @ residuals) / (len(plans) - 2))
    return ProcessOverhead(float(base), float(share / scale), spread, float(np.abs(residuals).max()), len(plans))
