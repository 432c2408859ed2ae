from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.statistics import (
    ProcessEstimate,
    best_sentinel_ns,
    combine,
    process_estimate,
    summarise,
)
from profiler.store import BlockRow

TIMES = st.floats(1e3, 1e9)


def estimate(per_call: Sequence[float], slowdown: Sequence[float]) -> ProcessEstimate:
    return process_estimate(np.array(per_call, dtype=np.float64), np.array(slowdown, dtype=np.float64))


def process(best_ns: float, *, calm: int = 15, correction: float = 1.0) -> ProcessEstimate:
    return ProcessEstimate(best_ns, best_ns * 1.1, 15, calm, correction)


def rows(process: int, times: Sequence[float], sentinel: float | Sequence[float], model: str = "m") -> list[BlockRow]:
    sentinels = [sentinel] * len(times) if isinstance(sentinel, (int, float)) else sentinel
    pairs = zip(times, sentinels, strict=True)
    return [BlockRow(process, "i", model, 4, int(4 * time), int(guard)) for time, guard in pairs]


def test_the_lowest_block_in_the_best_state_is_taken() -> None:
    found = estimate([100, 90, 95, 80, 99], [1.0, 1.05, 1.10, 1.3, 1.02])
    assert found == ProcessEstimate(best_ns=90.0, typical_ns=95.0, blocks=5, best_blocks=4, correction=1.0)


def test_without_three_calm_blocks_the_slowdown_is_divided_out() -> None:
    found = estimate([125, 130, 126, 140], [1.0, 1.25, 1.25, 1.25])
    tenth = 1.0 + 0.3 * 0.25  # the lowest tenth of four readings lies 0.3 of the way to the second
    assert found.best_blocks == 1
    assert found.correction == pytest.approx(tenth)
    assert found.best_ns == pytest.approx(125 / tenth)
    steady = estimate([125, 130, 126, 140], [1.25] * 4)
    assert (steady.correction, steady.best_ns, steady.typical_ns) == (1.25, 100.0, 128.0)


def test_a_sentinel_below_the_best_never_makes_a_model_slower() -> None:
    assert estimate([100, 110], [0.8, 0.9]).best_ns == 100.0


def test_three_processes_that_agree() -> None:
    latency = combine([process(1e6), process(1e6), process(1e6)])
    assert latency.value_ms == 1.0 and latency.typical_ms == pytest.approx(1.1)
    assert (latency.state, latency.processes, latency.blocks) == ("stable", 3, 45)
    # Nothing but the floor: t(0.975, 5) * sqrt(2 / 3 * 3 / 5) * 0.8 %.
    assert latency.spread == pytest.approx(2.5706 * np.sqrt(2 / 3 * 3 / 5) * 0.008, rel=1e-4)


def test_one_process_is_wide() -> None:
    alone = combine([process(1e6)])
    assert alone.spread == pytest.approx(3.1824 * np.sqrt(2.0) * 0.008, rel=1e-4)
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
    corrected = combine([process(1e6, calm=0, correction=1.2)] * 3)
    assert corrected.spread > 2 * plain.spread
    more = combine([process(1e6, calm=0, correction=1.2)] * 12)
    assert more.spread > 0.5 * corrected.spread, "an error that processes share does not average out"


@pytest.mark.parametrize(
    ("calm", "state"),
    [
        ((15, 15, 15), "stable"),
        ((15, 15, 0), "stable"),
        ((15, 0, 0), "degraded"),
        ((15, 0), "degraded"),
        ((2,), "degraded"),
    ],
)
def test_the_state_is_that_of_most_processes(calm: tuple[int, ...], state: str) -> None:
    assert combine([process(1e6, calm=blocks) for blocks in calm]).state == state


def test_the_best_sentinel_is_no_lucky_reading() -> None:
    lucky = rows(1, [1.0] * 21, [300.0] + [400.0] * 20)
    assert best_sentinel_ns(lucky) == 400.0
    slow = rows(2, [1.0] * 21, 500.0)
    assert best_sentinel_ns(lucky + slow) == 400.0
    assert best_sentinel_ns(slow) == 500.0
    with pytest.raises(ValueError):
        best_sentinel_ns([])


def test_a_process_in_a_slow_state_is_divided_by_its_slowdown() -> None:
    taken = rows(1, [100e3] * 10, 400.0) + rows(2, [125e3] * 10, 500.0) + rows(3, [100e3] * 10, 400.0)
    latency = summarise(taken)["m"]
    assert latency.value_ms == pytest.approx(0.1)
    assert latency.state == "stable" and latency.processes == 3 and latency.blocks == 30
    slow = summarise(rows(1, [125e3] * 10, 500.0), best_ns=400.0)["m"]
    assert slow.value_ms == pytest.approx(0.1)
    assert slow.typical_ms == pytest.approx(0.125)
    assert slow.state == "degraded"
    unknown = summarise(rows(1, [125e3] * 10, 500.0))["m"]
    assert (unknown.value_ms, unknown.state) == (pytest.approx(0.125), "stable"), "its own best is all that is known"


def test_models_are_summarised_apart_but_share_the_best_state() -> None:
    taken = rows(1, [100e3] * 5, 400.0, "a") + rows(2, [250e3] * 5, 500.0, "b")
    found = summarise(taken)
    assert set(found) == {"a", "b"}
    assert found["a"].value_ms == pytest.approx(0.1)
    assert found["b"].value_ms == pytest.approx(0.2)
    assert summarise([]) == {}
