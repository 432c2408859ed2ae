"""A large store is read by a few statements, however many models it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.pace import CONDITIONS, fill
from profiler import Budget, Store, compare
from profiler.measurement import Latency
from profiler.outstanding import complete_processes, outstanding
from profiler.summary import estimates, failures, latencies, measurements, settled

MODELS, PROCESSES, BLOCKS = 300, 4, 15
LEAST = 5


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """300 models and 18,000 blocks."""
    with Store(tmp_path_factory.mktemp("pace") / "large.db") as store:
        fill(store, models=MODELS, processes=PROCESSES, blocks=BLOCKS)
        yield store


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Store]:
    """Three models."""
    with Store(tmp_path / "small.db") as store:
        fill(store, models=3, processes=PROCESSES, blocks=BLOCKS)
        yield store


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """What the database is asked meanwhile."""
    seen: list[str] = []

    def saw(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement != "BEGIN":
            seen.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", saw)
    try:
        yield seen
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", saw)


def names(store: Store) -> list[str]:
    return list(store.models())


WORK: dict[str, tuple[Callable[[Store], Any], int]] = {
    "what is outstanding": (
        lambda store: outstanding(store, CONDITIONS, names(store), Budget(), least_blocks=LEAST),
        7,
    ),
    "complete processes": (
        lambda store: complete_processes(store, CONDITIONS, names(store), least_blocks=LEAST),
        2,
    ),
    "progress": (lambda store: store.progress(CONDITIONS), 1),
    "block counts": (lambda store: store.block_counts(CONDITIONS), 1),
    "estimates": (lambda store: estimates(store, CONDITIONS), 4),
    "latencies": (lambda store: latencies(store, CONDITIONS), 4),
    "failures": (lambda store: failures(store, CONDITIONS), 4),
    "measurements": (lambda store: measurements(store, CONDITIONS), 10),
    "forgetting failures": (lambda store: store.forget_failures(CONDITIONS), 1),
    "a comparison": (lambda store: compare(store, store), 20),
}


@pytest.mark.parametrize("work", WORK)
def test_statements_do_not_grow_with_the_models(large: Store, small: Store, work: str) -> None:
    function, most = WORK[work]
    with statements(large) as many:
        function(large)
    with statements(small) as few:
        function(small)
    assert len(many) == len(few) <= most, many


def test_blocks_are_read_once(large: Store) -> None:
    for work in ("what is outstanding", "latencies", "measurements", "failures"):
        with statements(large) as seen:
            WORK[work][0](large)
        whole = [text for text in seen if "blocks.ns" in text]
        assert len(whole) == 1, work


def test_blocks_are_not_read_where_no_interval_decides(large: Store) -> None:
    everything = Budget(min_processes=PROCESSES + 1, max_processes=20)
    enough = Budget(min_processes=1, max_processes=PROCESSES)
    for budget, count in ((everything, MODELS), (enough, 0)):
        with statements(large) as seen:
            assert len(outstanding(large, CONDITIONS, names(large), budget, least_blocks=LEAST)) == count
        assert not any("blocks.ns" in text for text in seen)


def test_the_aggregates_are_those_of_the_rows(large: Store) -> None:
    rows = large.blocks(CONDITIONS)
    assert len(rows) == MODELS * PROCESSES * BLOCKS == large.progress(CONDITIONS)[0]
    counts = large.block_counts(CONDITIONS)
    assert len(counts) == MODELS * PROCESSES and set(counts.values()) == {BLOCKS}
    assert counts.keys() == {(row.model, row.process) for row in rows}
    first = names(large)[0]
    assert complete_processes(large, CONDITIONS, [first, "unknown"], least_blocks=BLOCKS) == {
        first: PROCESSES,
        "unknown": 0,
    }
    assert complete_processes(large, CONDITIONS, [first], least_blocks=BLOCKS + 1) == {first: 0}


@pytest.mark.parametrize("spread", [0.001, 0.02, 0.03, 1.0])
def test_what_is_outstanding_is_what_the_rule_says_one_by_one(large: Store, spread: float) -> None:
    budget = Budget(spread=spread)
    known = latencies(large, CONDITIONS)

    def waits(latency: Latency) -> bool:
        return latency.spread > spread or latency.state != "stable"

    expected = [name for name in names(large) if waits(known[name])]
    assert outstanding(large, CONDITIONS, names(large), budget, least_blocks=LEAST) == expected
    assert expected == names(large) if spread == 0.001 else spread < 1.0 or not expected


# -- measured or failed, never both


@pytest.mark.parametrize(("processes", "measured"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_model_that_failed_later_is_measured_if_it_has_enough_processes(
    tmp_path: Path, processes: int, measured: bool
) -> None:
    with Store(tmp_path / "a.db") as store:
        _, later, _ = fill(store, models=3, processes=processes, blocks=6)
        store.add_failure(later, CONDITIONS, kind="InvalidModel", reason="it broke", hint="Mend it.")
        found = {row.model for row in measurements(store, CONDITIONS)}
        failed = {row.model for row in failures(store, CONDITIONS)}
        assert (later in found, later in failed) == (measured, not measured)
        assert found | failed == set(names(store)) and not found & failed
        for known in (estimates(store, CONDITIONS), latencies(store, CONDITIONS)):
            assert known.keys() == found, "what failed is nowhere a measurement"
        loose = settled(store, CONDITIONS, min_processes=processes)
        assert later in loose.latencies and not loose.failures
        assert later not in outstanding(store, CONDITIONS, names(store), Budget(), least_blocks=LEAST)
        (row,) = (row for row in compare(store, store) if row.key == f"{later}.onnx") if measured else (None,)
        assert row is None or row.verdict == "no change"


def test_a_comparison_says_that_a_model_failed(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as first, Store(tmp_path / "b.db") as second:
        model, _ = fill(first, models=2)
        fill(second, models=2, processes=1)
        second.add_failure(model, CONDITIONS, kind="InvalidModel", reason="it broke", hint="")
        rows = {row.key: row for row in compare(first, second)}
    assert rows["m0.onnx"].verdict == "not comparable" and "it broke" in rows["m0.onnx"].reason
    assert rows["m1.onnx"].verdict == "no change"
