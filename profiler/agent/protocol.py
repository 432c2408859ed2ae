"""The measuring loop: pure functions of callables, a clock and a plan.

Candidates are measured in rounds, in an order that is rotated per round (a cyclic Latin square over a seeded
permutation), so that drift hits all alike. Every block is bracketed by the guard sentinel; the sentinel after one block
is the one before the next. Slow candidates take part in few of the rounds, evenly spread.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from profiler.agent.job import JobPlan
from profiler.agent.sentinel import REFERENCE_QUANTILE

Clock = Callable[[], int]
Call = Callable[[], object]

#: Ticks of the clock that a block must last, so that the clock's resolution is below 1e-3 of it.
RESOLUTIONS_PER_BLOCK = 1000
WARMUP_AGREEMENT = 0.05

#: Calls discarded at the start of a block: the first after other models ran took 14 % longer, the fourth under 1 %.
DISCARDED_CALLS = 4
#: Slow calls are discarded for this long at the most: what was cold is a small part of them.
DISCARDED_NS = 50_000_000
#: A block that lasts this long needs no further calls.
LONG_BLOCK_NS = 50_000_000
_MOST_SPINS = 1_000_000
WARMUP_CAP_NS = 300_000_000

#: The sentinel around a block takes this share of its time, so that it sees the states of the machine that the block
#: sees: one of 0.1 ms fits inside of one slice of the scheduler, a block of 130 ms does not.
SENTINEL_SHARE = 0.05
MOST_SENTINELS = 101


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
class Work:
    """One candidate in a worker.

    Attributes:
        call: one inference.
        calls: timed calls in a block.
        call_ns: time of one, roughly.
    """

    call: Call
    calls: int
    call_ns: float

    @property
    def discarded(self) -> int:
        """Calls before the timed ones: at most `DISCARDED_CALLS`, and none where one call takes ten times that long."""
        if self.call_ns > 10 * DISCARDED_NS:
            return 0
        return min(DISCARDED_CALLS, max(1, int(DISCARDED_NS / max(self.call_ns, 1.0))))

    def block_ns(self, guard_ns: float) -> float:
        """Time of a block with what surrounds it, roughly."""
        timed = self.calls * self.call_ns
        return timed + self.discarded * self.call_ns + sentinels(timed, guard_ns) * guard_ns


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
        cpu_ns: CPU time of the calling thread meanwhile, or None where the clock is not that of this machine.
        switches: how often the process was made to wait for others meanwhile, or None as above.
    """

    candidate: str
    round: int
    calls: int
    ns: int
    sentinel_before_ns: int
    sentinel_after_ns: int
    retry: int = 0
    cpu_ns: int | None = None
    switches: int | None = None


@dataclass(frozen=True)
class Meter:
    """What a block is timed with.

    Attributes:
        clock: nanoseconds.
        cpu: nanoseconds of CPU time of this thread, or None.
        switches: involuntary ones of this process so far, or None.
    """

    clock: Clock
    cpu: Clock | None = None
    switches: Clock | None = None


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


def sentinels(block_ns: float, guard_ns: float) -> int:
    """How often the guard runs beside a block: once, or an odd number that takes `SENTINEL_SHARE` of it."""
    wanted = int(SENTINEL_SHARE * block_ns / max(guard_ns, 1.0))
    return min(max(1, wanted | 1), MOST_SENTINELS)


