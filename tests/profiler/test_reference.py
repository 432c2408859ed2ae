"""A machine that changes speed between invocations: the reference sentinel, remembered and recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiles.conditions import Conditions
from device_profiles.errors import SchemaMismatch
from profiler import compare, reference
from profiler.agent.protocol import Block
from profiler.conditions import conditions_of
from profiler.onnx_graph import read_graph
from profiler.records import ModelRow
from profiler.store import Store
from profiler.summary import estimates, latencies, measurements, reference_ns


@pytest.fixture
def conditions(fake: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Conditions:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    return conditions_of(fake())


@pytest.fixture
def measured(conditions: Conditions, conv_net: Callable[..., bytes], tmp_path: Path) -> Callable[..., Store]:
    """Makes a store of a model that takes 100 us, in one state of the machine for each process."""

    def make(name: str, *states: float, known: float | None = None) -> Store:
        store = Store(tmp_path / f"{name}.db")
        store.bind("fake", "{}", conditions)
        store.add_model(ModelRow("m", "a model", None, None), read_graph(conv_net()))
        facts = [] if known is None else [{"event": "reference", "sentinel_ns": known}]
        for state in states:
            process = store.start_process(conditions, name, seed=0)
            for index in range(15):
                guard = int(4000 * state)
                store.add_block(process, Block("m", index, 4, int(4 * 100_000 * state), guard, guard))
            store.end_process(process, state="finished", device_s=1.0, facts=facts)
        return store

    return make


def test_the_reference_is_no_lucky_reading() -> None:
    assert reference.of_sentinels([300.0] + [400.0] * 20) == 400.0
    assert reference.of_sentinels([300.0] * 3 + [400.0] * 17) == 300.0
    assert reference.of_sentinels([300.0, 400.0], [1.0, 99.0]) == 400.0
    with pytest.raises(ValueError):
        reference.of_sentinels([])


def test_what_processes_showed_is_remembered(conditions: Conditions) -> None:
    assert reference.remembered_ns(conditions) is None
    reference.remember(conditions, [])
    assert reference.remembered_ns(conditions) is None
    reference.remember(conditions, [500] * 100)
    assert reference.remembered_ns(conditions) == 500.0
    reference.remember(conditions, [400] * 20)
    assert reference.remembered_ns(conditions) == 400.0, "a sixth of all blocks is more than a tenth"
    assert reference.remembered_ns(conditions.changed(threads=2)) is None, "other conditions, other sentinels"


def test_the_memory_is_close_to_that_of_all_blocks_together(conditions: Conditions) -> None:
    rng = np.random.default_rng(0)
    everything = [list(map(int, rng.normal(1000, 100, 300))) for _ in range(20)]
    for sentinels in everything:
        reference.remember(conditions, sentinels)
    together = reference.of_sentinels(np.concatenate(everything).astype(float))
    assert reference.remembered_ns(conditions) == pytest.approx(together, rel=0.01)


def test_the_oldest_is_forgotten(conditions: Conditions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_PROCESSES", 3)
    for guard in (100, 500, 500, 500):
        reference.remember(conditions, [guard] * 10)
    assert reference.remembered_ns(conditions) == 500.0


@pytest.mark.parametrize("content", ["", "[]", '{"schema": "hwnas.sentinels/9", "processes": []}', '{"schema"'])
def test_a_damaged_memory_is_refused(conditions: Conditions, content: str, tmp_path: Path) -> None:
    reference.remember(conditions, [500])
    (file,) = (tmp_path / "cache" / "sentinels").iterdir()
    file.write_text(content)
    with pytest.raises(SchemaMismatch):
        reference.remembered_ns(conditions)


def test_a_slow_process_among_calm_ones_is_divided_by_its_slowdown(
    measured: Callable[..., Store], conditions: Conditions
) -> None:
    with measured("one", 1.0, 1.25, 1.0) as store:
        (one,) = measurements(store, conditions)
        assert one.latency.value_ms == pytest.approx(0.1)
        assert (one.latency.state, one.latency.processes, one.latency.blocks) == ("stable", 3, 45)
        assert [e.best_ns for e in estimates(store, conditions)["m"].values()] == pytest.approx([1e5] * 3)


def test_an_invocation_that_is_slow_throughout_agrees_once_the_device_is_known(
    measured: Callable[..., Store], conditions: Conditions
) -> None:
    with (
        measured("calm", 1.0, 1.0, 1.0) as calm,
        measured("known", 1.25, 1.25, 1.25, known=4000.0) as known,
        measured("unknown", 1.25, 1.25, 1.25) as unknown,
    ):
        one, two, three = (latencies(store, conditions)["m"] for store in (calm, known, unknown))
    assert two.value_ms == pytest.approx(one.value_ms) and two.state == "degraded"
    assert two.typical_ms == pytest.approx(0.125)
    assert two.low_ms <= one.value_ms <= two.high_ms and two.spread > one.spread
    assert (three.value_ms, three.state) == (pytest.approx(0.125), "stable"), "its own best is all that it knows"


def test_two_states_are_compared_against_one_reference(measured: Callable[..., Store], conditions: Conditions) -> None:
    with measured("calm", 1.0, 1.0, 1.0) as calm, measured("slow", 1.25, 1.25, 1.25) as slow:
        (row,) = compare(calm, slow)
    assert row.ratio == pytest.approx(1.0) and row.verdict == "no change"


def test_nothing_measured_has_no_reference(conditions: Conditions, tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        assert reference_ns(store, conditions) is None
        assert latencies(store, conditions) == {} and measurements(store, conditions) == ()
