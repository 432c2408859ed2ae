from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.records import BlockRow
from profiler.statistics import ProcessEstimate, by_process, combine, process_estimate

TIMES = st.floats(1e3, 1e9)


def estimate(per_call: Sequence[float], slowdown: Sequence[float]) -> ProcessEstimate:
    return process_estimate(np.array(per_call, dtype=np.float64), 400.0 * np.array(slowdown), 400.0)


def process(best_ns: float, *, calm: int = 15, slowdown: float = 1.0) -> ProcessEstimate:
    return ProcessEstimate(best_ns, best_ns * 1.1, 15, calm, slowdown)


def test_the_lower_quartile_is_divided_by_that_of_the_sentinels() -> None:
    found = estimate([100, 90, 130, 80, 99], [1.0, 1.0, 1.25, 1.0, 1.0])
    assert found == ProcessEstimate(best_ns=90.0, typical_ns=99.0, blocks=5, best_blocks=4, slowdown=1.0)
    steady = estimate([125, 130, 125, 125, 140], [1.25] * 5)
    assert (steady.best_ns, steady.typical_ns, steady.slowdown) == (100.0, 125.0, 1.25)
    assert not steady.calm and found.calm


@given(st.lists(st.tuples(TIMES, st.floats(1.0, 2.0)), min_size=1, max_size=30), st.floats(1.0, 2.0))
def test_a_state_that_slows_all_alike_changes_nothing(blocks: list[tuple[float, float]], state: float) -> None:
    times, slowdowns = [time for time, _ in blocks], [slowdown for _, slowdown in blocks]
    slower = estimate([time * state for time in times], [slowdown * state for slowdown in slowdowns])
    assert slower.best_ns == pytest.approx(estimate(times, slowdowns).best_ns)


def test_sentinels_that_are_disturbed_alone_make_nothing_faster() -> None:
    rng = np.random.default_rng(0)
    noisy = [estimate([100.0] * 60, 1.0 + 0.2 * np.abs(rng.standard_normal(60))).best_ns for _ in range(200)]
    # Divided one by one, the lower quartile would be 100 / (1 + 0.2 * 1.15) = 81.
    assert 93.0 < np.mean(noisy) < 96.0  # the quartile of the sentinels is 1.06


@pytest.mark.parametrize(("share", "inside"), [(1.0, True), (0.5, True), (-0.5, False)])
def test_a_network_that_slows_half_as_much_as_the_sentinel_is_inside(share: float, inside: bool) -> None:
    """It takes 1.6^share in a state in which the sentinel takes 1.6."""
    taken = 1e6 * 1.6**share
    found = combine([process(taken / 1.6, calm=0, slowdown=1.6)] * 3)
    assert (found.low_ms <= 1.0 <= found.high_ms) is inside


def test_an_interruption_of_few_blocks_changes_nothing() -> None:
    assert estimate([100] * 12 + [900] * 8, [1.0] * 20).best_ns == 100.0


@pytest.mark.parametrize(("calm", "of", "is_calm"), [(4, 15, True), (3, 15, False), (1, 4, True), (0, 1, False)])
def test_a_process_is_calm_if_a_quarter_of_its_blocks_are(calm: int, of: int, is_calm: bool) -> None:
    assert estimate([100.0] * of, [1.10] * calm + [1.11] * (of - calm)).calm is is_calm


def test_three_processes_that_agree() -> None:
    latency = combine([process(1e6), process(1e6), process(1e6)])
    assert latency.value_ms == 1.0 and latency.typical_ms == pytest.approx(1.1)
    assert (latency.state, latency.processes, latency.blocks) == ("stable", 3, 45)
    # Nothing but the floor: t(0.975, 5) * sqrt(2 / 3 * 3 / 5) * 1.2 %.
    assert latency.spread == pytest.approx(2.5706 * np.sqrt(2 / 3 * 3 / 5) * 0.012, rel=1e-4)


def test_one_process_is_wide() -> None:
    alone = combine([process(1e6)])
    assert alone.spread == pytest.approx(3.1824 * np.sqrt(2.0) * 0.012, rel=1e-4)
    assert alone.spread > combine([process(1e6)] * 2).spread > combine([process(1e6)] * 5).spread


@given(st.lists(TIMES, min_size=1, max_size=8))
def test_the_interval_contains_the_value(times: list[float]) -> None:
    latency = combine([process(time) for time in times])
    assert 0.0 <= latency.low_ms <= latency.value_ms <= latency.high_ms
    assert latency.value_ms == pytest.approx(np.median(times) / 1e6)
    assert min(times) / 1e6 <= latency.value_ms * (1 + 1e-12)
    assert latency.value_ms <= max(times) / 1e6 * (1 + 1e-12)
    assert latency.low_ms < latency.high_ms


