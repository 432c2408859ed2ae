"""What comes in by files of others: each odd file is refused by name, or is read as ONNX Runtime reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from device_profiles.errors import InvalidModel
from profiler import onnx_check
from profiler.onnx_check import embed, parse
from profiler.onnx_graph import read_graph
from profiler.operators import Tensor

FLOAT = TensorProto.FLOAT
OPSETS = [helper.make_opsetid("", 20), helper.make_opsetid("loc", 1)]


def value(name: str, shape: Any = (1, 4), kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def built(nodes: list[Any] | None = None, *, inputs: list[Any] | None = None, functions: tuple[Any, ...] = ()) -> Any:
    """A model that multiplies its input with the weight `w`, or one of these nodes; its output is `y`."""
    mul = helper.make_node("Mul", ["x", "w"], ["a"], name="first")
    nodes = nodes or [mul, helper.make_node("Relu", ["a"], ["y"], name="second")]
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    graph = helper.make_graph(nodes, "g", inputs or [value("x")], [value("y")], [weight])
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=10, functions=list(functions))


def softmax() -> Any:
    return built([helper.make_node("Softmax", ["x"], ["y"], axis=1, name="soft")])


def function(name: str, nodes: list[Any], inputs: tuple[str, ...] = ("p",), attributes: tuple[str, ...] = ()) -> Any:
    return helper.make_function("loc", name, list(inputs), ["q"], nodes, OPSETS, list(attributes))


def call(name: str = "f", reads: str = "x", writes: str = "y", **attributes: Any) -> Any:
    return helper.make_node(name, [reads], [writes], domain="loc", **attributes)


def branching(nodes: list[Any], more: tuple[Any, ...] = ()) -> Any:
    """A model with these nodes in a branch, whose output is `to`."""
    branch = helper.make_graph(nodes, "then", [], [value("to")])
    other = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["eo"])], "else", [], [value("eo")])
    chosen = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other)
    return built([chosen, *more], inputs=[value("x"), value("c", (), TensorProto.BOOL)])


def sparse(values: list[float], indices: Any, shape: list[int]) -> Any:
    model = built()
    del model.graph.initializer[:]
    kept = numpy_helper.from_array(np.array(values, np.float32), "w")
    places = numpy_helper.from_array(np.array(indices, np.int64), "")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(kept, places, shape))
    return model


def changed(model: Any, change: Callable[[Any], Any]) -> Any:
    change(model)
    return model


def referring(*, inside: bool, typed: bool = True) -> Any:
    """A softmax whose axis is an attribute of a function, in one or not."""
    node = helper.make_node("Softmax", ["p" if inside else "x"], ["q" if inside else "y"])
    node.attribute.add(name="axis", ref_attr_name="ax", type=2 if typed else 0)
    return built([call(ax=1)], functions=(function("f", [node], attributes=("ax",)),)) if inside else built([node])


def weight_of(model: Any) -> Any:
    return model.graph.initializer[0]


def attribute_of(model: Any) -> Any:
    return model.graph.node[0].attribute[0]


def doubling(depth: int) -> Any:
    """Functions that call the next one twice: 2 ** depth nodes."""
    functions = [function(f"f{i}", [call(f"f{i + 1}", "p", "r"), call(f"f{i + 1}", "r", "q")]) for i in range(depth)]
    last = function(f"f{depth}", [helper.make_node("Relu", ["p"], ["q"])])
    return built([call("f0")], functions=(*functions, last))


def constant(change: Callable[[Any], Any]) -> Any:
    kept = numpy_helper.from_array(np.ones(4, np.float32))
    change(kept)
    return built([helper.make_node("Constant", [], ["c"], value=kept), helper.make_node("Add", ["x", "c"], ["y"])])


def twice(name: str) -> Any:
    return function(name, [helper.make_node("Relu", ["p"], ["q"])])


RELU = function("f", [helper.make_node("Relu", ["p"], ["q"])])
HUGE = 1 << 62

HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "attribute without type": (lambda: changed(softmax(), lambda m: attribute_of(m).ClearField("type")), "'axis'"),
    "attribute of another type": (lambda: changed(softmax(), lambda m: setattr(attribute_of(m), "type", 1)), "'axis'"),
    "attribute with two values": (lambda: changed(softmax(), lambda m: setattr(attribute_of(m), "f", 1.0)), "'axis'"),
    "attribute twice": (
        lambda: changed(softmax(), lambda m: m.graph.node[0].attribute.append(attribute_of(m))), "is there twice",
    ),
    "attribute without name": (lambda: changed(softmax(), lambda m: setattr(attribute_of(m), "name", "")), "no name"),
    "reference outside of a function": (lambda: referring(inside=False), "stands for one of a function"),
    "graph that is not there": (
        lambda: changed(softmax(), lambda m: m.graph.node[0].attribute.add(name="body", type=5)), "no value",
    ),
    "negative dimension": (lambda: changed(built(), lambda m: weight_of(m).dims.__setitem__(0, -4)), "negative"),
    "huge dimensions": (lambda: changed(built(), lambda m: weight_of(m).dims.extend([HUGE, HUGE])), "any memory"),
    "empty and huge": (lambda: changed(built(), lambda m: weight_of(m).dims.extend([0, HUGE])), "any memory"),
    "huge input": (lambda: built(inputs=[value("x", (HUGE, 4))]), "any memory"),
    "too few bytes": (lambda: changed(built(), lambda m: setattr(weight_of(m), "raw_data", b"\0" * 8)), "8 bytes"),
    "too many bytes": (lambda: changed(built(), lambda m: setattr(weight_of(m), "raw_data", b"\0" * 64)), "64 bytes"),
    "no data": (lambda: changed(built(), lambda m: weight_of(m).ClearField("raw_data")), "no data"),
    "data twice": (lambda: changed(built(), lambda m: weight_of(m).float_data.extend([1] * 4)), "which of them"),
    "unknown type": (lambda: changed(built(), lambda m: setattr(weight_of(m), "data_type", 99)), "type 99"),
    "undefined type": (lambda: changed(built(), lambda m: setattr(weight_of(m), "data_type", 0)), "type 0"),
    "texts as bytes": (lambda: changed(built(), lambda m: setattr(weight_of(m), "data_type", 8)), "texts"),
    "segment": (lambda: changed(built(), lambda m: setattr(weight_of(m).segment, "end", 2)), "segment"),
    "constant of wrong size": (lambda: constant(lambda c: setattr(c, "raw_data", b"\0" * 3)), "3 bytes"),
    "constant in a branch": (
        lambda: branching([*constant(lambda c: setattr(c, "data_type", 77)).graph.node[:1],
                           helper.make_node("Add", ["x", "c"], ["to"])]), "type 77",
    ),
    "two weights of one name": (
        lambda: changed(built(), lambda m: m.graph.initializer.append(
            numpy_helper.from_array(np.zeros(4, np.float32), "w"))), "two weights",
    ),
    "value written twice": (
        lambda: built([helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Abs", ["x"], ["a"]),
                       helper.make_node("Relu", ["a"], ["y"])]), "'a', which is there already",
    ),
    "input written": (lambda: built([helper.make_node("Abs", ["x"], ["x"]), helper.make_node("Abs", ["x"], ["y"])]),
                      "'x', which is there already"),
    "input twice": (lambda: built(inputs=[value("x"), value("x")]), "input 'x' twice"),
    "circle": (
        lambda: built([helper.make_node("Add", ["x", "b"], ["a"], name="one"), helper.make_node("Relu", ["a"], ["b"]),
                       helper.make_node("Relu", ["b"], ["y"], name="after")]), "circle",
    ),
    "reads itself": (lambda: built([helper.make_node("Add", ["x", "y"], ["y"])]), "circle"),
    "branch reads the result": (lambda: branching([helper.make_node("Relu", ["y"], ["to"])]), "circle"),
    "reads what nothing writes": (lambda: built([helper.make_node("Add", ["x", "ghost"], ["y"])]), "'ghost'"),
    "branch reads what nothing writes": (lambda: branching([helper.make_node("Add", ["x", "gh"], ["to"])]), "'gh'"),
    "branch in another order": (
        lambda: branching([helper.make_node("Relu", ["r"], ["to"]), helper.make_node("Abs", ["x"], ["r"])]), "before",
    ),
    "branch without its output": (lambda: branching([helper.make_node("Relu", ["x"], ["z"])]), "'to'"),
    "output that nothing writes": (lambda: built([helper.make_node("Relu", ["x"], ["z"])]), "output 'y'"),
    "no output": (lambda: changed(built(), lambda m: m.graph.ClearField("output")), "no output"),
    "no graph": (lambda: changed(built(), lambda m: m.ClearField("graph")), "no graph"),
    "no operator": (lambda: changed(built(), lambda m: setattr(m.graph.node[0], "op_type", "")), "'first'"),
    "input without type": (lambda: changed(built(), lambda m: m.graph.input[0].ClearField("type")), "no type"),
    "input without element type": (lambda: built(inputs=[value("x", kind=0)]), "no element type"),
    "input of an unknown type": (lambda: built(inputs=[value("x", kind=99)]), "type 99"),
    "input that is a sequence": (
        lambda: built(inputs=[helper.make_tensor_sequence_value_info("x", FLOAT, [4])]), "a sequence",
    ),
    "no operators' version": (lambda: changed(built(), lambda m: m.ClearField("opset_import")), "version"),
    "operators' version 0": (
        lambda: changed(built(), lambda m: setattr(m.opset_import[0], "version", 0)), "version 0",
    ),
    "two operators' versions": (
        lambda: changed(built(), lambda m: m.opset_import.add(domain="ai.onnx", version=7)), "20 and 7",
    ),
    "no format's version": (lambda: changed(built(), lambda m: m.ClearField("ir_version")), "version"),
    "nonsense format's version": (lambda: changed(built(), lambda m: setattr(m, "ir_version", -3)), "version"),
    "endless name": (lambda: changed(built(), lambda m: setattr(m.graph.node[0], "name", "n" * 99_999)), "characters"),
    "endless value": (lambda: built([helper.make_node("Relu", ["x"], ["y", "v" * 99_999])]), "characters"),
    "function twice": (lambda: built([call()], functions=(RELU, RELU)), "'loc:f' is there twice"),
    "function that calls itself": (
        lambda: built([call()], functions=(function("f", [call("f", "p", "q")]),)), "itself",
    ),
    "functions that call each other": (
        lambda: built([call()], functions=(function("f", [call("g", "p", "q")]), function("g", [call("f", "p", "q")]))),
        "itself",
    ),
    "function that reads what is outside": (
        lambda: built([call()], functions=(function("f", [helper.make_node("Add", ["p", "w"], ["q"])]),)), "'w'",
    ),
    "function without its output": (
        lambda: built([call()], functions=(function("f", [helper.make_node("Relu", ["p"], ["z"])]),)), "output 'q'",
    ),
    "function with too few inputs": (
        lambda: built([helper.make_node("f", ["x", "x"], ["y"], domain="loc")], functions=(RELU,)), "more than",
    ),
    "a billion nodes": (lambda: doubling(30), "nodes"),
    "sparse beyond its shape": (lambda: sparse([1.0], [4], [4]), "outside of its shape"),
    "sparse before its shape": (lambda: sparse([1.0], [-1], [4]), "outside of its shape"),
    "sparse in two dimensions": (lambda: sparse([1.0, 2.0], [[0, 1], [9, 0]], [1, 4]), "outside of its shape"),
    "sparse of all memory": (lambda: sparse([1.0], [0], [1 << 38]), "unpacks"),
    "sparse of wrong count": (lambda: sparse([1.0], [0, 1], [4]), "indices of shape"),
    "endless equation": (lambda: built([helper.make_node("Einsum", ["x"], ["y"], equation="....->ij")]), "'Einsum'"),
    "endless equation in a function": (
        lambda: built([call()], functions=(
            function("f", [helper.make_node("Einsum", ["p"], ["q"], equation="i...j...->i")]),)), "'Einsum'",
    ),
    "loop of nothing": (
        lambda: built([helper.make_node("Loop", [], ["y"], body=branching([]).graph)]), "a loop has 2",
    ),
    "split into all memory": (lambda: built([helper.make_node("Split", ["x"], ["y"], num_outputs=1 << 40)]), "'Split'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, words = HOSTILE[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(InvalidModel) as caught:
        parse(path)
    assert words in caught.value.message and "net.onnx" in caught.value.message
    assert len(caught.value.message) < 400 and caught.value.hint


ODD: dict[str, Callable[[], Any]] = {
    "attribute that is 0": lambda: changed(softmax(), lambda m: attribute_of(m).ClearField("i")),
    "reference in a function": lambda: referring(inside=True),
    "reference without type": lambda: referring(inside=True, typed=False),
    "weight twice": lambda: changed(built(), lambda m: m.graph.initializer.append(weight_of(m))),
    "weight without name": lambda: changed(built(), lambda m: m.graph.initializer.add(
        data_type=FLOAT, float_data=[1.0])),
    "weight that is an input": lambda: built(inputs=[value("x"), value("w", (4,))]),
    "output twice": lambda: changed(built(), lambda m: m.graph.output.append(m.graph.output[0])),
    "output without type": lambda: changed(built(), lambda m: m.graph.output[0].ClearField("type")),
    "node that reads a later one": lambda: changed(built(), lambda m: m.graph.node.append(m.graph.node.pop(0))),
    "branch that reads a later node": lambda: branching(
        [helper.make_node("Relu", ["late"], ["to"])], (helper.make_node("Abs", ["x"], ["late"]),)),
    "branch that reads outside": lambda: branching([helper.make_node("Mul", ["x", "w"], ["to"])]),
    "operators' version twice": lambda: changed(built(), lambda m: m.opset_import.add(domain="", version=20)),
    "operators that nobody has": lambda: changed(built(), lambda m: m.opset_import.add(domain="zz", version=9)),
    "output left out": lambda: built([helper.make_node("Dropout", ["x"], ["y", ""])]),
    "input left out": lambda: built([helper.make_node("Clip", ["x", "", ""], ["y"])]),
    "free batch as -1": lambda: changed(built(inputs=[value("x", (-1, 4))]), lambda m: m.graph.output[0].ClearField(
        "type")),
    "escapes in names": lambda: built([helper.make_node("Abs", ["x"], ["\x1b[31m"], name="\x1b]0;\x07\n\0\"\\"),
                                       helper.make_node("Abs", ["\x1b[31m"], ["y"])]),
    "function": lambda: built([call()], functions=(RELU,)),
    "broken function that nobody calls": lambda: built(functions=(
        function("f", [helper.make_node("Nope", ["gone"], ["q"])]),)),
    "functions in functions": lambda: doubling(8),
    "training": lambda: changed(built(), lambda m: m.training_info.add().algorithm.CopyFrom(m.graph)),
    "passed through": lambda: changed(built(), lambda m: setattr(m.graph.output[0], "name", "x")),
    "sparse weight": lambda: sparse([1.0, 2.0], [0, 3], [4]),
    "sparse weight in two dimensions": lambda: sparse([1.0, 2.0], [[0, 3], [0, 1]], [1, 4]),
    "equation": lambda: built([helper.make_node("Einsum", ["x"], ["y"], equation="... j -> ...j")]),
}  # fmt: skip


def test_sparse_weights_are_weights_for_every_reader() -> None:
    model = onnx_check.parse(sparse([1.0, 2.0], [0, 3], [4]).SerializeToString())
    assert not model.graph.sparse_initializer
    (weight,) = model.graph.initializer
    assert weight.name == "w" and numpy_helper.to_array(weight).tolist() == [1.0, 0.0, 0.0, 2.0]
    assert read_graph(model).nodes[0].operator.inputs[1] == Tensor((4,), "float32", constant=True)


def loads(content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_read_as_onnx_runtime_reads_it(name: str) -> None:
    content = ODD[name]().SerializeToString()
    feeds = {"x": np.array([[-1.0, 0.5, 2.0, 3.0]], np.float32), "c": np.array(True), "w": np.ones(4, np.float32)}

    def answers(model: bytes) -> Any:
        session = loads(model)
        return session.run(None, {entry.name: feeds[entry.name] for entry in session.get_inputs()})

    np.testing.assert_array_equal(answers(content)[0], answers(parse(content).SerializeToString())[0])


def test_nodes_come_back_in_an_order_that_runs() -> None:
    nodes = [helper.make_node("Abs", [f"v{i}" if i else "x"], [f"v{i + 1}" if i < 9 else "y"]) for i in range(10)]
    proto = parse(built(nodes[::-1]).SerializeToString())
    assert list(proto.graph.node) == nodes


def test_weights_that_are_there_twice_come_back_once() -> None:
    assert len(parse(ODD["weight twice"]().SerializeToString()).graph.initializer) == 1


def test_training_is_left_out() -> None:
    assert not parse(ODD["training"]().SerializeToString()).training_info


@pytest.mark.parametrize("word", [b"first", b"second", b"loc"])
def test_names_that_are_no_text(word: bytes) -> None:
    content = built().SerializeToString().replace(word, b"\xff" * len(word))
    with pytest.raises(InvalidModel, match="no UTF-8"):
        parse(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data files of 16 bytes, and what is none."""
    (tmp_path / "secret").write_bytes(bytes(range(16)))
    place = tmp_path / "model"
    (place / "sub").mkdir(parents=True)
    for name in ("w.bin", "sub/w.bin", "a\\b"):
        (place / name).write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (place / "long.bin").write_bytes(b"\0" * 48 + np.arange(4, dtype=np.float32).tobytes())
    (place / "short.bin").write_bytes(b"\0" * 8)
    for name, leads in {"link": "../secret", "out": "..", "dev": "/dev/zero", "ring": "ring", "in": "w.bin"}.items():
        (place / name).symlink_to(leads)
    os.mkfifo(place / "pipe")
    marked = place / "*" / "_ORT_MEM_ADDR_"
    marked.mkdir(parents=True)
    (marked / "*").write_bytes(b"\0" * 16)
    return place


