from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from device_profiles.errors import ConstantNetwork, InvalidModel
from profiler import onnx_check, subjects
from profiler.onnx_graph import read_graph
from profiler.operators import Tensor
from profiler.ort_shapes import output_shape

Make = Callable[..., Any]


def refused(model: Any, *words: str) -> InvalidModel:
    with pytest.raises(InvalidModel) as caught:
        read_graph(model)
    for word in words:
        assert word in caught.value.message, caught.value.message
    assert caught.value.hint
    return caught.value


def test_operators_come_in_order_with_shapes_and_constants(conv_net: Callable[..., bytes]) -> None:
    graph = read_graph(conv_net(4))
    assert [operator.kind for operator in graph.operators] == ["Conv", "Relu"]
    conv, relu = graph.operators
    assert conv.inputs == (Tensor((1, 3, 8, 8)), Tensor((4, 3, 3, 3), constant=True))
    assert conv.outputs == relu.inputs == relu.outputs == (Tensor((1, 4, 6, 6)),)
    assert conv.attribute("kernel_shape") == (3, 3)
    assert graph.inputs == (("x", Tensor((1, 3, 8, 8))),) and graph.outputs == ("y",)
    assert graph.runtime == "" and read_graph(conv_net(4), runtime="fake").runtime == "fake"


def test_file_bytes_and_model_are_one(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(conv_net())
    assert read_graph(path) == read_graph(conv_net()) == read_graph(onnx.load(path))
    assert subjects.from_file(path).id == subjects.from_bytes(conv_net(), name="n").id == read_graph(path).digest
    assert read_graph(subjects.from_file(path).onnx()) == read_graph(path)


def test_weights_do_not_change_the_digest(onnx_model: Make) -> None:
    one, other = (
        onnx_model([helper.make_node("Mul", ["x", "w"], ["y"])], {"x": (4,)}, {"y": (4,)}, {"w": (4,)})
        for _ in range(2)
    )
    other.graph.initializer[0].raw_data = b"\0" * 16
    assert read_graph(one).digest == read_graph(other).digest


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.onnx", "there is no model file")
    refused(tmp_path, "there is no model file")


@pytest.mark.parametrize("content", [b"not a model", b"\xff" * 64, b"\x08", bytes(range(256))])
def test_a_file_that_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    refused(path, "net.onnx")
    refused(content)


@pytest.mark.parametrize("content", [b"", onnx.ModelProto(ir_version=10).SerializeToString()])
def test_an_empty_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    refused(path, "net.onnx", "empty")


def test_a_truncated_file(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    content = conv_net(64)
    refused(content[: len(content) // 2], "not an ONNX model")


def test_a_file_that_is_too_large(tmp_path: Path, conv_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(conv_net())
    monkeypatch.setattr(onnx_check, "LARGEST_BYTES", 100)
    refused(path, "at most 100")


@pytest.mark.parametrize("batch", ["N", None, 0])
def test_a_dynamic_input_shape(batch: Any) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out]))
    refused(model, "'x'", "every dimension must be a number")


def test_an_input_without_a_shape() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out]))
    refused(model, "'x'")


def test_shapes_that_the_file_lacks_are_inferred(onnx_model: Make) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    model = onnx_model(nodes, {"x": (2, 3)}, {"y": (2, 5)}, {"w": (3, 5)})
    assert not model.graph.value_info
    assert read_graph(model).operators[0].outputs == (Tensor((2, 5)),)


def test_shapes_are_inferred_beside_large_weights_too(onnx_model: Make) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    model = onnx_model(nodes, {"x": (2, 600)}, {"y": (2, 700)}, {"w": (600, 700)})
    assert model.ByteSize() > 1 << 20
    assert read_graph(model).operators[0].outputs == (Tensor((2, 700)),)