@given(
    offsets=st.lists(st.floats(0.001, 0.02), min_size=1, max_size=4),
    factor=st.floats(1.1, 5.0),
    centre=TIMES,
)
def test_the_interval_widens_with_the_spread(offsets: list[float], factor: float, centre: float) -> None:
    def half(scale: float) -> float:
        both = [centre] + [centre * (1 + sign * scale * offset) for offset in offsets for sign in (1, -1)]
        return combine([process(time) for time in both]).high_ms - centre / 1e6

    assert half(factor) > half(1.0) > 0


@given(st.lists(TIMES, min_size=1, max_size=6), st.floats(0.01, 100.0))
def test_the_unit_does_not_matter(times: list[float], factor: float) -> None:
    one = combine([process(time) for time in times])
    other = combine([process(time * factor) for time in times])
    assert other.value_ms == pytest.approx(one.value_ms * factor)
    assert other.high_ms == pytest.approx(one.high_ms * factor)


def test_a_correction_widens_the_interval() -> None:
    plain = combine([process(1e6)] * 3)
    corrected = combine([process(1e6, calm=0, slowdown=1.3)] * 3)
    assert corrected.spread > 2 * plain.spread
    more = combine([process(1e6, calm=0, slowdown=1.3)] * 12)
    assert more.spread > 0.5 * corrected.spread, "an error that processes share does not average out"


@pytest.mark.parametrize(
    ("calm", "state"),
    [
        ((15, 15, 15), "stable"),
        ((15, 15, 0), "stable"),
        ((15, 0, 0), "degraded"),
        ((15, 0), "degraded"),
        ((3,), "degraded"),
    ],
)
def test_the_state_is_that_of_most_processes(calm: tuple[int, ...], state: str) -> None:
    assert combine([process(1e6, calm=blocks) for blocks in calm]).state == state


def test_rows_are_grouped_by_model_and_process() -> None:
    rows = [
        BlockRow(process, "i", model, 4, int(4 * ns), 400)
        for model, process, ns in (("a", 1, 1e5), ("b", 1, 2e5), ("a", 2, 3e5), ("a", 1, 1e5))
    ]
    found = by_process(rows, 400.0)
    assert {model: {number: one.best_ns for number, one in each.items()} for model, each in found.items()} == {
        "a": {1: 1e5, 2: 3e5},
        "b": {1: 2e5},
    }
    assert by_process([], 400.0) == {}


# -- others take the CPU


def contended(disturbed: int, of: int = 10, *, share: float = 0.5) -> list[BlockRow]:
    """Blocks of 1 ms a call, some of which had the CPU for a share of twice that time."""
    rows = []
    for number in range(of):
        taken = 2_000_000 if number < disturbed else 1_000_000
        cpu = int(share * taken) if number < disturbed else taken
        rows.append(BlockRow(1, "i", "a", 1, taken, 400, cpu, 3 if number < disturbed else 0))
    return rows


@pytest.mark.parametrize(("disturbed", "is_contended"), [(0, False), (5, False), (6, True), (10, True)])
def test_a_process_is_contended_if_others_disturbed_most_of_its_blocks(disturbed: int, is_contended: bool) -> None:
    found = by_process(contended(disturbed), 400.0)["a"][1]
    assert (found.contended, found.contended_blocks) == (is_contended, disturbed)
    assert found.best_ns == pytest.approx(1e6), "a block that had to wait stands with its CPU time"
    latency = combine([found] * 3)
    assert ("contention" in latency.causes) == is_contended
    calm = combine([by_process(contended(0), 400.0)["a"][1]] * 3)
    assert (latency.high_ms - latency.value_ms > 2 * (calm.high_ms - calm.value_ms)) == is_contended


def test_time_that_nobody_took_stands_as_it_is() -> None:
    """A thread that sleeps by itself has less CPU time, and waits for nobody."""
    rows = [row._replace(switches=0) for row in contended(10)]
    found = by_process(rows, 400.0)["a"][1]
    assert not found.contended and found.best_ns == pytest.approx(2e6)
    unknown = by_process([row._replace(cpu_ns=None, switches=None) for row in contended(10)], 400.0)["a"][1]
    assert not unknown.contended and unknown.best_ns == pytest.approx(2e6)
