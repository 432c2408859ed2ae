"""What would disturb a campaign on a device, each with its remedy, from half a minute of its sentinel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from profiler.agent.job import JobPlan
from profiler.agent.sentinel import REFERENCE_QUANTILE

#: A share of slow looks, a temperature, a rise of it, a load and a free space from which on they are told.
SLOW_SHARE, HOT_C, RISE_C, LOAD, FREE_BYTES = 0.1, 80.0, 10.0, 0.5, 1 << 30


@dataclass(frozen=True)
class Steadiness:
    """How steady a device is.

    Attributes:
        sentinel_ms: its median time.
        slow_share: share of the looks that were over `JobPlan.slow_ratio` of its reference.
        spread: ninth over first decile, less 1.
        disturbances: what would disturb a campaign, with what to do about it.
    """

    sentinel_ms: float
    slow_share: float
    spread: float
    disturbances: tuple[tuple[str, str], ...]


def judge(said: Mapping[str, Any]) -> Steadiness:
    """What `profiler.agent.checks.watch` saw, judged."""
    times = np.array(said["sentinel_ns"], dtype=float)
    low, reference, median, high = np.quantile(times, (0.1, REFERENCE_QUANTILE, 0.5, 0.9))
    slow = float(np.mean(times > JobPlan().slow_ratio * reference))
    found = []
    if "missing" in said:
        found.append((f"its runtime cannot be used: {said['missing']}", "hwnas devices deploy TARGET"))
    if slow > SLOW_SHARE:
        found.append((f"it is in a slower state {slow:.0%} of the time", "stop other programs, fix the clock, cool it"))
    if said["load"] > LOAD:
        found.append((f"others work on it: load {said['load']:.1f} before we came", "stop them, or give it more time"))
    if said["governor"] not in ("", "performance"):
        found.append((f"its clock follows {said['governor']!r}", "sudo cpupower frequency-set -g performance"))
    found += _warm(said["before_c"], said["after_c"])
    if said["swapping"]:
        found.append(("it swaps", "stop what fills its memory, or measure smaller models"))
    if said["free_bytes"] < FREE_BYTES:
        found.append((f"its disk has {said['free_bytes'] / 2**30:.1f} GiB left", "free some: models are sent there"))
    return Steadiness(median / 1e6, slow, float(high / low - 1.0), tuple(found))


def _warm(before: Mapping[str, float], after: Mapping[str, float]) -> list[tuple[str, str]]:
    """What temperatures say."""
    if not after:
        return []
    zone = max(after, key=after.__getitem__)
    rise = after[zone] - before.get(zone, after[zone])
    advice = "cool it, or set cool_below_c in [access.options]"
    if after[zone] >= HOT_C:
        return [(f"{zone} is at {after[zone]:.0f} C: it will throttle", advice)]
    if rise >= RISE_C:
        return [(f"{zone} rose by {rise:.0f} C in half a minute of light work", advice)]
    return []
