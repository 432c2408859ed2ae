from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from profiler import work
from profiler.onnx_graph import read_graph
from profiler.operators import UNKNOWN, Node, Operator, OperatorGraph, Tensor

Make = Callable[..., Any]


def operator(
    op_type: str, inputs: list[tuple[int, ...] | None], output: tuple[int, ...], **attributes: Any
) -> Operator:
    """An operator whose inputs behind the first are weights."""
    tensors = tuple(None if s is None else Tensor(s, constant=i > 0) for i, s in enumerate(inputs))
    return Operator("", op_type, tuple(sorted(attributes.items())), tensors, (Tensor(output),))


def test_a_convolution_by_hand(onnx_model: Make) -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    graph = read_graph(onnx_model([node], {"x": (1, 3, 8, 8)}, {"y": (1, 16, 4, 4)}, {"w": (16, 3, 3, 3), "b": (16,)}))
    counted = work.graph_work(graph)
    assert counted.macs == 16 * 4 * 4 * 3 * 3 * 3
    assert counted.parameters == 16 * 3 * 3 * 3 + 16
    assert counted.weight_bytes == 4 * counted.parameters
    assert counted.activation_bytes == 4 * (3 * 8 * 8 + 16 * 4 * 4)
    assert counted.elementwise == 16 * 4 * 4, "one addition of the bias for each element"
    conv = graph.operators[0]
    assert work.bytes_moved(conv) == counted.activation_bytes + counted.weight_bytes
    assert work.weight_bytes(conv) == counted.weight_bytes


def test_a_depthwise_convolution_multiplies_each_channel_by_its_own_window(onnx_model: Make) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[5, 5], group=8, pads=[2, 2, 2, 2])
    graph = read_graph(onnx_model([node], {"x": (1, 8, 10, 10)}, {"y": (1, 8, 10, 10)}, {"w": (8, 1, 5, 5)}))
    assert work.graph_macs(graph) == 8 * 10 * 10 * 5 * 5
    assert work.parameters(graph) == 8 * 5 * 5


@given(
    groups=st.integers(1, 4),
    into=st.integers(1, 4),
    out=st.integers(1, 4),
    kernel=st.integers(1, 3),
    size=st.integers(1, 6),
    batch=st.integers(1, 3),
)
def test_a_grouped_convolution_is_the_sum_of_its_groups(
    groups: int, into: int, out: int, kernel: int, size: int, batch: int
) -> None:
    def conv(channels_in: int, channels_out: int, group: int) -> int:
        weight = (channels_out, channels_in // group, kernel, kernel)
        shape = (batch, channels_out, size, size)
        return work.macs(operator("Conv", [(batch, channels_in, size, size), weight], shape, group=group))

    assert conv(groups * into, groups * out, groups) == groups * conv(into, out, 1)
    assert conv(into, out, 1) == batch * size * size * into * out * kernel * kernel


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "attributes", "macs"),
    [
        ("Gemm", [(2, 8), (8, 5), (5,)], (2, 5), {}, 2 * 8 * 5),
        ("Gemm", [(2, 8), (5, 8), (5,)], (2, 5), {"transB": 1}, 2 * 8 * 5),
        ("Gemm", [(8, 2), (8, 5), None], (2, 5), {"transA": 1}, 2 * 8 * 5),
        ("MatMul", [(4, 6, 8), (8, 5)], (4, 6, 5), {}, 4 * 6 * 8 * 5),
        ("MatMul", [(3, 4, 6, 8), (3, 4, 8, 6)], (3, 4, 6, 6), {}, 3 * 4 * 6 * 8 * 6),
        ("FusedMatMul", [(4, 8, 6), (8, 5)], (4, 6, 5), {"transA": 1}, 4 * 6 * 8 * 5),
        ("FusedConv", [(1, 3, 8, 8), (4, 3, 3, 3)], (1, 4, 6, 6), {}, 4 * 36 * 27),
        ("Conv", [(1, 3, 9), (4, 3, 3)], (1, 4, 7), {}, 4 * 7 * 9),
        ("Conv", [(1, 2, 4, 4, 4), (3, 2, 2, 2, 2)], (1, 3, 3, 3, 3), {}, 3 * 27 * 16),
        ("ConvTranspose", [(1, 4, 5, 5), (4, 6, 2, 2)], (1, 6, 10, 10), {}, 4 * 25 * 6 * 4),
        ("Einsum", [(4, 8), (8, 5)], (4, 5), {"equation": "ij,jk->ik"}, 4 * 8 * 5),
        ("Einsum", [(4, 8)], (8, 4), {"equation": "ij->ji"}, 0),
        ("LSTM", [(7, 2, 3), (1, 20, 3), (1, 20, 5)], (7, 1, 2, 5), {}, 7 * 2 * (20 * 3 + 20 * 5)),
        ("Relu", [(1, 8)], (1, 8), {}, 0),
        ("Add", [(1, 8), (8,)], (1, 8), {}, 0),
    ],
)
def test_multiply_accumulates_by_hand(
    kind: str, inputs: list[tuple[int, ...] | None], output: tuple[int, ...], attributes: dict[str, Any], macs: int
) -> None:
    assert work.macs(operator(kind, inputs, output, **attributes)) == macs


