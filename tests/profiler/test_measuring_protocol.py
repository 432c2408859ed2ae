"""The measuring loop on clocks that are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.agent import protocol
from profiler.agent.job import JobPlan
from profiler.agent.protocol import (
    DISCARDED_CALLS,
    Block,
    Meter,
    Work,
    blocks_wanted,
    clock_resolution_ns,
    measure,
    order,
    sentinels,
    warm_up,
    work_of,
)


class Machine:
    """A clock that ticks in steps, work that takes as long as it is told, and a log of what ran."""

    def __init__(self, tick_ns: int = 1, read_ns: int = 0) -> None:
        self.now = 0.0
        self.log: list[str] = []
        self._tick = tick_ns
        self._read = read_ns

    def clock(self) -> int:
        self.now += self._read
        return int(self.now // self._tick) * self._tick

    def work(self, name: str, cost: float | Sequence[float]) -> Callable[[], None]:
        """Work of a name; of a sequence of costs the last one stays."""
        costs = [cost] if isinstance(cost, (int, float)) else list(cost)

        def run() -> None:
            self.log.append(name)
            self.now += costs.pop(0) if len(costs) > 1 else costs[0]

        return run


def taken(
    machine: Machine, costs: dict[str, float], guard: float | Sequence[float], plan: JobPlan, calls: int = 4
) -> list[Block]:
    works = {name: Work(machine.work(name, cost), calls, cost) for name, cost in costs.items()}
    return list(measure(works, machine.work("guard", guard), Meter(machine.clock), plan))


@given(cost=st.floats(500.0, 5e6), tick=st.sampled_from([1, 100, 5_000, 50_000]))
def test_a_block_lasts_long_enough_for_the_clock_and_is_doubled_no_further(cost: float, tick: int) -> None:
    machine = Machine(tick_ns=tick, read_ns=20)
    calls = work_of(machine.work("a", cost), machine.clock, JobPlan(), int(cost)).calls
    floor = max(1_000_000, 1000 * max(tick, 20))
    assert calls * cost + tick >= floor
    assert calls == 4 or calls / 2 * cost <= floor + tick
    assert (calls // 4) & (calls // 4 - 1) == 0, "4, doubled"


def test_a_block_of_nothing_ends_too() -> None:
    machine = Machine(read_ns=1)
    assert work_of(machine.work("a", 0.0), machine.clock, JobPlan(), 0).calls == 1 << 20


def test_a_slow_call_is_not_made_again_to_find_how_many_a_block_needs() -> None:
    machine = Machine()
    work = work_of(machine.work("a", 6e9), machine.clock, JobPlan(), int(6e9))
    assert (work.calls, work.call_ns, machine.log) == (1, 6e9, [])
    assert work.discarded == 0, "what is cold is a small part of six seconds"
    assert Work(machine.work("b", 1e5), 10, 1e5).discarded == DISCARDED_CALLS
    assert Work(machine.work("c", 2e7), 3, 2e7).discarded == 2


def test_a_slow_model_takes_part_in_few_rounds_and_leaves_the_others_theirs() -> None:
    machine = Machine()
    plan = JobPlan(rounds=15, min_rounds=3, seconds=12.0)
    works = {
        "slow": Work(machine.work("slow", 6e9), 1, 6e9),
        "fast": Work(machine.work("fast", 2e4), 50, 2e4),
        "middle": Work(machine.work("middle", 2e7), 2, 2e7),
    }
    assert blocks_wanted(works, 1e5, plan) == {"slow": 3, "fast": 15, "middle": 15}
    told: list[tuple[str, float]] = []
    blocks = list(
        measure(
            works, machine.work("guard", 1e5), Meter(machine.clock), plan, starting=lambda n, ns: told.append((n, ns))
        )
    )
    rounds = [block.round for block in blocks if block.candidate == "slow"]
    assert len(rounds) == 3 and max(rounds) - min(rounds) >= 5, "evenly spread"
    assert machine.log.count("slow") == 3
    assert machine.now < 3 * 6e9 + 6e9
    assert [name for name, _ in told] == [block.candidate for block in blocks], "each is told before it is taken"
    assert all(6e9 <= ns < 7e9 for name, ns in told if name == "slow")


@given(block=st.floats(0.0, 1e10), guard=st.floats(1e4, 1e6))
def test_sentinels_grow_with_the_block_and_have_a_middle(block: float, guard: float) -> None:
    count = sentinels(block, guard)
    assert count % 2 == 1 and 1 <= count <= protocol.MOST_SENTINELS
    assert count == 1 or count * guard <= protocol.SENTINEL_SHARE * block + guard
    assert sentinels(1e6, 1e5) == 1


def test_a_long_block_stands_between_sentinels_of_its_length() -> None:
    """A sentinel that fits inside of one slice of the scheduler says nothing of a block of many."""
    machine = Machine()
    blocks = taken(machine, {"a": 1e8}, [1e6, *[1e6] * 3, 9e6, *[1e6] * 100], JobPlan(rounds=1, min_rounds=1), calls=1)
    assert blocks[0].sentinel_before_ns == blocks[0].sentinel_after_ns == 1_000_000, "the median, not the 9 ms"
    assert machine.log.count("guard") > 10


def test_blocks_tell_the_cpu_time_and_how_often_they_were_made_to_wait() -> None:
    machine = Machine()
    waits = iter([3, 5])
    works = {"a": Work(machine.work("a", 1e6), 4, 1e6)}
    meter = Meter(machine.clock, cpu=lambda: int(machine.now / 4), switches=lambda: next(waits))
    (block,) = measure(works, machine.work("guard", 1.0), meter, JobPlan(rounds=1, min_rounds=1))
    assert (block.ns, block.cpu_ns, block.switches) == (4_000_000, 1_000_000, 2)


@pytest.mark.parametrize(
    ("tick", "read", "seen"), [(1, 20, 20), (100, 20, 100), (15_000_000, 2_000, 15_000_000), (1, 0, 1)]
)
def test_the_resolution_of_the_clock_is_its_smallest_step(tick: int, read: int, seen: int) -> None:
    assert clock_resolution_ns(Machine(tick, read).clock) == seen


@given(count=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_order_is_a_cyclic_latin_square(count: int, seed: int) -> None:
    rounds = [order(index, count, seed) for index in range(count if count != 2 else 4)]
    for candidates in rounds:
        assert sorted(candidates) == list(range(count)), "each once in a round"
    for position in range(count):
        column = [candidates[position] for candidates in rounds]
        assert len({column.count(candidate) for candidate in range(count)}) == 1, "each as often at every place"
    if count > 2:
        for before, after in pairwise(rounds):
            assert after == before[1:] + before[:1]
        assert order(count, count, seed) == rounds[0]


@given(st.integers(0, 99))
def test_two_candidates_alternate_as_abba(seed: int) -> None:
    a, b = order(0, 2, seed)
    sequence = [candidate for index in range(8) for candidate in order(index, 2, seed)]
    assert sequence == [a, b, b, a, b, a, a, b] * 2


def test_the_seed_decides_who_is_first() -> None:
    assert len({tuple(order(0, 5, seed)) for seed in range(20)}) > 10
    assert order(3, 5, 7) == order(3, 5, 7)


def test_every_block_is_bracketed_by_sentinels_and_begins_with_discarded_calls() -> None:
    machine = Machine()
    blocks = taken(machine, {"a": 10.0, "b": 20.0, "c": 30.0}, 100.0, JobPlan(rounds=4), calls=5)
    assert len(blocks) == 12
    log = machine.log
    assert log[:2] == ["guard", "guard"], "once to warm it, once measured"
    expected = ["guard", "guard"]
    for block in blocks:
        expected += [block.candidate] * (DISCARDED_CALLS + 5) + ["guard", "guard"]
    assert log == expected
    for before, after in pairwise(blocks):
        assert after.sentinel_before_ns == before.sentinel_after_ns
    assert {block.candidate: block.ns for block in blocks} == {"a": 50, "b": 100, "c": 150}
    assert all(block.sentinel_before_ns == block.sentinel_after_ns == 100 for block in blocks)
    assert all((block.calls, block.retry) == (5, 0) for block in blocks)
    names = ["a", "b", "c"]
    for index in range(4):
        assert [b.candidate for b in blocks if b.round == index] == [names[i] for i in order(index, 3, 0)]


def test_a_slow_block_is_taken_again_and_both_are_kept() -> None:
    machine = Machine()
    # Each sentinel runs twice, once to warm it. The first ones are calm; both around the fourth block are slow.
    blocks = taken(machine, {"a": 10.0}, [100.0] * 6 + [150.0] * 4 + [100.0], JobPlan(rounds=6))
    retries = [block for block in blocks if block.retry]
    assert [(block.round, block.retry) for block in retries] == [(3, 1)]
    slow = [block for block in blocks if min(block.sentinel_before_ns, block.sentinel_after_ns) > 110]
    assert [(block.round, block.retry) for block in slow] == [(3, 0)]
    assert len(blocks) == 7 and {block.round for block in blocks} == set(range(6))


def test_a_block_with_one_calm_sentinel_is_not_slow() -> None:
    machine = Machine()
    blocks = taken(
        machine, {"a": 10.0}, [100.0] * 4 + [150.0] * 2 + [100.0] * 2 + [150.0] * 2 + [100.0], JobPlan(rounds=6)
    )
    assert len(blocks) == 6


def test_within_a_tenth_of_the_reference_is_calm() -> None:
    for ratio, count in ((1.10, 5), (1.11, 5 + 1)):
        plan = JobPlan(rounds=5, reference_ns=1000, retry_share=0.2)
        assert len(taken(Machine(), {"a": 10.0}, 1000 * ratio, plan)) == count


@given(rounds=st.integers(1, 12), models=st.integers(1, 3), share=st.floats(0.0, 1.5))
def test_a_machine_that_stays_slow_spends_the_budget_of_retries_and_no_more(
    rounds: int, models: int, share: float
) -> None:
    plan = JobPlan(rounds=rounds, min_rounds=1, retry_share=share, reference_ns=100)
    blocks = taken(Machine(), dict.fromkeys("abc"[:models], 10.0), 200.0, plan)
    retries = [block.retry for block in blocks if block.retry]
    assert len(retries) == min(int(share * rounds * models), 2 * rounds * models)
    assert max(retries, default=0) <= 2
    assert len(blocks) == rounds * models + len(retries)


def test_the_reference_of_earlier_processes_counts() -> None:
    plan = JobPlan(rounds=5)
    assert all(block.retry == 0 for block in taken(Machine(), {"a": 10.0}, 200.0, plan))
    assert any(block.retry for block in taken(Machine(), {"a": 10.0}, 200.0, replace(plan, reference_ns=100)))


def test_time_ends_the_rounds_but_not_before_the_least() -> None:
    plan = JobPlan(rounds=50, min_rounds=3, seconds=0.0)
    blocks = taken(Machine(), {"a": 10.0, "b": 10.0}, 1.0, plan)
    assert max(block.round for block in blocks) == 2 and len(blocks) == 6
    second = taken(Machine(), {"a": 1e8}, 1.0, JobPlan(rounds=50, min_rounds=1, seconds=2.0), calls=4)
    # A round takes 0.8 s, what is discarded included: the third begins before the time is up, the fourth would not.
    assert len(second) == 3


def test_blocks_come_as_they_are_taken() -> None:
    machine = Machine()
    works = {"a": Work(machine.work("a", 10.0), 4, 10.0)}
    blocks = measure(works, machine.work("guard", 1.0), Meter(machine.clock), JobPlan(rounds=9))
    next(blocks)
    assert machine.log.count("a") == DISCARDED_CALLS + 4, "the second block was not begun"


def test_warming_up_discards_the_first_call() -> None:
    machine = Machine()
    warm = warm_up(machine.work("a", [1e8, 1000.0]), machine.clock)
    assert warm == protocol.Warmup(calls=5, agreed=True)
    assert len(machine.log) == 5


def test_warming_up_goes_on_until_two_halves_agree() -> None:
    falling = [1e6 * 0.8**i + 1000.0 for i in range(60)]
    machine = Machine()
    warm = warm_up(machine.work("a", falling), machine.clock)
    assert warm.agreed
    assert warm.calls == 1 + 4 + 8 + 16 + 32 + 64 == len(machine.log), "batches are doubled"


def test_warming_up_is_capped() -> None:
    rising = [1e6 * 1.1**i for i in range(200)]
    machine = Machine()
    warm = warm_up(machine.work("a", rising), machine.clock)
    assert not warm.agreed and warm.calls == len(machine.log)
    slow_first = Machine()
    assert warm_up(slow_first.work("a", [1e9, 10.0]), slow_first.clock) == protocol.Warmup(1, False)