def external(*entries: tuple[str, str], where: str = "weight") -> Any:
    model = built()
    tensor = weight_of(model) if where == "weight" else TensorProto(name="e", data_type=FLOAT, dims=[4])
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in entries:
        tensor.external_data.add(key=key, value=text)
    if where == "weight":
        return model
    nodes = [helper.make_node("Constant", [], ["e"], value=tensor), helper.make_node("Add", ["p", "e"], ["q"])]
    if where == "function":
        return built([call()], functions=(function("f", nodes),))
    if where == "uncalled function":
        return built(functions=(function("f", nodes),))
    inner = [nodes[0], helper.make_node("Add", ["x", "e"], ["to"])]
    if where == "branch":
        return branching(inner)
    branch = branching(inner).graph.node[0].attribute[0].g
    branch.node[0].Clear()
    branch.node[0].CopyFrom(helper.make_node("Identity", ["e"], ["unused"]))
    branch.initializer.append(tensor)
    chosen = branching([]).graph.node[0]
    chosen.attribute[0].g.CopyFrom(branch)
    return built([chosen], inputs=[value("x"), value("c", (), TensorProto.BOOL)])


PLACES = ["weight", "branch", "weight of a branch", "function", "uncalled function"]
LEADING_OUT = ["../secret", "link", "out/secret", "dev", "sub/../../secret", "a\\b", "w.bin\0", "ring",
               "*/_ORT_MEM_ADDR_/*", "{folder}/w.bin"]  # fmt: skip


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("location", LEADING_OUT)
def test_data_outside_of_the_folder(folder: Path, location: str, where: str) -> None:
    path = folder / "net.onnx"
    path.write_bytes(external(("location", location.format(folder=folder)), where=where).SerializeToString())
    with pytest.raises(InvalidModel, match="outside of its folder"):
        parse(path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("location", "w.bin"), ("location", "../secret")], "'location' of its data twice"),
        ([("location", "w.bin"), ("offset", "0"), ("offset", "0")], "'offset' of its data twice"),
        ([("location", "w.bin"), ("colour", "red")], "no known key"),
        ([("location", "w.bin"), ("offset", "-1")], "must be a number"),
        ([("location", "w.bin"), ("offset", "x")], "must be a number"),
        ([("location", "w.bin"), ("offset", "9" * 30)], "must be a number"),
        ([("location", "w.bin"), ("offset", "٣")], "must be a number"),
        ([("location", "w.bin"), ("length", "-16")], "must be a number"),
        ([("location", "w.bin"), ("length", "8")], "8 bytes"),
        ([("location", "long.bin"), ("length", "64")], "64 bytes"),
        ([("location", "w.bin"), ("offset", "8")], "ends at byte 24"),
        ([("location", "short.bin")], "ends at byte 16"),
        ([("location", "pipe")], "missing"),
        ([("location", "sub")], "missing"),
        ([("location", "x" * 5000)], "missing"),
        ([], "missing"),
    ],
)
def test_data_that_is_not_as_it_is_said(folder: Path, entries: list[tuple[str, str]], words: str) -> None:
    path = folder / "net.onnx"
    path.write_bytes(external(*entries).SerializeToString())
    with pytest.raises(InvalidModel) as caught:
        parse(path)
    assert words in caught.value.message


