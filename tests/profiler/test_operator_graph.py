from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.errors import SchemaMismatch
from profiler.operators import Node, Operator, OperatorGraph, Tensor, operator_from_plain, operator_to_plain

EXTENTS = st.integers(1, 64)
TENSORS = st.builds(
    Tensor,
    st.lists(EXTENTS, max_size=4).map(tuple),
    st.sampled_from(["float32", "float16", "int64", "bool", "bfloat16"]),
    st.booleans(),
)
VALUES = (
    st.integers(-9, 9)
    | st.floats(-9, 9)
    | st.text(max_size=4)
    | st.lists(st.integers(-9, 9), max_size=3).map(tuple)
    | st.lists(st.text(max_size=3), max_size=3).map(tuple)
)
OPERATORS = st.builds(
    Operator,
    st.sampled_from(["", "com.microsoft"]),
    st.sampled_from(["Conv", "Relu", "Add"]),
    st.dictionaries(st.text(max_size=4), VALUES, max_size=3).map(lambda found: tuple(sorted(found.items()))),
    st.lists(st.none() | TENSORS, max_size=3).map(tuple),
    st.lists(TENSORS, min_size=1, max_size=2).map(tuple),
)


@st.composite
def graphs(draw: st.DrawFn) -> OperatorGraph:
    operators = draw(st.lists(OPERATORS, max_size=4))
    names = ["in"]
    nodes = []
    for index, operator in enumerate(operators):
        inputs = tuple("" if tensor is None else draw(st.sampled_from(names)) for tensor in operator.inputs)
        outputs = tuple(f"v{index}_{k}" for k in range(len(operator.outputs)))
        names += outputs
        nodes.append(Node(operator, inputs, outputs, f"node{index}"))
    return OperatorGraph(tuple(nodes), (("in", draw(TENSORS)),), (names[-1],), draw(st.sampled_from(["", "fake"])))


def renamed(graph: OperatorGraph) -> OperatorGraph:
    def new(name: str) -> str:
        return f"<{name}>" if name else ""

    return OperatorGraph(
        tuple(Node(n.operator, tuple(map(new, n.inputs)), tuple(map(new, n.outputs)), n.name * 2) for n in graph.nodes),
        tuple((new(name), tensor) for name, tensor in graph.inputs),
        tuple(map(new, graph.outputs)),
        graph.runtime,
    )


@given(graphs())
def test_a_graph_survives_json(graph: OperatorGraph) -> None:
    read = OperatorGraph.from_json(graph.to_json())
    assert read == graph
    assert read.digest == graph.digest
    assert read.to_json() == graph.to_json()


@given(graphs())
def test_the_digest_does_not_depend_on_names(graph: OperatorGraph) -> None:
    assert renamed(graph).digest == graph.digest


@given(OPERATORS)
def test_an_operator_survives_plain_data(operator: Operator) -> None:
    assert operator_from_plain(json.loads(json.dumps(operator_to_plain(operator)))) == operator


@given(OPERATORS, OPERATORS)
def test_operators_that_differ_in_shape_have_other_keys(one: Operator, other: Operator) -> None:
    if (one.kind, one.attributes, one.inputs, one.outputs) == (
        other.kind,
        other.attributes,
        other.inputs,
        other.outputs,
    ):
        assert one.key == other.key
    elif (one.kind, one.attributes) == (other.kind, other.attributes):
        assert one.key != other.key


X = Tensor((1, 4))
ADD = Operator("", "Add", (), (X, X), (X,))
RELU = Operator("", "Relu", (), (X,), (X,))


def graph(nodes: list[Node], outputs: tuple[str, ...] = ("y",), runtime: str = "") -> OperatorGraph:
    return OperatorGraph(tuple(nodes), (("x", X),), outputs, runtime)


def test_the_digest_depends_on_the_wiring() -> None:
    chain = graph([Node(RELU, ("x",), ("a",)), Node(ADD, ("a", "a"), ("y",))])
    residual = graph([Node(RELU, ("x",), ("a",)), Node(ADD, ("a", "x"), ("y",))])
    swapped = graph([Node(RELU, ("x",), ("a",)), Node(ADD, ("x", "a"), ("y",))])
    other_output = graph([Node(RELU, ("x",), ("a",)), Node(ADD, ("a", "a"), ("y",))], outputs=("a",))
    fused = graph([Node(RELU, ("x",), ("a",)), Node(ADD, ("a", "a"), ("y",))], runtime="fake")
    found = [g.digest for g in (chain, residual, swapped, other_output, fused)]
    assert len(set(found)) == 5


def test_equal_operators_are_kept_once_in_the_file() -> None:
    twice = graph([Node(RELU, ("x",), ("a",)), Node(RELU, ("a",), ("y",))])
    assert len(json.loads(twice.to_json())["operators"]) == 1
    assert twice.operators == (RELU, RELU)


def test_sizes_of_tensors() -> None:
    assert (Tensor((2, 3)).elements, Tensor((2, 3)).bytes) == (6, 24)
    assert Tensor(()).elements == 1
    assert [Tensor((4,), dtype).bytes for dtype in ("float64", "float16", "int8", "bool", "int64")] == [32, 8, 4, 4, 32]
    assert str(Tensor((2, 3), "int64", constant=True)) == "w2x3:int64"


def test_an_operator_is_shown_to_people() -> None:
    conv = Operator(
        "com.microsoft.nchwc",
        "Conv",
        (("kernel_shape", (3, 3)), ("strides", (2, 2))),
        (Tensor((1, 3, 8, 8)), Tensor((4, 3, 3, 3), constant=True), None),
        (Tensor((1, 4, 3, 3)),),
    )
    assert conv.kind == "com.microsoft.nchwc:Conv"
    assert conv.attribute("strides") == (2, 2) and conv.attribute("group", 1) == 1
    assert str(conv) == "Conv 1x3x8x8->1x4x3x3 k3x3"
    assert conv.key == ("com.microsoft.nchwc:Conv[kernel_shape=3/3,strides=2/2](1x3x8x8,w4x3x3x3,-)->(1x4x3x3)")


GOOD = json.loads(graph([Node(RELU, ("x",), ("y",))]).to_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "{}",
        json.dumps({**GOOD, "schema": "hwnas.graph/2"}),
        json.dumps({name: value for name, value in GOOD.items() if name != "outputs"}),
        json.dumps({**GOOD, "operators": []}),
        json.dumps({**GOOD, "operators": [["", "Relu"]]}),
        json.dumps({**GOOD, "nodes": [[0, ["x"]]]}),
        json.dumps({**GOOD, "nodes": 3}),
        json.dumps({**GOOD, "inputs": [["x", [[1, 4]]]]}),
    ],
)
def test_bad_json_is_refused(text: str) -> None:
    with pytest.raises(SchemaMismatch):
        OperatorGraph.from_json(text)
