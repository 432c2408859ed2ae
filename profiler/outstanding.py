"""What a campaign has still to measure: one look at the store, however many models it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from device_profiles.conditions import Conditions
from profiler.store import Store
from profiler.summary import latencies

if TYPE_CHECKING:
    from profiler.campaign import Budget


def complete_processes(
    store: Store, conditions: Conditions, models: Iterable[str], *, least_blocks: int
) -> dict[str, int]:
    """Processes that took at least the least number of blocks of each model."""
    counts = dict.fromkeys(models, 0)
    for (model, _), blocks in store.block_counts(conditions).items():
        if model in counts and blocks >= least_blocks:
            counts[model] += 1
    return counts


def outstanding(
    store: Store, conditions: Conditions, models: Sequence[str], budget: Budget, *, least_blocks: int
) -> list[str]:
    """Models without enough processes, or with too wide an interval and processes left to spend."""
    failed = store.failures(conditions)
    counts = complete_processes(store, conditions, models, least_blocks=least_blocks)
    most = max(budget.min_processes, budget.max_processes)
    left = [name for name in models if name not in failed and counts[name] < most]
    # Blocks are read only where their spread decides.
    measured = any(counts[name] >= budget.min_processes for name in left)
    summary = latencies(store, conditions) if measured else {}
    return [
        name
        for name in left
        if counts[name] < budget.min_processes or summary[name].spread > budget.spread or summary[name].disturbed
    ]
