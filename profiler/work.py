"""How much work operators do: multiply-accumulates, elementwise operations, bytes.

The only thing listed by hand about operators.

MACs count products of convolutions, matrix products and attention; one MAC is two floating-point operations. Tools that
hook torch modules count 0 for `nn.MultiheadAttention` in eval mode; counting on the exported graph does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from profiler.operators import Operator, OperatorGraph, Tensor

_CONV = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger"})
_GEMM = frozenset({"Gemm", "FusedGemm"})
_MATMUL = frozenset({"MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul"})
_POOL = frozenset({"MaxPool", "AveragePool", "LpPool"})
_REDUCE = frozenset(
    {"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"}
)
_FREE = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
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


def macs(operator: Operator) -> int:
    """Multiply-accumulates of one operator; 0 for those that multiply no matrices."""
    kind = operator.op_type
    shapes = [tensor.shape if tensor is not None else () for tensor in operator.inputs]
    out = operator.outputs[0].shape if operator.outputs else ()
    if kind in _CONV:
        weight = shapes[3] if kind == "QLinearConv" else shapes[1]
        return prod(out) * prod(weight[1:])
    if kind == "ConvTranspose":
        return prod(shapes[0]) * prod(shapes[1][1:])
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
    if kind in ("LSTM", "GRU", "RNN"):
        steps, batch = shapes[0][0], shapes[0][1]
        return steps * batch * (prod(shapes[1]) + prod(shapes[2]))
    return 0


def elementwise(operator: Operator) -> int:
    """Operations on single elements, beside MACs."""
    kind = operator.op_type
    out = prod(operator.outputs[0].shape) if operator.outputs else 0
    if kind in _FREE or macs(operator):
        fused = sum(1 for tensor in operator.inputs[2:] if tensor is not None) + (
            operator.attribute("activation") is not None
        )
        return out * fused if macs(operator) else 0
    if kind in _POOL:
        return int(out * prod(operator.attribute("kernel_shape", (1,))))
    if kind in _REDUCE:
        first = operator.inputs[0]
        return first.elements if first is not None else 0
    return out * _PER_ELEMENT.get(kind, 1)


def bytes_moved(operator: Operator) -> int:
    """Bytes of inputs, weights and outputs; 0 for operators that only rename a tensor."""
    if operator.op_type in _FREE:
        return 0
    return sum(tensor.bytes for tensor in (*operator.inputs, *operator.outputs) if tensor is not None)


def weight_bytes(operator: Operator) -> int:
    """Bytes of the constants that an operator reads."""
    return sum(tensor.bytes for tensor in operator.inputs if tensor is not None and tensor.constant)


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
