"""Many groups reduced at once give what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.groups import Groups
from profiler.records import BlockRow
from profiler.statistics import by_process, process_estimate

VALUES = st.floats(1e-3, 1e12)
ROWS = st.lists(st.tuples(st.sampled_from("abcd"), VALUES), min_size=1, max_size=60)


@given(ROWS, st.floats(0.0, 1.0))
def test_quantiles_are_those_of_numpy(rows: list[tuple[str, float]], q: float) -> None:
    values = np.array([value for _, value in rows])
    groups = Groups.of([key for key, _ in rows])
    found = groups.quantile(values, q)
    for key, quantile in zip(groups.keys, found, strict=True):
        own = np.array([value for name, value in rows if name == key])
        assert quantile == pytest.approx(float(np.quantile(own, q)), rel=1e-12)
        assert own.min() <= quantile <= own.max()


@given(ROWS)
def test_counts_and_the_order_of_keys(rows: list[tuple[str, float]]) -> None:
    groups = Groups.of([key for key, _ in rows])
    assert groups.keys == tuple(dict.fromkeys(key for key, _ in rows))
    above = np.array([value > 1.0 for _, value in rows])
    for key, size, count in zip(groups.keys, groups.sizes, groups.counts(above), strict=True):
        assert size == sum(name == key for name, _ in rows)
        assert count == sum(name == key and value > 1.0 for name, value in rows)


def test_no_values_are_no_groups() -> None:
    groups = Groups.of([])
    assert groups.keys == () and len(groups.quantile(np.array([]), 0.5)) == 0
    assert len(groups.counts(np.array([], dtype=bool))) == 0


BLOCKS = st.lists(
    st.builds(
        BlockRow,
        process=st.integers(1, 3),
        invocation=st.just("i"),
        model=st.sampled_from("ab"),
        calls=st.integers(1, 100),
        ns=st.integers(1, 10**12),
        sentinel_ns=st.integers(100, 10**6),
    ),
    min_size=1,
    max_size=40,
)


@given(BLOCKS, st.floats(100.0, 1e6))
def test_every_process_is_estimated_as_if_it_were_alone(rows: list[BlockRow], reference_ns: float) -> None:
    found = by_process(rows, reference_ns)
    assert {(model, process) for model, each in found.items() for process in each} == {
        (row.model, row.process) for row in rows
    }
    for model, each in found.items():
        for process, estimate in each.items():
            own = [row for row in rows if (row.model, row.process) == (model, process)]
            per_call = np.array([row.ns / row.calls for row in own])
            sentinel = np.array([row.sentinel_ns for row in own], dtype=np.float64)
            share = np.array([min(row.cpu_ns / row.ns, 1.0) if row.switches and row.cpu_ns else 1.0 for row in own])
            assert estimate == process_estimate(per_call, sentinel, reference_ns, share)