def test_fused_attention_by_hand() -> None:
    length, size = 6, 16
    three = [(1, length, size)] * 3
    fused = Operator("com.microsoft", "MultiHeadAttention", (), tuple(map(Tensor, three)), (Tensor((1, length, size)),))
    assert work.macs(fused) == 2 * length * length * size
    packed = Operator(
        "com.microsoft",
        "Attention",
        (),
        (Tensor((1, length, size)), Tensor((size, 3 * size), constant=True)),
        (Tensor((1, length, size)),),
    )
    assert work.macs(packed) == 3 * length * size * size + 2 * length * length * size
    heads = Operator("", "Attention", (), (Tensor((1, 4, 6, 8)), Tensor((1, 4, 5, 8)), Tensor((1, 4, 5, 2))), ())
    assert work.macs(heads) == 4 * 6 * 5 * (8 + 2)


def test_batch_norm_has_two_operations_an_element_and_two_parameters_a_channel(onnx_model: Make) -> None:
    node = helper.make_node("BatchNormalization", ["x", "scale", "bias", "mean", "var"], ["y"])
    weights = dict.fromkeys(("scale", "bias", "mean", "var"), (8,))
    counted = work.graph_work(read_graph(onnx_model([node], {"x": (1, 8, 4, 4)}, {"y": (1, 8, 4, 4)}, weights)))
    assert counted.macs == 0
    assert counted.elementwise == 2 * 8 * 4 * 4
    assert counted.parameters == 2 * 8


@pytest.mark.parametrize(
    ("kind", "shape", "output", "attributes", "count"),
    [
        ("MaxPool", (1, 2, 8, 8), (1, 2, 4, 4), {"kernel_shape": (2, 2)}, 2 * 16 * 4),
        ("GlobalAveragePool", (1, 2, 8, 8), (1, 2, 1, 1), {}, 2 * 64),
        ("Relu", (1, 10), (1, 10), {}, 10),
        ("Softmax", (1, 10), (1, 10), {}, 40),
        ("Reshape", (1, 10), (10,), {}, 0),
    ],
)
def test_elementwise_operations(
    kind: str, shape: tuple[int, ...], output: tuple[int, ...], attributes: dict[str, Any], count: int
) -> None:
    assert work.elementwise(operator(kind, [shape], output, **attributes)) == count


def test_renaming_a_tensor_moves_no_bytes() -> None:
    assert work.bytes_moved(operator("Reshape", [(1, 10), (1,)], (10,))) == 0
    assert work.bytes_moved(operator("Relu", [(1, 10)], (1, 10))) == 80


def test_a_weight_that_is_used_twice_is_counted_once(onnx_model: Make) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    counted = work.graph_work(read_graph(onnx_model(nodes, {"x": (2, 4)}, {"y": (2, 4)}, {"w": (4, 4)})))
    assert counted.parameters == 16
    assert counted.macs == 2 * 2 * 4 * 4