def test_shapes_are_inferred_beside_operators_of_a_runtime(onnx_model: Make) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], domain="com.microsoft.nchwc"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("ReduceSum", ["x"], ["c"], keepdims=0),  # there is no rule of ours for it
        helper.make_node("Mul", ["c", "d"], ["y"]),
    ]
    nodes[2], nodes[3] = nodes[3], nodes[2]
    model = onnx_model(nodes, {"x": (1, 8, 6, 6)}, {"y": (1, 8, 4, 4)}, {"w": (8, 8, 3, 3)})
    model.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    made = {node.outputs[0]: node.operator.outputs[0].shape for node in read_graph(model, runtime="any").nodes}
    assert made == {"a": (1, 8, 4, 4), "b": (1, 8, 4, 4), "c": (), "d": (1, 8, 4, 4), "y": (1, 8, 4, 4)}


def test_equal_nodes_are_one_operator_and_nearly_equal_ones_are_not(onnx_model: Make) -> None:
    def attributes(value: Any, count: int) -> list[Any]:
        names = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
        nodes = [helper.make_node("LeakyRelu", [a], [b], alpha=0.25) for a, b in pairwise(names)]
        nodes[0].op_type, nodes[0].domain = "Own", "test"
        nodes[0].attribute[0].CopyFrom(helper.make_attribute("alpha", value))
        return list(read_graph(onnx_model(nodes, {"x": (4,)}, {"y": (4,)}, known={"v0": (4,)})).operators)

    whole, real = attributes(1, 3), attributes(1.0, 3)
    assert whole[1] is whole[2] is real[1]
    assert [type(first[0].attribute("alpha")) for first in (whole, real)] == [int, float]
    assert whole[0].key != real[0].key


def test_a_shape_that_depends_on_data_is_refused(onnx_model: Make) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["a"]), helper.make_node("Cast", ["a"], ["y"], to=1)]
    refused(onnx_model(nodes, {"x": (2, 3)}, {"y": (2, 5)}), "NonZero", "cannot be inferred")


def test_the_shape_of_an_unknown_operator_is_not_guessed(onnx_model: Make) -> None:
    nodes = [helper.make_node("Mystery", ["x"], ["a"], domain="test"), helper.make_node("Relu", ["a"], ["y"])]
    refused(onnx_model(nodes, {"x": (2, 3)}, {"y": (2, 3)}), "test:Mystery")
    known = onnx_model(nodes, {"x": (2, 3)}, {"y": (2, 3)}, known={"a": (2, 3)})
    assert [operator.kind for operator in read_graph(known).operators] == ["test:Mystery", "Relu"]


@pytest.mark.parametrize(
    ("axis", "shapes", "expected"),
    [
        (1, [(1, 8, 4, 4), (1, 24, 4, 4)], (1, 32, 4, 4)),
        (-3, [(1, 8, 4, 4), (1, 24, 4, 4)], (1, 32, 4, 4)),
        (0, [(2, 3)] * 3, (6, 3)),
        (-1, [(2, 3), (2, 1), (2, 5)], (2, 9)),
        (1, [(2, 3)], (2, 3)),
        (1, [(2, 3), None], None),
        (None, [(2, 3), (2, 3)], None),
    ],
)
def test_shapes_are_laid_end_to_end(axis: int | None, shapes: list[Any], expected: Any) -> None:
    attributes = {} if axis is None else {"axis": axis}
    assert output_shape("Concat", attributes, shapes) == expected


def test_the_shape_of_a_concat_of_blocked_kernels_is_inferred(onnx_model: Make) -> None:
    """Between kernels of the runtime's own, ONNX's inference sees no shapes."""
    own = {"domain": "test"}
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], **own),
        helper.make_node("MaxPool", ["x"], ["b"], kernel_shape=[1, 1], **own),
        helper.make_node("Concat", ["a", "b", "x"], ["c"], axis=1),
        helper.make_node("Sigmoid", ["c"], ["y"], **own),
    ]
    graph = read_graph(onnx_model(nodes, {"x": (1, 8, 4, 4)}, {"y": (1, 24, 4, 4)}))
    assert [operator.kind for operator in graph.operators] == ["test:Relu", "test:MaxPool", "Concat", "test:Sigmoid"]
    assert graph.operators[2].outputs == graph.operators[3].inputs == (Tensor((1, 24, 4, 4)),)


