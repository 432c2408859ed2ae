"""How much work operators do: multiply-accumulates, elementwise operations, bytes.

The only thing listed by hand about operators.

MACs count products of convolutions, matrix products and attention; one MAC is two floating-point operations. Tools that
hook torch modules count 0 for `nn.MultiheadAttention` in eval mode; counting on the exported graph does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from math import prod

from profiler.operators import Operator, OperatorGraph, Tensor

_CONV = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "NhwcConv", "QLinearConv", "ConvInteger"})
_TRANSPOSED = frozenset({"ConvTranspose", "QLinearConvTranspose"})
_GEMM = frozenset({"Gemm", "FusedGemm", "QGemm"})
_MATMUL = frozenset(
    {
        "MatMul", "FusedMatMul", "TransposeMatMul", "MatMulInteger", "MatMulInteger16", "QLinearMatMul",
        "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
    }
)  # fmt: skip
#: Where the second factor is, in operators whose first is followed by its scale and its zero point.
_SECOND_FACTOR = dict.fromkeys(("QLinearConv", "QLinearConvTranspose", "QGemm", "QLinearMatMul"), 3)
#: Recurrent operators, with the elementwise operations of one unit in one step: a sigmoid is 4, a tanh 5.
_RECURRENT = {"LSTM": 3 * 4 + 2 * 5 + 4, "DynamicQuantizeLSTM": 3 * 4 + 2 * 5 + 4, "GRU": 2 * 4 + 5 + 6, "RNN": 5 + 2}
_POOL = frozenset({"MaxPool", "AveragePool", "LpPool", "QLinearAveragePool", "NhwcMaxPool"})
#: Operators that do something with each element that they read, whatever little they write.
_REDUCE = frozenset(
    {
        "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool", "ReduceMean", "ReduceSum",
        "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceSumSquare", "ReduceLogSum",
        "ReduceLogSumExp", "QLinearReduceMean", "ArgMax", "ArgMin", "NonZero",
    }
)  # fmt: skip
_FREE = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape", "Size"})
#: Operators that read of their first input no more than they write.
_PICKS = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})
#: Elements that an interpolation reads along an axis for each that it writes; the nearest one is copied.
_TAPS = {"linear": 2, "bilinear": 2, "cubic": 4}
#: Operations of a power, and of a product of integers that is scaled back.
_POWER, _REQUANTISED = 10, 3
#: Operators for which an exporter writes biases of 0 and scales of 1 that no module has.
_WITH_DEFAULTS = frozenset(
    {
        "Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "LayerNormalization",
        "GroupNormalization",
    }
)  # fmt: skip
#: Name of a constant that an exporter computed: one of its own, or a weight that it transposed or split.
_COMPUTED = re.compile(r"(.*/)?val_\d+")
#: Elementwise operations for each element of an output, where it is not 1.
_PER_ELEMENT = {
    "Softmax": 4, "LogSoftmax": 4, "LayerNormalization": 6, "SkipLayerNormalization": 7, "Gelu": 8, "Erf": 6,
    "Sigmoid": 4, "HardSwish": 3, "HardSigmoid": 2, "BatchNormalization": 2, "Exp": 4, "Tanh": 5,
    "BiasGelu": 9, "FastGelu": 9, "QuickGelu": 6, "Log": 4, "Softplus": 8, "Mish": 14, "Elu": 5, "Selu": 5, "Celu": 5,
    "PRelu": 2, "LeakyRelu": 2, "Sin": 5, "Cos": 5, "InstanceNormalization": 6, "GroupNorm": 6,
    "GroupNormalization": 6, "SimplifiedLayerNormalization": 5, "SkipSimplifiedLayerNormalization": 6,
    "MeanVarianceNormalization": 5, "LpNormalization": 3, "QuantizeLinear": 3, "DequantizeLinear": 2,
    "DynamicQuantizeLinear": 5, "QLinearAdd": 4, "QLinearMul": 4, "QLinearSigmoid": 2, "QLinearLeakyRelu": 2,
    "QLinearSoftmax": 4, "QLinearConcat": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """Work of a graph.

    Attributes:
        macs: multiply-accumulates.
        elementwise: operations on single elements.
        parameters: elements of float weights, each counted once however often it is used.
        weight_bytes: bytes of these weights.
        activation_bytes: bytes of activations that operators read and write.
    """

    macs: int
    elementwise: int
    parameters: int
    weight_bytes: int
    activation_bytes: int


def _countable(count: Callable[[Operator], int]) -> Callable[[Operator], int]:
    """The count, or 0 where operands are missing or their shapes are not known, or not those of the operator's name.

    Control flow hides shapes, and a domain of others may have an `Attention` of its own.
    """

    @wraps(count)
    def counted(operator: Operator) -> int:
        try:
            return count(operator)
        except (IndexError, ValueError):
            return 0

    return counted


@_countable
def macs(operator: Operator) -> int:
    """Multiply-accumulates of one operator; 0 for those that multiply no matrices, or whose shapes are not known."""
    kind = operator.op_type
    shapes = [tensor.shape if tensor is not None else () for tensor in operator.inputs]
    out = operator.outputs[0].shape if operator.outputs else ()
    second = shapes[_SECOND_FACTOR.get(kind, 1)] if len(shapes) > _SECOND_FACTOR.get(kind, 1) else ()
    if kind in _CONV:
        return prod(out) * prod(second[1:])
    if kind in _TRANSPOSED:
        return prod(shapes[0]) * prod(second[1:])
    if kind in _GEMM:
        inner = shapes[0][0] if operator.attribute("transA", 0) else shapes[0][1]
        return prod(out) * inner
    if kind in _MATMUL:
        inner = shapes[0][-2] if operator.attribute("transA", 0) else shapes[0][-1]
        return prod(out) * inner
    if kind in ("Attention", "MultiHeadAttention"):
        return _attention(operator, shapes)
    if kind == "Einsum":
        return _einsum(str(operator.attribute("equation", "")), shapes)
    if kind in _RECURRENT:
        # The weights of all directions, each used once in each step: those on the input, and those on the state.
        steps, batch = shapes[0][0], shapes[0][1]
        return steps * batch * (prod(second) + prod(shapes[2]))
    return 0


@_countable
def elementwise(operator: Operator) -> int:
    """Operations on single elements, beside MACs."""
    kind = operator.op_type
    out = prod(operator.outputs[0].shape) if operator.outputs else 0
    if kind in _FREE:
        return 0
    if kind in _RECURRENT:
        return _RECURRENT[kind] * _units(operator)
    if macs(operator):
        fused = sum(1 for tensor in operator.inputs[2:] if tensor is not None) + (
            operator.attribute("activation") is not None
        )
        return out * (_REQUANTISED if kind in _SECOND_FACTOR or "Integer" in kind or "Quantize" in kind else fused)
    if kind in _POOL:
        return int(out * prod(operator.attribute("kernel_shape", (1,))))
    read = operator.inputs[0].elements if operator.inputs and operator.inputs[0] is not None else 0
    if kind in _REDUCE:
        return read
    if kind == "TopK":
        kept = operator.outputs[0].shape[int(operator.attribute("axis", -1))] if operator.outputs else 1
        return read * kept.bit_length()  # a heap of the best
    if kind == "LRN":
        return out * (int(operator.attribute("size", 1)) + _POWER + 2)
    if kind in ("Resize", "Upsample"):
        return out * _interpolated(operator)
    return out * _PER_ELEMENT.get(kind, 1)


def _units(operator: Operator) -> int:
    """Units of a recurrent operator, in all its steps, directions and sequences."""
    first, state = operator.inputs[0], operator.inputs[2]
    if first is None or state is None:
        return 0
    # Weights on the state: directions, gates * hidden, hidden; quantised ones have the last two the other way round.
    return prod(first.shape[:2]) * state.shape[0] * min(state.shape[1:])


def _interpolated(operator: Operator) -> int:
    """Operations for each element that an interpolation writes: a product and a sum for each that it reads."""
    taps = _TAPS.get(str(operator.attribute("mode", "nearest")))
    first, out = operator.inputs[0], operator.outputs[0]
    if taps is None or first is None:
        return 1
    axes = sum(before != after for before, after in zip(first.shape, out.shape, strict=False))
    return int(2 * taps ** max(axes, 1))


@_countable
def bytes_moved(operator: Operator) -> int:
    """Bytes of inputs, weights and outputs; 0 for operators that only rename a tensor, with nothing fused to them.

    Of a table that is looked up, and of a tensor that is sliced, what is taken counts; weights on the state of a
    recurrent operator count in each step.
    """
    if operator.op_type in _FREE and not operator.attribute("fused", ()):
        return 0
    whole = sum(tensor.bytes for tensor in (*operator.inputs, *operator.outputs) if tensor is not None)
    whole += _again(operator)
    first = operator.inputs[0] if operator.inputs else None
    if operator.op_type in _PICKS and first is not None:
        return whole - first.bytes + _taken(operator, first)
    return whole


def _again(operator: Operator) -> int:
    """Bytes of weights on the state that a recurrent operator reads again, in each step after the first."""
    if operator.op_type not in _RECURRENT:
        return 0
    first, state = operator.inputs[0], operator.inputs[2]
    return 0 if first is None or state is None else max(first.shape[0] - 1, 0) * state.bytes


def _taken(operator: Operator, first: Tensor) -> int:
    """Bytes of a tensor that an operator picks from: no more than it writes."""
    return min(first.bytes, sum(tensor.bytes for tensor in operator.outputs))


def weight_bytes(operator: Operator) -> int:
    """Bytes of the constants that an operator has."""
    return sum(tensor.bytes for tensor in operator.inputs if tensor is not None and tensor.constant)


@_countable
def weight_bytes_read(operator: Operator) -> int:
    """Bytes of the constants that one run reads: of a table, what is taken; those of a recurrence in each step."""
    whole = weight_bytes(operator) + _again(operator)
    first = operator.inputs[0] if operator.inputs else None
    if operator.op_type in _PICKS and first is not None and first.constant:
        return whole - first.bytes + _taken(operator, first)
    return whole


def parameters(graph: OperatorGraph) -> int:
    """Elements of float constants, each counted once."""
    return graph_work(graph).parameters


def graph_macs(graph: OperatorGraph) -> int:
    """Multiply-accumulates of a graph."""
    return sum(macs(operator) for operator in graph.operators)


def graph_work(graph: OperatorGraph) -> Work:
    """All counts of a graph.

    Parameters are what trained networks keep: float constants of at least one dimension. Statistics of batch norm (its
    fourth and fifth input), and the biases of 0, scales of 1 and single factors that an exporter added, are left out.
    """
    weights = {}
    activations = 0
    for node in graph.nodes:
        for position, (name, tensor) in enumerate(zip(node.inputs, node.operator.inputs, strict=True)):
            if tensor is None:
                continue
            if not tensor.constant:
                activations += tensor.bytes
            elif (
                "float" in tensor.dtype
                and tensor.shape
                and not _exporters_own(node.operator.op_type, position, name, tensor)
            ):
                weights[name] = tensor
        activations += sum(tensor.bytes for tensor in node.operator.outputs)
    return Work(
        macs=graph_macs(graph),
        elementwise=sum(elementwise(operator) for operator in graph.operators),
        parameters=sum(tensor.elements for tensor in weights.values()),
        weight_bytes=sum(tensor.bytes for tensor in weights.values()),
        activation_bytes=activations,
    )


def _exporters_own(op_type: str, position: int, name: str, tensor: Tensor) -> bool:
    if op_type == "BatchNormalization" and position >= 3:
        return True
    added = len(tensor.shape) == 1 and (tensor.elements == 1 or op_type in _WITH_DEFAULTS)
    return added and _COMPUTED.fullmatch(name) is not None


def _attention(operator: Operator, shapes: list[tuple[int, ...]]) -> int:
    """Scores and weighted values.

    Com.microsoft's `Attention` projects its input to queries, keys and values as well.
    """
    query = shapes[0]
    if operator.domain == "com.microsoft" and operator.op_type == "Attention":
        batch, length, _ = query
        inner = operator.outputs[0].shape[-1]
        return batch * length * prod(shapes[1]) + 2 * batch * length * length * inner
    key, value = shapes[1], shapes[2]
    if len(query) == 4:  # batch, heads, length, size
        batch, heads, length, size = query
        return batch * heads * length * key[2] * (size + value[3])
    batch, length, inner = query
    return batch * length * key[1] * (inner + value[-1])


def _einsum(equation: str, shapes: list[tuple[int, ...]]) -> int:
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    extents: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=False):
        extents.update(zip(term, shape, strict=False))
    return prod(extents.values()) if len(terms) > 1 else 0