def one_weight(name: str, shape: tuple[int, ...], dtype: str = "float32", op_type: str = "MatMul") -> int:
    used = Operator("", op_type, (), (Tensor((4, 4)), Tensor(shape, dtype, constant=True)), (Tensor((4, 4)),))
    return work.parameters(OperatorGraph((Node(used, ("x", name), ("y",)),), (("x", Tensor((4, 4))),), ("y",)))


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "op_type", "count"),
    [
        ("w", (4, 4), "float32", "MatMul", 16),
        ("w", (4, 4), "float16", "MatMul", 16),
        ("w", (4, 4), "bfloat16", "MatMul", 16),
        ("w", (4, 4), "int64", "MatMul", 0),  # shapes and indices
        ("w", (), "float32", "Mul", 0),  # factors
        ("val_3", (4, 4), "float32", "MatMul", 16),  # a weight that the exporter transposed
        ("block/val_3", (4, 4), "float32", "MatMul", 16),
        ("val_3", (1,), "float32", "Mul", 0),  # a factor of the exporter
        ("val_3", (4,), "float32", "Conv", 0),  # a bias of zeros
        ("block/val_3", (4,), "float32", "Conv", 0),
        ("val_proj.bias", (4,), "float32", "Conv", 4),  # a module's own, whatever its name
        ("block/val_proj.weight", (4, 4), "float32", "MatMul", 16),
        ("val_3", (4,), "float32", "Add", 4),  # a part of a bias
    ],
)
def test_what_is_a_parameter(name: str, shape: tuple[int, ...], dtype: str, op_type: str, count: int) -> None:
    assert one_weight(name, shape, dtype, op_type) == count


def test_integer_matrix_products_are_counted() -> None:
    inputs = [(1, 3, 8, 8), (), (), (4, 3, 3, 3), (), (), (), ()]
    assert work.macs(operator("QLinearConv", inputs, (1, 4, 6, 6))) == 4 * 36 * 27
    assert work.macs(operator("MatMulInteger", [(2, 8), (8, 5)], (2, 5))) == 80


def test_half_precision_weights_weigh_half(onnx_model: Make) -> None:
    model = onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (2, 4)}, {"y": (2, 4)}, {"w": (4, 4)})
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.initializer[0].data_type = TensorProto.FLOAT16
    model.graph.initializer[0].raw_data = b"\0" * 32
    counted = work.graph_work(read_graph(model))
    assert (counted.parameters, counted.weight_bytes, counted.activation_bytes) == (16, 32, 32)


# -- kinds of real files


def test_local_response_normalisation_squares_its_window_and_takes_a_power() -> None:
    lrn = operator("LRN", [(1, 8, 4, 4)], (1, 8, 4, 4), size=5)
    assert work.elementwise(lrn) == 8 * 16 * (5 + 10 + 2)
    assert (work.macs(lrn), work.bytes_moved(lrn)) == (0, 2 * 4 * 8 * 16)


@pytest.mark.parametrize(("kind", "gates", "unit"), [("LSTM", 4, 26), ("GRU", 3, 19), ("RNN", 1, 7)])
@pytest.mark.parametrize("directions", [1, 2])
def test_a_recurrent_operator_uses_all_weights_in_each_step(kind: str, gates: int, unit: int, directions: int) -> None:
    """Seven steps of a batch of 2, from 5 features to 3 units."""
    shapes = [(7, 2, 5), (directions, gates * 3, 5), (directions, gates * 3, 3)]
    recurrent = operator(kind, list(shapes), (7, directions, 2, 3), hidden_size=3)
    assert work.macs(recurrent) == 7 * 2 * directions * gates * 3 * (5 + 3)
    assert work.elementwise(recurrent) == 7 * 2 * directions * 3 * unit


def test_weights_on_the_state_are_read_in_each_step() -> None:
    shapes = [(7, 2, 5), (1, 12, 5), (1, 12, 3)]
    recurrent = operator("LSTM", list(shapes), (7, 1, 2, 3), hidden_size=3)
    once = operator("LSTM", [(1, 2, 5), *shapes[1:]], (1, 1, 2, 3), hidden_size=3)
    assert work.weight_bytes_read(once) == work.weight_bytes(once) == 4 * 12 * (5 + 3)
    assert work.weight_bytes_read(recurrent) == 4 * 12 * (5 + 7 * 3)
    assert work.bytes_moved(recurrent) == work.weight_bytes_read(recurrent) + 4 * 7 * 2 * (5 + 3)


def test_a_recurrent_operator_without_steps_reads_its_weights_once() -> None:
    none = operator("GRU", [(0, 2, 5), (1, 9, 5), (1, 9, 3)], (0, 1, 2, 3), hidden_size=3)
    assert work.weight_bytes_read(none) == work.weight_bytes(none) and work.macs(none) == 0


def test_a_quantised_recurrent_operator_has_its_weights_the_other_way_round() -> None:
    shapes = [(7, 2, 5), (1, 5, 12), (1, 3, 12)]
    quantised = operator("DynamicQuantizeLSTM", list(shapes), (7, 1, 2, 3), hidden_size=3)
    assert work.macs(quantised) == 7 * 2 * 12 * (5 + 3)
    assert work.elementwise(quantised) == 7 * 2 * 3 * 26


