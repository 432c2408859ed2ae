"""Models that were measured in turns, in the same processes: the ratio of two of them is free of the machine's state.

The latency of one model is uncertain by what the machine did meanwhile: a state in which everything takes 1.2 times as
long is divided out by a sentinel, and only nearly so. Two models whose blocks took turns went through the same states,
so their ratio is known far better than either. It is the ratio in those states: models that wait for memory slow down
less than others, so on a machine that is calmer than it was it may be another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from device_profiles.conditions import Conditions
from profiler.statistics import FEWEST_PROCESSES, FLOOR_PROCESSES, FLOOR_SPREAD, cpu_ns_of, student
from profiler.store import Store

#: Rounds that a process must have of both.
FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Ratio:
    """Latency of the second of two models over that of the first, in the states that they were measured in.

    Attributes:
        value: the median over processes.
        low: lower end of its interval.
        high: upper end.
        processes: that measured both.
    """

    value: float
    low: float
    high: float
    processes: int

    @property
    def apart(self) -> bool:
        """Whether the interval excludes 1."""
        return self.low > 1.0 or self.high < 1.0


def ratios(
    store: Store, conditions: Conditions, models: Sequence[str], *, confidence: float = 0.9
) -> dict[tuple[str, str], Ratio]:
    """The ratio of each pair of models, in the order given, that at least three processes measured in turns.

    Args:
        store: the measurements.
        conditions: of them.
        models: ids in the store.
        confidence: of the intervals, above 0 and below 1.
    """
    wanted = set(models)
    times: dict[str, dict[int, list[float]]] = {model: {} for model in models}
    for row in store.blocks(conditions):
        if row.model in wanted:
            times[row.model].setdefault(row.process, []).append(cpu_ns_of(row) / row.calls)
    found = {}
    for first, second in combinations(dict.fromkeys(models), 2):
        shared = [
            _in_turns(times[first][process], times[second][process])
            for process in times[first]
            if process in times[second]
        ]
        logs = np.array([log for log in shared if log is not None])
        if len(logs) >= FEWEST_PROCESSES:
            found[first, second] = combined(logs, confidence)
    return found


def _in_turns(first: list[float], second: list[float]) -> float | None:
    """Median logarithm of the ratio of blocks of the same round; None where there are few of them."""
    rounds = min(len(first), len(second))
    if rounds < FEWEST_ROUNDS:
        return None
    return float(np.median(np.log(second[:rounds]) - np.log(first[:rounds])))


def combined(logs: NDArray[np.float64], confidence: float) -> Ratio:
    """One ratio from its logarithms in fresh processes, `(n,)`, by Student's t across them.

    Where models lie in memory stays for a process, so its variance is pooled with a floor, as that of one latency is;
    that of a ratio is the floor of two.
    """
    count, centre = len(logs), float(np.median(logs))
    freedom = count - 1 + FLOOR_PROCESSES
    pooled = (float(((logs - logs.mean()) ** 2).sum()) + FLOOR_PROCESSES * 2.0 * FLOOR_SPREAD**2) / freedom
    half = student(freedom, confidence) * math.sqrt(pooled / count)
    return Ratio(math.exp(centre), math.exp(centre - half), math.exp(centre + half), count)
