"""The measuring loop: pure functions of callables, a clock and a plan.

Candidates are measured in rounds, in an order that is rotated per round (a cyclic Latin square over a seeded
permutation), so that drift hits all alike. Every block is bracketed by the guard sentinel; the sentinel after one block
is the one before the next.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from profiler.agent.job import Plan
from profiler.agent.sentinel import REFERENCE_QUANTILE

Clock = Callable[[], int]
Call = Callable[[], None]

#: Ticks of the clock that a block must last, so that the clock's resolution is below 1e-3 of it.
RESOLUTIONS_PER_BLOCK = 1000
WARMUP_AGREEMENT = 0.05

#: Calls discarded at the start of a block: the first after other models ran took 14 % longer, the fourth under 1 %.
DISCARDED_CALLS = 4
_MOST_SPINS = 1_000_000
WARMUP_CAP_NS = 300_000_000


@dataclass(frozen=True)
class Warmup:
    """How a candidate was warmed up.

    Attributes:
        calls: inferences spent.
        agreed: whether two halves of the last batch agreed within 5 % before the cap.
    """

    calls: int
    agreed: bool


@dataclass(frozen=True)
class Block:
    """Consecutive calls of one candidate.

    Attributes:
        candidate: its id.
        round: which round, from 0.
        calls: timed calls.
        ns: their time together.
        sentinel_before_ns: the guard sentinel just before.
        sentinel_after_ns: and just after.
        retry: 0, or which repeat of a slow block this is.
    """

    candidate: str
    round: int
    calls: int
    ns: int
    sentinel_before_ns: int
    sentinel_after_ns: int
    retry: int = 0


def clock_resolution_ns(clock: Clock, tries: int = 50) -> int:
    """Smallest step of the clock that was seen, at least 1; a clock that stands still is given up."""
    smallest = 0
    for _ in range(tries):
        start = now = clock()
        spins = 0
        while now == start:
            now = clock()
            spins += 1
            if spins > _MOST_SPINS:
                return max(1, smallest)
        smallest = min(smallest, now - start) if smallest else now - start
    return max(1, smallest)


def time_calls(call: Call, calls: int, clock: Clock) -> int:
    """Nanoseconds of `calls` consecutive calls."""
    repeats = range(calls)
    start = clock()
    for _ in repeats:
        call()
    return clock() - start


def sentinel_ns(guard: Call, clock: Clock) -> int:
    """Time of the guard, once warm: after a large model ran it is out of the caches too."""
    guard()
    return time_calls(guard, 1, clock)


def warm_up(call: Call, clock: Clock) -> Warmup:
    """Call until two halves of a batch agree within 5 %, at most 0.3 s; the first call is always discarded."""
    start = clock()
    call()
    calls, batch = 1, 4
    while clock() - start < WARMUP_CAP_NS:
        times = [time_calls(call, 1, clock) for _ in range(batch)]
        calls += batch
        first, second = float(np.median(times[: batch // 2])), float(np.median(times[batch // 2 :]))
        if abs(first - second) <= WARMUP_AGREEMENT * second:
            return Warmup(calls, True)
        batch *= 2
    return Warmup(calls, False)


def block_calls(call: Call, clock: Clock, plan: Plan) -> int:
    """Calls a block needs: doubled until it lasts `min_block_ns` and 1000 ticks of the clock."""
    floor = max(plan.min_block_ns, RESOLUTIONS_PER_BLOCK * clock_resolution_ns(clock))
    calls = plan.min_calls
    while time_calls(call, calls, clock) < floor and calls < 1 << 20:
        calls *= 2
    return calls


def order(round_index: int, count: int, seed: int) -> list[int]:
    """The candidates of a round: a seeded permutation, rotated by one a round; two candidates alternate as ABBA."""
    permutation = [int(i) for i in np.random.default_rng(seed).permutation(count)]
    if count == 2:
        return permutation if round_index % 4 in (0, 3) else permutation[::-1]
    shift = round_index % max(count, 1)
    return permutation[shift:] + permutation[:shift]


def measure(
    calls: Mapping[str, Call], counts: Mapping[str, int], guard: Call, clock: Clock, plan: Plan
) -> Iterator[Block]:
    """Take interleaved blocks; each is yielded as soon as it is taken.

    The first calls of every block are discarded: after other candidates ran, its weights are out of the caches.

    Args:
        calls: one inference of each candidate, by id.
        counts: timed calls in a block of each.
        guard: the guard sentinel.
        clock: nanoseconds.
        plan: rounds, times and repeats.

    Yields:
        Blocks in the order they were taken, those that were taken again included.
    """
    names = list(calls)
    seen: list[int] = []
    retries_left = int(plan.retry_share * plan.rounds * len(names))
    start = clock()
    before = sentinel_ns(guard, clock)
    for round_index in range(plan.rounds):
        if round_index >= plan.min_rounds and clock() - start > plan.seconds * 1e9:
            return
        for position in order(round_index, len(names), plan.seed):
            name = names[position]
            retry = 0
            while True:
                for _ in range(DISCARDED_CALLS):
                    calls[name]()
                ns = time_calls(calls[name], counts[name], clock)
                after = sentinel_ns(guard, clock)
                state = min(before, after)
                bisect.insort(seen, state)
                usual = seen[int(REFERENCE_QUANTILE * len(seen))]
                reference = usual if plan.reference_ns is None else min(usual, plan.reference_ns)
                yield Block(name, round_index, counts[name], ns, before, after, retry)
                before = after
                slow = state > plan.slow_ratio * reference
                if not slow or retries_left == 0 or retry == 2:
                    break
                retry += 1
                retries_left -= 1