@pytest.mark.parametrize(
    "entries",
    [
        [("location", "w.bin")],
        [("location", "./sub//w.bin"), ("offset", "0"), ("length", "16")],
        [("location", "in"), ("checksum", "0")],
        [("location", "long.bin"), ("offset", "48")],
        [("location", "w.bin"), ("length", "0")],
    ],
)
def test_data_beside_the_model_is_embedded(folder: Path, entries: list[tuple[str, str]]) -> None:
    path = folder / "net.onnx"
    path.write_bytes(external(*entries).SerializeToString())
    (weight,) = onnx.load_from_string(embed(path)).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), np.arange(4, dtype=np.float32))
    assert loads(embed(path)).run(None, {"x": np.ones((1, 4), np.float32)})[0].tolist() == [[0, 1, 2, 3]]


def test_data_of_branches_and_functions_is_embedded(folder: Path) -> None:
    for where in ("branch", "function"):
        path = folder / "net.onnx"
        path.write_bytes(external(("location", "w.bin"), where=where).SerializeToString())
        assert b"w.bin" not in embed(path) and loads(embed(path))


def test_a_small_file_cannot_ask_for_more_than_a_file_may_have(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "net.onnx"
    model = external(("location", "w.bin"))
    for number in range(40):
        model.graph.initializer.add().CopyFrom(weight_of(model))
        model.graph.initializer[-1].name = f"w{number}"
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr(onnx_check, "LARGEST_BYTES", len(path.read_bytes()) + 200)
    with pytest.raises(InvalidModel, match="with its data files"):
        embed(path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "net.onnx")
    with pytest.raises(InvalidModel):
        parse(tmp_path / "net.onnx")


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "gone"])
def test_a_path_that_leads_nowhere(name: str) -> None:
    with pytest.raises(InvalidModel, match="there is no model file"):
        parse(Path(name))


