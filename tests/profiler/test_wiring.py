"""Graphs as rows of integers: what comes back is what went in, but for the names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.errors import SchemaMismatch
from profiler.graph_codes import from_wires, to_wires
from profiler.operators import Node, Operator, OperatorGraph, Tensor

IMAGE = Tensor((1, 4, 8, 8))
WEIGHT = Tensor((4, 4, 1, 1), constant=True)
CONV = Operator("", "Conv", (), (IMAGE, WEIGHT), (IMAGE,))
ADD = Operator("", "Add", (), (IMAGE, IMAGE), (IMAGE,))
CLIP = Operator("", "Clip", (), (IMAGE, None, Tensor((), constant=True)), (IMAGE,))
SPLIT = Operator("", "Split", (("num_outputs", 2),), (IMAGE,), (IMAGE, IMAGE))


@st.composite
def graphs(draw: Any) -> OperatorGraph:
    """Any wiring of four operators; weights may be shared, outputs be left unused or leave the network."""
    given_names = [f"in{i}" for i in range(draw(st.integers(1, 3)))]
    values, nodes = list(given_names), []
    for number in range(draw(st.integers(1, 8))):
        operator = draw(st.sampled_from([CONV, ADD, CLIP, SPLIT]))
        reads = tuple(
            ""
            if tensor is None
            else draw(st.sampled_from([f"weight{i}" for i in range(3)] if tensor.constant else values))
            for tensor in operator.inputs
        )
        writes = tuple(f"n{number}.{i}" for i in range(len(operator.outputs)))
        nodes.append(Node(operator, reads, writes, f"node {number}"))
        values += writes
    outputs = draw(st.lists(st.sampled_from(values[len(given_names) :]), min_size=1, max_size=3, unique=True))
    inputs = tuple((name, IMAGE) for name in given_names)
    return OperatorGraph(tuple(nodes), inputs, tuple(outputs), draw(st.sampled_from(["fake", "onnxruntime", ""])))


def there_and_back(graph: OperatorGraph, number: dict[Operator, int] | None = None) -> OperatorGraph:
    known: dict[Operator, int] = {} if number is None else number
    wires = to_wires(graph, known)
    return from_wires(wires, tuple(known), [tensor for _, tensor in graph.inputs], graph.runtime)


@given(graphs())
def test_structure_comes_back(graph: OperatorGraph) -> None:
    found = there_and_back(graph)
    assert found.digest == graph.digest and found.operators == graph.operators and found.runtime == graph.runtime
    assert there_and_back(found) == found, "the second time names stay, too"


@given(graphs())
def test_weights_are_shared_where_they_were_and_nowhere_else(graph: OperatorGraph) -> None:
    found = there_and_back(graph)
    before = [name for node in graph.nodes for name in node.inputs]
    after = [name for node in found.nodes for name in node.inputs]
    pairs = set(zip(before, after, strict=True))
    assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs}), "one name for each"
    assert all((old == "") == (new == "") for old, new in pairs)


@given(st.lists(graphs(), min_size=2, max_size=4))
def test_graphs_share_their_operators(several: list[OperatorGraph]) -> None:
    number: dict[Operator, int] = {}
    rows = [to_wires(graph, number) for graph in several]
    assert list(number.values()) == list(range(len(number)))
    assert set(number) == {operator for graph in several for operator in graph.operators}
    for graph, row in zip(several, rows, strict=True):
        found = from_wires(row, tuple(number), [tensor for _, tensor in graph.inputs], graph.runtime)
        assert row.dtype == np.int32 and found.digest == graph.digest


def test_a_row_by_hand() -> None:
    nodes = (Node(CONV, ("x", "w"), ("a",)), Node(CLIP, ("a", "", "top"), ("b",)), Node(ADD, ("b", "x"), ("y",)))
    number: dict[Operator, int] = {}
    row = to_wires(OperatorGraph(nodes, (("x", IMAGE),), ("y",), "fake"), number)
    assert row.tolist() == [1, 3, *(0, 2, 0, -2), *(1, 3, 1, -1, -3), *(2, 2, 2, 0)]
    found = from_wires(row, tuple(number), [IMAGE], "fake")
    assert [node.inputs for node in found.nodes] == [("v0", "w0"), ("v1", "", "w1"), ("v2", "v0")]
    assert found.outputs == ("v3",) and found.inputs == (("v0", IMAGE),)


def test_names_do_not_matter() -> None:
    def graph(names: str) -> OperatorGraph:
        x, w, a, y = names
        return OperatorGraph((Node(CONV, (x, w), (a,), w), Node(ADD, (a, x), (y,), a)), ((x, IMAGE),), (y,), "fake")

    assert to_wires(graph("xway"), {}).tolist() == to_wires(graph("abcd"), {}).tolist()


WHOLE = [1, 3, *(0, 2, 0, -2), *(1, 2, 1, 0), *(1, 2, 2, 0)]


def test_a_row_that_is_cut_short_is_refused() -> None:
    """Wherever it ends: the output that it promises is written by its last node."""
    kernels, taken = (CONV, ADD), []
    assert len(from_wires(np.array(WHOLE, dtype=np.int32), kernels, [IMAGE]).nodes) == 3
    for end in range(len(WHOLE)):
        try:
            from_wires(np.array(WHOLE[:end], dtype=np.int32), kernels, [IMAGE])
        except SchemaMismatch as error:
            assert "wiring" in error.message
        else:
            taken.append(end)
    assert taken == [], f"of {len(WHOLE)} numbers the first so many were taken for a whole row"


@pytest.mark.parametrize("operator", [2, 7, -3])
def test_an_operator_that_is_not_in_the_list_is_refused(operator: int) -> None:
    row = [*WHOLE[:2], operator, *WHOLE[3:]]
    with pytest.raises(SchemaMismatch, match="wiring"):
        from_wires(np.array(row, dtype=np.int32), (CONV, ADD), [IMAGE])
