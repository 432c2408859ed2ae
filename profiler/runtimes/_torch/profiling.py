"""Times of kernels by torch's profiler."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from profiler.runtimes._host import undisturbed

#: Inferences before a profile.
WARM_RUNS = 3


def kernel_times(
    run: Callable[[], object],
    runs: int,
    names: Sequence[str],
    within: str,
    prefix: str = "^$",
    *,
    on_device: bool = False,
) -> tuple[list[float], float] | None:
    """Mean times of kernels and of a whole run, in ns; what else runs between the kernels belongs to none.

    Args:
        run: one inference.
        runs: how many.
        names: of the kernels, in the order in which they run.
        within: how the range begins in which they run, one range an inference.
        prefix: pattern of what stands before the names of events.
        on_device: times are those of the GPU, for what each kernel started there.

    Returns:
        None where the profiler saw other kernels.
    """
    from torch.profiler import ProfilerActivity, profile

    for _ in range(WARM_RUNS):
        run()
    times_ns = []
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
    with profile(activities=activities) as seen:
        for _ in range(runs):
            start = time.perf_counter_ns()
            run()
            times_ns.append(time.perf_counter_ns() - start)
    pattern, clock = re.compile(prefix), "device_time_total" if on_device else "cpu_time_total"
    rows = [_matched(names, row, pattern, clock) for row in _ranges(seen.events(), within)]
    if not names:
        rows = [[] for _ in range(runs)]
    known = [row for row in rows if row is not None]
    if len(rows) != runs or len(known) != runs:
        return None
    means_ns = undisturbed(np.array(known, dtype=float).reshape(runs, len(names)))
    return means_ns.tolist(), float(undisturbed(times_ns))


def _ranges(events: Sequence[Any], within: str) -> list[list[Any]]:
    """For each inference, the events directly inside of its range, in order."""
    rows: dict[int, list[Any]] = {id(one): [] for one in events if one.name.startswith(within)}
    for one in sorted(events, key=lambda event: event.time_range.start):
        if one.cpu_parent is not None and id(one.cpu_parent) in rows:
            rows[id(one.cpu_parent)].append(one)
    return list(rows.values())


def _matched(names: Sequence[str], events: Sequence[Any], prefix: re.Pattern[str], clock: str) -> list[float] | None:
    """Times of the kernels in ns, in order; None where one is missing."""
    times_ns: list[float] = []
    for one in events:
        if len(times_ns) < len(names) and prefix.sub("", one.name) == names[len(times_ns)]:
            times_ns.append(getattr(one, clock) * 1e3)
    return times_ns if len(times_ns) == len(names) else None