def test_a_value_that_nothing_writes(onnx_model: Make) -> None:
    model = onnx_model([helper.make_node("Add", ["x", "ghost"], ["y"])], {"x": (4,)}, {"y": (4,)})
    refused(model, "'ghost'")


def with_external(model: Any, location: str) -> bytes:
    """The model with its weight moved to a data file."""
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture
def weighted(onnx_model: Make) -> Any:
    return onnx_model([helper.make_node("Mul", ["x", "w"], ["y"])], {"x": (4,)}, {"y": (4,)}, {"w": (4,)})


def test_weights_beside_the_model_are_read(tmp_path: Path, weighted: Any) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"\0" * 16)
    path = tmp_path / "net.onnx"
    path.write_bytes(with_external(weighted, "data/w.bin"))
    assert read_graph(path).operators[0].inputs[1] == Tensor((4,), constant=True)
    assert subjects.from_file(path).onnx()


@pytest.mark.parametrize("location", ["../secret", "data/../../secret", "{absolute}", "link"])
def test_weights_outside_of_the_folder_are_refused(tmp_path: Path, weighted: Any, location: str) -> None:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 16)
    (folder / "link").symlink_to(secret)
    path = folder / "net.onnx"
    path.write_bytes(with_external(weighted, location.format(absolute=secret)))
    refused(path, "outside of its folder", "'w'")


def test_an_absolute_path_into_the_folder_is_refused(tmp_path: Path, weighted: Any) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 16)
    path = tmp_path / "net.onnx"
    path.write_bytes(with_external(weighted, str(tmp_path / "w.bin")))
    refused(path, "outside of its folder")


def test_a_model_without_a_folder_cannot_have_weights_elsewhere(weighted: Any) -> None:
    refused(with_external(weighted, "w.bin"), "outside of its folder")


@pytest.mark.parametrize("location", ["w.bin", ""])
def test_missing_external_weights(tmp_path: Path, weighted: Any, location: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(with_external(weighted, location))
    refused(path, "missing")


def test_constants_inside_of_nodes_and_branches_are_checked_too(tmp_path: Path, onnx_model: Make) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    outside = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "../secret"
    constant = helper.make_node("Constant", [], ["c"], value=outside)
    out = helper.make_tensor_value_info("c", TensorProto.FLOAT, [4])
    branch = helper.make_graph([constant], "branch", [], [out])
    for nodes in (
        [constant, helper.make_node("Add", ["x", "c"], ["y"])],
        [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)],
    ):
        path = tmp_path / "model" / "net.onnx"
        path.write_bytes(onnx_model(nodes, {"x": (4,)}, {"y": (4,)}).SerializeToString())
        refused(path, "'../secret'", "outside of its folder")


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Relu", ["w"], ["y"])],
        [helper.make_node("Relu", ["x"], ["dead"]), helper.make_node("Relu", ["w"], ["y"])],
        [helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0, 3.0, 4.0])],
    ],
)
def test_an_output_that_is_constant(onnx_model: Make, nodes: list[Any]) -> None:
    with pytest.raises(ConstantNetwork):
        read_graph(onnx_model(nodes, {"x": (4,)}, {"y": (4,)}, {"w": (4,)}, known={"dead": (4,)}))


def test_a_model_without_an_input(onnx_model: Make) -> None:
    with pytest.raises(ConstantNetwork):
        read_graph(onnx_model([helper.make_node("Relu", ["w"], ["y"])], {}, {"y": (4,)}, {"w": (4,)}))


def test_constant_nodes_become_constants_and_dead_nodes_vanish(onnx_model: Make) -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0, 3.0, 4.0]),
        helper.make_node("Mul", ["c", "w"], ["d"]),
        helper.make_node("Sigmoid", ["x"], ["dead"]),
        helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    graph = read_graph(onnx_model(nodes, {"x": (4,)}, {"y": (4,)}, {"w": (4,)}))
    assert [operator.kind for operator in graph.operators] == ["Add"]
    assert graph.operators[0].inputs == (Tensor((4,)), Tensor((4,), constant=True))


