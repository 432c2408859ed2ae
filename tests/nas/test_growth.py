"""The front that is told while a search runs is that of what was judged so far."""

import numpy as np
import pytest

import nas
from nas.loop import growth
from nas.loop.growth import Growth
from nas.objectives import Constraint, Objective

ERROR = Objective("error", "", False, "function", "error")
LATENCY = Objective("latency", "ms", False, "predicted", "latency:x")


def results(rows):
    return [{"error": (e, e, e), "latency": (v, v, v)} for e, v in rows]


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(growth, "EVERY_S", 0.0)


def test_each_batch_is_joined_with_the_front_before(at_once):
    told = []
    grows = Growth([ERROR, LATENCY], (), lambda *seen: told.append(seen))
    rng, rows = np.random.default_rng(0), []
    for _ in range(20):
        batch = rng.integers(0, 12, (5, 2)).astype(float).tolist()
        rows += batch
        grows.add(results(batch))
        costs = np.array(rows)
        better = (costs[:, None] <= costs).all(axis=2) & (costs[:, None] < costs).any(axis=2)
        assert told[-1] == ("on the front", int((~better.any(axis=0)).sum()), len(rows))


def test_what_breaks_a_bound_or_is_no_number_is_on_no_front(at_once):
    told = []
    bound = Constraint("latency", 2.0, upper=True)
    grows = Growth([ERROR, LATENCY], [bound], lambda *seen: told.append(seen))
    grows.add(results([(0.1, 3.0), (0.5, 1.0), (0.4, float("nan"))]))
    assert told == [("on the front", 1, 3)]


def test_it_is_told_now_and_then_and_not_where_all_are(monkeypatch):
    told = []
    grows = Growth([ERROR, LATENCY], (), lambda *seen: told.append(seen))
    grows.add(results([(0.1, 3.0), (0.5, 1.0)]))
    grows.add(results([(0.6, 3.0)]))
    assert told == [], "the first two are all on it, and then it is too soon"
    monkeypatch.setattr(growth, "EVERY_S", 0.0)
    grows.add([])
    assert told == [("on the front", 2, 3)]


def test_a_search_tells_it(small, tmp_path, at_once):
    told = []
    found = nas.search(
        small, objectives=["params", "macs"], strategy="random", evaluations=40, folder=tmp_path,
        progress=lambda *seen: told.append(seen),
    )  # fmt: skip
    _, front, judged = [seen for seen in told if seen[0] == "on the front"][-1]
    assert judged == 40 and front == len(found.front)
