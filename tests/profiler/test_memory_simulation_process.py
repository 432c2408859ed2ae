"""Fitting what a process needs beside its network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device_profiles.errors import InvalidData, UsageError
from profiler.memory import MemoryPlan, fit_process_overhead, simulate
from profiler.operators import OperatorGraph, Tensor

MIB = 1 << 20


def plan(weight_mib: float, arena_mib: float, runtime: str = "onnxruntime") -> MemoryPlan:
    empty = simulate(OperatorGraph((), (("x", Tensor((1,))),), ("x",)), runtime)
    return replace(empty, weight_bytes=int(weight_mib * MIB), allocator_touched_bytes=int(arena_mib * MIB))


PLANS = [plan(1, 4), plan(10, 2), plan(3, 30), plan(40, 1), plan(0.5, 0.25)]


def test_made_up_numbers_come_back() -> None:
    peaks = [50 * MIB + 2.5 * p.weight_bytes + p.allocator_touched_bytes for p in PLANS]
    fit = fit_process_overhead(PLANS, peaks)
    assert fit.base_bytes == pytest.approx(50 * MIB, rel=1e-9)
    assert fit.per_weight_byte == pytest.approx(2.5, rel=1e-9)
    assert fit.spread_bytes < 1 and fit.worst_bytes < 1 and fit.networks == 5
    new = plan(7, 11)
    assert fit.process_peak_bytes(new) == pytest.approx((50 + 2.5 * 7 + 11) * MIB, rel=1e-9)


def test_packed_copies_stand_for_their_weights() -> None:
    """They are part of the allocator's memory, so the weights that they replace do not count again."""
    plans = [*PLANS, replace(plan(20, 25), replaced_weight_bytes=20 * MIB)]
    peaks = [(50 + 2) * MIB + 3 * p.weight_bytes + p.allocator_touched_bytes for p in PLANS] + [(52 + 25) * MIB]
    fit = fit_process_overhead(plans, peaks)
    assert fit.per_weight_byte == pytest.approx(3, rel=1e-9) and fit.spread_bytes < 1


def test_the_spread_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    plans = [plan(float(w), 1.0) for w in rng.uniform(0.1, 50, 400)]
    noise = rng.normal(0, 3 * MIB, 400)
    peaks = [80 * MIB + 2 * p.weight_bytes + p.allocator_touched_bytes + e for p, e in zip(plans, noise, strict=True)]
    fit = fit_process_overhead(plans, peaks)
    assert fit.spread_bytes == pytest.approx(3 * MIB, rel=0.1)
    assert fit.base_bytes == pytest.approx(80 * MIB, rel=0.02) and fit.per_weight_byte == pytest.approx(2, rel=0.03)
    assert fit.worst_bytes >= 2 * fit.spread_bytes


def test_neither_number_is_negative() -> None:
    shrinking = [60 * MIB - p.weight_bytes + p.allocator_touched_bytes for p in PLANS]
    fit = fit_process_overhead(PLANS, shrinking)
    assert fit.per_weight_byte == 0 and fit.base_bytes > 0
    tiny = [0.5 * p.weight_bytes + 0.25 * p.allocator_touched_bytes for p in PLANS]
    assert fit_process_overhead(PLANS, tiny).base_bytes >= 0


@pytest.mark.parametrize(
    ("plans", "peaks", "error", "text"),
    [
        (PLANS, [1e8] * 4, UsageError, "one measured peak for each of 5 plans, got 4"),
        (PLANS[:2], [1e8] * 2, UsageError, "at least 3 are needed"),
        (PLANS, [1e8, 1e8, float("nan"), 1e8, 1e8], InvalidData, "nan, allowed are finite numbers"),
        (PLANS, [1e8, 1e8, 0, 1e8, 1e8], InvalidData, "0, allowed are finite numbers"),
        ([plan(2, i) for i in range(4)], [1e8] * 4, InvalidData, "all 4 networks have 2097152 bytes"),
        ([*PLANS[:4], plan(9, 9, "torch")], [1e8] * 5, InvalidData, "several runtimes: onnxruntime, torch"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    plans: list[MemoryPlan], peaks: list[float], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        fit_process_overhead(plans, peaks)
    assert caught.value.hint  # type: ignore[attr-defined]