def sentinel_ns(guard: Call, clock: Clock, repeats: int = 1) -> int:
    """Time of the guard once warm (after a large model ran it is out of the caches too); the median of `repeats`."""
    guard()
    return sorted(time_calls(guard, 1, clock) for _ in range(repeats))[repeats // 2]


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


def work_of(call: Call, clock: Clock, plan: JobPlan, first_ns: int) -> Work:
    """How a candidate is measured: calls are doubled until a block lasts `min_block_ns` and 1000 ticks of the clock.

    Args:
        call: one inference.
        clock: nanoseconds.
        plan: see `JobPlan`.
        first_ns: time of a call that was timed before; a slow one is not called again to find out.
    """
    if first_ns >= LONG_BLOCK_NS:
        return Work(call, 1, float(first_ns))
    floor = max(plan.min_block_ns, RESOLUTIONS_PER_BLOCK * clock_resolution_ns(clock))
    calls = max(1, min(plan.min_calls, int(LONG_BLOCK_NS / max(first_ns, 1))))
    while (taken := time_calls(call, calls, clock)) < floor and calls < 1 << 20:
        calls *= 2
    return Work(call, calls, taken / calls)


def order(round_index: int, count: int, seed: int) -> list[int]:
    """The candidates of a round: a seeded permutation, rotated by one a round; two candidates alternate as ABBA."""
    permutation = [int(i) for i in np.random.default_rng(seed).permutation(count)]
    if count == 2:
        return permutation if round_index % 4 in (0, 3) else permutation[::-1]
    shift = round_index % max(count, 1)
    return permutation[shift:] + permutation[:shift]


def blocks_wanted(works: Mapping[str, Work], guard_ns: float, plan: JobPlan) -> dict[str, int]:
    """Blocks of each candidate: as many as its share of the time allows, `min_rounds` at least and `rounds` at most."""
    share_ns = plan.seconds * 1e9 / max(len(works), 1)
    least = min(plan.min_rounds, plan.rounds)
    return {
        name: min(max(int(share_ns / max(work.block_ns(guard_ns), 1.0)), least), plan.rounds)
        for name, work in works.items()
    }


def measure(
    works: Mapping[str, Work],
    guard: Call,
    meter: Meter,
    plan: JobPlan,
    *,
    starting: Callable[[str, float], None] = lambda name, ns: None,
) -> Iterator[Block]:
    """Take interleaved blocks; each is yielded as soon as it is taken.

    The first calls of every block are discarded: after other candidates ran, its weights are out of the caches.

    Args:
        works: the candidates, by id.
        guard: the guard sentinel.
        meter: clocks.
        plan: rounds, times and repeats.
        starting: told before each block whose it is, and how long it will take, roughly, in ns.

    Yields:
        Blocks in the order they were taken, those that were taken again included.
    """
    names, clock = list(works), meter.clock
    seen: list[int] = []
    start = clock()
    before = sentinel_ns(guard, clock)
    wanted = blocks_wanted(works, before, plan)
    rounds = max(wanted.values(), default=0)
    taken = dict.fromkeys(names, 0)
    retries_left = int(plan.retry_share * sum(wanted.values()))
    for round_index in range(rounds):
        for position in order(round_index, len(names), plan.seed):
            name = names[position]
            work = works[name]
            due = (round_index + 1) * wanted[name] // rounds > round_index * wanted[name] // rounds
            late = clock() - start > plan.seconds * 1e9
            if not due or (late and taken[name] >= plan.min_rounds):
                continue
            repeats = sentinels(work.calls * work.call_ns, before)
            if repeats > 1:  # the one after the block before was as long as that block asked for
                before = sentinel_ns(guard, clock, repeats)
            retry = 0
            while True:
                starting(name, work.block_ns(before))
                block = _block(name, round_index, work, guard, meter, before, repeats, retry)
                state = min(before, block.sentinel_after_ns)
                bisect.insort(seen, state)
                usual = seen[int(REFERENCE_QUANTILE * len(seen))]
                reference = usual if plan.reference_ns is None else min(usual, plan.reference_ns)
                yield block
                before = block.sentinel_after_ns
                slow = state > plan.slow_ratio * reference
                late = clock() - start > plan.seconds * 1e9
                if not slow or late or retries_left == 0 or retry == 2:
                    break
                retry += 1
                retries_left -= 1
            taken[name] += 1


def _block(
    name: str, round_index: int, work: Work, guard: Call, meter: Meter, before: int, repeats: int, retry: int
) -> Block:
    for _ in range(work.discarded):
        work.call()
    switches = None if meter.switches is None else meter.switches()
    cpu = None if meter.cpu is None else meter.cpu()
    ns = time_calls(work.call, work.calls, meter.clock)
    cpu_ns = None if meter.cpu is None or cpu is None else meter.cpu() - cpu
    waited = None if meter.switches is None or switches is None else meter.switches() - switches
    after = sentinel_ns(guard, meter.clock, repeats)
    return Block(name, round_index, work.calls, ns, before, after, retry, cpu_ns, waited)