def test_graphs_in_graphs_without_end() -> None:
    def within(tag: bytes, content: bytes) -> bytes:
        length = onnx.TensorShapeProto.Dimension(dim_value=len(content)).SerializeToString()[1:]
        return tag + length + content

    content = branching([helper.make_node("Relu", ["x"], ["to"])]).graph.node[0].SerializeToString()
    for _ in range(1000):
        for tag in (b"\x0a", b"\x32", b"\x2a"):  # a node in a graph, in an attribute, in a node
            content = within(tag, content)
    with pytest.raises(InvalidModel, match="not an ONNX model"):
        parse(b"\x08\x0a" + within(b"\x3a", within(b"\x0a", content)))


def files_of_the_onnx_package() -> list[Path]:
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    return sorted([*data.glob("light/*.onnx"), *data.glob("*/*/model.onnx")])


def test_every_file_of_the_onnx_package_passes() -> None:
    files = files_of_the_onnx_package()
    if not files:
        pytest.skip("this onnx ships no models")
    for path in files:
        parse(path)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_order_of_a_sound_graph_is_put_right(sources: list[int], random: Any) -> None:
    """Each node reads one of those before it; shuffled, they come back in an order in which all is written first."""
    nodes = [
        helper.make_node("Abs", [f"v{source % place}" if place else "x"], [f"v{place}"])
        for place, source in enumerate(sources)
    ]
    nodes.append(helper.make_node("Relu", [f"v{len(sources) - 1}"], ["y"]))
    random.shuffle(nodes)
    written = {"x", "w"}
    proto = parse(built(nodes).SerializeToString())
    for node in proto.graph.node:
        assert set(node.input) <= written
        written |= set(node.output)
    assert sorted(map(str, proto.graph.node)) == sorted(map(str, nodes))
