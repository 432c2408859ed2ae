"""Whatever is written a second time, whenever, changes nothing: rows have keys, seals and all stay as they are."""

import numpy as np
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pace import CONDITIONS
from nas.study.study import Study
from nas.study.tables import METADATA
from nas.study.trial import Point
from profiler import schema
from profiler.agent.protocol import Block
from profiler.meters.protocol import Energy
from profiler.operators import Node, Operator, OperatorGraph, Tensor
from profiler.records import ModelRow, ProfileRow
from profiler.store import Store

SHAPE = Tensor((1, 8))
GRAPH = OperatorGraph((Node(Operator("", "Relu", (), (SHAPE,), (SHAPE,)), ("x",), ("y",)),), (("x", SHAPE),), ("y",))
ARCHS = np.arange(12).reshape(6, 2)
OTHER = CONDITIONS.changed(threads=2)
small = st.integers(0, 2)
times = st.integers(1, 10**9)


def result(value):
    return {"x": (float(value), None, None)}


def point(trial, value):
    return Point((0, 1), result(value), ("random",), trial, {})


#: What is written, by what it takes; two models, two processes, two studies and their trials are there before.
WRITES = {
    "bind": (lambda s, a, b, model, n, t: s.bind("made-up", "{}", CONDITIONS)),
    "bind other": (lambda s, a, b, model, n, t: s.bind("other", "{}", OTHER)),
    "model": (lambda s, a, b, model, n, t: s.add_model(ModelRow(f"new{n}", "new", None, None), GRAPH)),
    "fused": (lambda s, a, b, model, n, t: s.add_fused(model, (CONDITIONS, OTHER, OTHER)[n], GRAPH)),
    "block": (lambda s, a, b, model, n, t: s.add_block(1, Block(model, n, 4, t, 400, 400, n, None, None))),
    "profile": (lambda s, a, b, model, n, t: s.add_profile(2, ProfileRow(model, [["k", "Relu", 1.0, 2]], None, t))),
    "memory": (lambda s, a, b, model, n, t: s.add_memory(1, model, t, None)),
    "energy": (lambda s, a, b, model, n, t: s.add_energy(2, model, Energy(t + 1.0, float(t), "made up", 1.0), n)),
    "failure": (lambda s, a, b, model, n, t: s.add_failure(model, CONDITIONS, kind="E", reason="because", hint="")),
    "end": (lambda s, a, b, model, n, t: s.end_process(1 + n % 2, state="finished", device_s=1.0, facts=[])),
    "facts": (lambda s, a, b, model, n, t: a.bind({"seed": 0, "space": "nasbench201"})),
    "fact": (lambda s, a, b, model, n, t: b.set_fact(f"key {n}", n)),
    "search": (lambda s, a, b, model, n, t: a.search("random", {"population": n})),
    "batch": (lambda s, a, b, model, n, t: b.add_batch(2, "random", 1 + n, ARCHS[n : n + 3], "note")),
    "judge": (lambda s, a, b, model, n, t: a.judge({1 + n: result(n)}, {1 + n: "why"}, {1 + n: {"x": [n, n + 1.0]}})),
    "again": (lambda s, a, b, model, n, t: b.add_replicate(point(4 + n, n), {"x": 2.0 * n})),
    "finalist": (lambda s, a, b, model, n, t: a.set_finalist((n, n), {"test_accuracy": 0.5})),
}


def begun():
    """A store in memory, and two studies in it."""
    store = Store("sqlite://")
    store.bind("made-up", "{}", CONDITIONS)
    store.bind("other", "{}", OTHER)
    for model in ("m0", "m1"):
        store.add_model(ModelRow(model, model, None, None), GRAPH)
    for number in range(2):
        store.start_process(CONDITIONS, f"invocation {number}", number)
    studies = Study(store), Study(store, "two")
    for study in studies:
        study.add_batch(study.search("random", {}), "random", 0, ARCHS[:3])
    return store, *studies


def contents(store):
    tables = [*schema.METADATA.sorted_tables, *METADATA.sorted_tables]
    with store.engine.connect() as connection:
        return {table.name: sorted(map(repr, connection.execute(sa.select(table)).all())) for table in tables}


write = st.tuples(st.sampled_from(sorted(WRITES)), st.sampled_from(["m0", "m1"]), small, times)


@settings(deadline=None, max_examples=40)
@given(st.lists(write, min_size=1, max_size=12), st.data())
def test_a_second_time_changes_nothing(writes, data):
    store, a, b = begun()
    with store:
        for place, (name, *what) in enumerate(writes):
            WRITES[name](store, a, b, *what)
            before = contents(store)
            for again, *what_again in ((name, *what), data.draw(st.sampled_from(writes[: place + 1]))):
                WRITES[again](store, a, b, *what_again)
                assert contents(store) == before, again