def test_weights_that_are_listed_as_inputs_are_weights(onnx_model: Make) -> None:
    model = onnx_model([helper.make_node("Mul", ["x", "w"], ["y"])], {"x": (4,), "w": (4,)}, {"y": (4,)}, {"w": (4,)})
    graph = read_graph(model)
    assert [name for name, _ in graph.inputs] == ["x"]
    assert graph.operators[0].inputs[1] == Tensor((4,), constant=True)


def test_an_optional_input_that_is_left_out(onnx_model: Make) -> None:
    model = onnx_model([helper.make_node("Clip", ["x", "", "top"], ["y"])], {"x": (4,)}, {"y": (4,)}, {"top": ()})
    operator = read_graph(model).operators[0]
    assert operator.inputs == (Tensor((4,)), None, Tensor((), constant=True))


def test_attributes_keep_their_values(onnx_model: Make) -> None:
    node = helper.make_node(
        "Odd", ["x"], ["y"], domain="test", f=0.1, i=3, s="word", ints=[1, 2], floats=[0.5], strings=["a"]
    )
    operator = read_graph(onnx_model([node], {"x": (4,)}, {"y": (4,)})).operators[0]
    assert dict(operator.attributes) == {
        "f": 0.1, "i": 3, "s": "word", "ints": (1, 2), "floats": (0.5,), "strings": ("a",),
    }  # fmt: skip
    assert [name for name, _ in operator.attributes] == sorted(name for name, _ in operator.attributes)


@pytest.mark.parametrize(
    ("kind", "attributes", "shapes", "expected"),
    [
        ("QLinearConv", {"channels_last": 1}, [(1, 8, 6, 3), (), (), (5, 3, 3, 3)], (1, 6, 4, 5)),
        ("QLinearConv", {"strides": (2, 2)}, [(1, 3, 9, 9), (), (), (5, 3, 3, 3)], (1, 5, 4, 4)),
        ("QLinearAdd", {}, [(1, 3, 4, 4), (), (), (1, 3, 1, 1), (), ()], (1, 3, 4, 4)),
        ("QGemm", {"transB": 1}, [(2, 8), (), (), (5, 8), (), ()], (2, 5)),
        ("QLinearMatMul", {}, [(1, 4, 8), (), (), (8, 5), (), ()], (1, 4, 5)),
        ("QLinearWhere", {}, [(4, 4), (1, 2, 4, 4), (), (), (), (), (), (), ()], (1, 2, 4, 4)),
        ("QLinearWhere", {}, [(1, 2, 1, 4), (1, 1, 4, 4), (), (), (1,), (), (), (), ()], (1, 2, 4, 4)),
        ("MatMulIntegerToFloat", {}, [(1, 4, 8), (8, 5), (), (), (), ()], (1, 4, 5)),
        ("DynamicQuantizeMatMul", {}, [(2, 4, 8), (8, 5), (), ()], (2, 4, 5)),
        ("QLinearGlobalAveragePool", {"channels_last": 1}, [(1, 4, 6, 8)], (1, 1, 1, 8)),
        ("QLinearGlobalAveragePool", {}, [(1, 8, 4, 6)], (1, 8, 1, 1)),
        ("NhwcMaxPool", {"kernel_shape": (2, 2), "strides": (2, 2)}, [(1, 8, 6, 3)], (1, 4, 3, 3)),
        ("ReorderInput", {"channels_last": 1}, [(1, 4, 6, 8)], (1, 8, 4, 6)),
        ("ReorderInput", {}, [(1, 8, 4, 6)], (1, 8, 4, 6)),
        ("ReorderOutput", {"channels_last": 1, "channels": 8}, [(1, 8, 4, 6)], (1, 4, 6, 8)),
        ("ReorderOutput", {"channels": 8}, [(1, 8, 4, 6)], (1, 8, 4, 6)),
        ("Transpose", {"perm": (0, 2, 3, 1)}, [(1, 3, 4, 5)], (1, 4, 5, 3)),
        ("Transpose", {}, [(2, 3, 4)], (4, 3, 2)),
    ],
)
def test_shapes_of_operators_of_integers(
    kind: str, attributes: dict[str, object], shapes: list[tuple[int, ...]], expected: tuple[int, ...]
) -> None:
    assert output_shape(kind, attributes, shapes) == expected