@pytest.mark.parametrize(("mode", "each"), [("nearest", 1), ("linear", 2 * 4), ("cubic", 2 * 16)])
def test_an_interpolation_reads_its_taps_along_the_axes_that_change(mode: str, each: int) -> None:
    assert work.elementwise(operator("Resize", [(1, 3, 4, 4)], (1, 3, 8, 8), mode=mode)) == 3 * 64 * each
    assert work.elementwise(operator("Upsample", [(1, 3, 4, 4)], (1, 3, 8, 8), mode=mode)) == 3 * 64 * each


def test_along_one_axis_a_line_has_two_taps() -> None:
    assert work.elementwise(operator("Resize", [(1, 3, 4)], (1, 3, 8), mode="linear")) == 24 * 2 * 2


def test_quantised_products() -> None:
    """Behind the first factor of each are its scale and zero point; the sums are scaled back."""
    convolution = [(1, 3, 8, 8), (), (), (4, 3, 3, 3), (4,), (4,), (), (), (4,)]
    assert work.macs(operator("QLinearConv", list(convolution), (1, 4, 6, 6))) == 4 * 36 * 27
    assert work.elementwise(operator("QLinearConv", list(convolution), (1, 4, 6, 6))) == 4 * 36 * 3
    last = operator("QLinearConv", [(1, 8, 8, 3), *convolution[1:]], (1, 6, 6, 4), channels_last=1)
    assert work.macs(last) == 4 * 36 * 27, "channels last counts alike"
    assert work.macs(operator("QGemm", [(2, 8), (), (), (5, 8), (), (), (5,)], (2, 5), transB=1)) == 2 * 5 * 8
    assert work.macs(operator("QLinearMatMul", [(1, 2, 8), (), (), (8, 5), (), (), (), ()], (1, 2, 5))) == 80
    for kind in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger"):
        product = operator(kind, [(2, 8), (8, 5), (), ()], (2, 5))
        assert (work.macs(product), work.elementwise(product)) == (80, 30)


def test_a_transposed_convolution_multiplies_each_element_by_all_windows() -> None:
    assert work.macs(operator("ConvTranspose", [(1, 4, 5, 5), (4, 6, 2, 2)], (1, 6, 10, 10))) == 4 * 25 * 6 * 4


def test_a_table_is_read_where_it_is_looked_up() -> None:
    """Three rows of 8 numbers out of 1000, by three ids."""
    ids = Tensor((3,), "int64")
    gather = Operator("", "Gather", (), (Tensor((1000, 8), constant=True), ids), (Tensor((3, 8)),))
    assert work.weight_bytes(gather) == 4 * 8000
    assert work.weight_bytes_read(gather) == 4 * 24
    assert work.bytes_moved(gather) == 4 * 24 + 8 * 3 + 4 * 24
    tail = operator("Slice", [(1, 100), (1,), (1,)], (1, 10))
    assert work.bytes_moved(tail) == 4 * (10 + 2 + 10)


@pytest.mark.parametrize(("kind", "count"), [("ArgMax", 60), ("ReduceProd", 60), ("TopK", 60 * 3), ("Shape", 0)])
def test_what_is_read_counts_where_little_is_written(kind: str, count: int) -> None:
    assert work.elementwise(operator(kind, [(1, 60)], (1, 5))) == count


SHAPES = st.sampled_from([UNKNOWN, None, Tensor(()), Tensor((3,)), Tensor((0, 2)), Tensor((2, 3, 4, 5), constant=True)])
NAMES = st.sampled_from(sorted({schema.name for schema in onnx.defs.get_all_schemas()} | {"FusedConv", "QGemm"}))


@given(
    NAMES,
    st.sampled_from(["", "com.microsoft", "of.others"]),
    st.lists(SHAPES, max_size=9),
    st.lists(SHAPES, max_size=2),
)
def test_work_of_whatever_shapes_is_a_count(op_type, domain, inputs, outputs):
    strange = Operator(domain, op_type, (), tuple(inputs), tuple(tensor or UNKNOWN for tensor in outputs))
    counts = [count(strange) for count in (work.macs, work.elementwise, work.bytes_moved, work.weight_bytes_read)]
    assert all(isinstance(count, int) and count >= 0 for count in counts)
