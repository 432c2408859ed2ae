"""Models that took turns are compared by their ratio, which is free of the states that they shared."""

import numpy as np
import pytest

from nas.certainty import in_turns
from profiler import statistics, turns
from profiler.records import BlockRow


class Blocks:
    """A store of blocks."""

    def __init__(self, rows):
        self.rows = rows

    def blocks(self, conditions):
        return self.rows


def measured(rng, models, processes=4, rounds=12, placement=0.012, noise=0.01):
    """Blocks in turns on a machine that wanders between states 1 to 1.6 times as slow."""
    rows = []
    for process in range(processes):
        lies = {name: np.exp(rng.normal(0.0, placement)) for name in models}
        state = 1.0 + rng.uniform(0.0, 0.6)
        for _ in range(rounds):
            state = min(max(state + rng.normal(0.0, 0.03), 1.0), 1.6)
            for name in rng.permutation(list(models)):
                ns = models[name] * state * lies[name] * np.exp(rng.normal(0.0, noise))
                rows.append(BlockRow(process, "i", str(name), 10, int(10 * ns), int(1e6 * state)))
    return Blocks(rows)


def test_the_interval_covers_the_true_ratio_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(300):
        found = turns.ratios(measured(rng, {"a": 1e6, "b": 1.07e6}), None, ["a", "b"])["a", "b"]
        inside += found.low <= 1.07 <= found.high
    assert 0.87 <= inside / 300 <= 0.99


def test_what_two_latencies_do_not_tell_their_ratio_does():
    store = measured(np.random.default_rng(5), {"a": 1e6, "b": 1.07e6})
    known = statistics.by_process(store.rows, 1e6)
    one, other = (statistics.combine(list(known[name].values())) for name in ("a", "b"))
    assert one.high_ms > other.low_ms  # intervals of the two overlap
    ratio = turns.ratios(store, None, ["a", "b"])["a", "b"]
    assert ratio.apart and ratio.low > 1.0 and ratio.processes == 4


def test_equal_models_are_not_told_apart_more_often_than_the_interval_says():
    rng = np.random.default_rng(8)
    apart = sum(turns.ratios(measured(rng, {"a": 1e6, "b": 1e6}), None, ["a", "b"])["a", "b"].apart for _ in range(200))
    assert apart / 200 <= 0.13


def test_time_that_others_took_does_not_count():
    store = measured(np.random.default_rng(2), {"a": 1e6, "b": 1e6})
    held = [
        row._replace(ns=row.ns * 2, cpu_ns=row.ns, switches=3) if row.model == "b" and row.process == 1 else row
        for row in store.rows
    ]
    found = turns.ratios(Blocks(held), None, ["a", "b"])["a", "b"]
    plain = turns.ratios(store, None, ["a", "b"])["a", "b"]
    assert found.value == pytest.approx(plain.value, rel=1e-6)


def test_two_processes_or_few_rounds_are_not_enough():
    rng = np.random.default_rng(1)
    assert turns.ratios(measured(rng, {"a": 1e6, "b": 2e6}, processes=2), None, ["a", "b"]) == {}
    assert turns.ratios(measured(rng, {"a": 1e6, "b": 2e6}, rounds=4), None, ["a", "b"]) == {}
    alone = measured(rng, {"a": 1e6})
    assert turns.ratios(alone, None, ["a", "b"]) == {}


def test_finalists_are_told_apart_by_their_ratio_either_way_round():
    facts = {(0,): {"model": "a", "ratios": {"b": [1.05, 1.01, 1.09]}}, (1,): {"model": "b"}, (2,): {}}
    assert in_turns.told_apart([(0,), (1,)], facts) is in_turns.told_apart([(1,), (0,)], facts) is True
    assert in_turns.told_apart([(0,), (2,)], facts) is None
    facts[0,]["ratios"]["b"] = [1.05, 0.99, 1.1]
    assert in_turns.told_apart([(0,), (1,)], facts) is False
