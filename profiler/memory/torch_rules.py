"""What PyTorch's functions on the CPU allocate beside their result, for the runtime `torch`.

Observed with PyTorch 2.13 (oneDNN 3.12) on x86-64 with AVX-512, one thread, in the allocations that `torch.profiler`
lists. Which convolutions go to oneDNN is in PyTorch's sources (`use_mkldnn` in `aten/src/ATen/native/Convolution.cpp`);
which layout oneDNN then chooses is its own, and other on CPUs without AVX-512.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isclose, prod

from profiler.operators import Operator, Tensor

#: oneDNN's blocks of channels on AVX-512.
_BLOCK = 16
#: Inputs of at most this many elements are convolved by PyTorch itself, if nothing else speaks for oneDNN.
_NATIVE_ELEMENTS = 20480
#: Bytes that oneDNN adds to a buffer of its own.
_PADDING_BYTES = 128
#: A number that takes part in arithmetic: 8 bytes as it comes, 4 in the type of the data.
_NUMBER_BYTES = 12


@dataclass(frozen=True)
class Extra:
    """Memory of one call beside its inputs and its result.

    Attributes:
        before: bytes at most while the result is not there yet.
        beside: bytes at most together with the result.
    """

    before: int = 0
    beside: int = 0


def extra_bytes(operator: Operator) -> Extra | None:
    """Extra memory of an operator's call; None if that is not known."""
    if operator.kind in _NOTHING:
        return Extra()
    rule = _RULES.get(operator.kind)
    return None if rule is None else rule(operator)


def _tensor(operator: Operator, position: int) -> Tensor | None:
    return operator.inputs[position] if position < len(operator.inputs) else None


def _blocks(channels: int) -> int:
    return -(-channels // _BLOCK) * _BLOCK


def _conv(operator: Operator) -> Extra:
    data, weight, out = _tensor(operator, 0), _tensor(operator, 1), operator.outputs[0]
    assert data is not None and weight is not None
    kernel, pads = weight.shape[2:], operator.attribute("pads", (0,) * (2 * len(weight.shape[2:])))
    half = len(pads) // 2
    padded = Extra()
    if pads[:half] != pads[half:]:  # torch pads alike on both sides only, so the data is padded before
        size = 4 * prod(data.shape[:2])
        for axis, extent in enumerate(data.shape[2:]):
            size *= extent + pads[axis] + pads[axis + half]
        padded = Extra(size, size)
    groups = int(operator.attribute("group", 1))
    strided = any(step != 1 for name in ("strides", "dilations") for step in operator.attribute(name, (1,)))
    batch = data.shape[0]
    large_window = strided or batch >= 16 or any(extent != 1 for extent in kernel)
    much = groups > 1 or all(extent > 3 for extent in kernel) or batch > 1 or data.elements > _NATIVE_ELEMENTS
    if large_window and much:
        found = _onednn(operator, data, weight, out, groups)
    else:
        pointwise = all(extent == 1 for extent in kernel) and not strided and not any(pads)
        columns = 0 if pointwise else 4 * batch * prod(weight.shape[1:]) * prod(out.shape[2:])
        found = Extra(columns, columns)
        if groups > 1:  # group by group, then joined
            part = data.bytes // groups if batch > 1 else 0
            found = Extra(out.bytes + part + columns, out.bytes)
    return Extra(found.before + padded.before, found.beside + padded.beside)


def _onednn(operator: Operator, data: Tensor, weight: Tensor, out: Tensor, groups: int) -> Extra:
    """Copies of input, weight and result in blocks of channels; the result is copied back at the end."""
    filters, kernel = weight.shape[0], weight.shape[2:]
    channels = data.shape[1]
    blocked = channels >= _BLOCK
    source = 4 * data.shape[0] * _blocks(channels) * prod(data.shape[2:]) if blocked else 0
    result = 4 * out.shape[0] * _blocks(filters) * prod(out.shape[2:])
    depth = _blocks(channels) if blocked else channels
    weights = 4 * _blocks(filters) * (depth if groups == 1 else weight.shape[1]) * prod(kernel)
    bias = 4 * _blocks(filters) + _PADDING_BYTES if filters % _BLOCK and _tensor(operator, 2) is not None else 0
    picked = 0
    if all(extent == 1 for extent in kernel) and any(step != 1 for step in operator.attribute("strides", (1,))):
        picked = 4 * channels * prod(out.shape[2:]) + _PADDING_BYTES
    return Extra(source + weights + result + bias + picked, result)


def _layer_norm(operator: Operator) -> Extra:
    """A mean and a deviation for each row."""
    data = operator.outputs[0]
    axis = int(operator.attribute("axis", -1)) % len(data.shape)
    rows = 8 * prod(data.shape[:axis])
    return Extra(0, rows)


def _batch_norm(operator: Operator) -> Extra:
    return Extra(0, 8 * operator.outputs[0].shape[1])


def _max_pool(operator: Operator) -> Extra:
    """The positions of the largest elements, 8 bytes each, which nobody asked for."""
    return Extra(0, 8 * operator.outputs[0].elements)


def _folded(operator: Operator) -> Extra:
    """The sum so far, where there are three inputs or more."""
    size = operator.outputs[0].bytes if len(operator.inputs) > 2 else 0
    return Extra(0, size)


def _hard_sigmoid(operator: Operator) -> Extra:
    usual = isclose(operator.attribute("alpha", 0.2), 1 / 6, rel_tol=1e-5) and operator.attribute("beta", 0.5) == 0.5
    size = 0 if usual else operator.outputs[0].bytes
    return Extra(0 if usual else 2 * size + _NUMBER_BYTES, size)


def _gemm(operator: Operator) -> Extra:
    bias = _tensor(operator, 2)
    plain = bool(operator.attribute("transB", 0)) and not operator.attribute("transA", 0)
    scaled = bias is None and not (plain and operator.attribute("alpha", 1.0) == 1.0)
    return Extra(0, operator.outputs[0].bytes + _NUMBER_BYTES if scaled else 0)


#: Functions of one tensor that allocate a result laid out as that tensor is.
UNARY = frozenset(
    {
        "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Floor", "Mish", "Round",
        "Selu", "Sign", "Sin", "Sinh", "Tan", "ThresholdedRelu",
    }
)  # fmt: skip

#: Functions that allocate their result alone, or nothing.
_NOTHING = UNARY | frozenset(
    {
        "And", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Not", "Or", "ReduceMin", "SpaceToDepth",
        "Tile", "Trilu", "Xor",
        "Abs", "Add", "AveragePool", "Cast", "Clip", "Concat", "DepthToSpace", "Div", "Dropout", "Elu", "Equal",
        "Erf", "Exp", "Expand", "Flatten", "Gather", "Gelu", "GlobalMaxPool", "HardSwish",
        "Identity", "LeakyRelu", "Log", "LogSoftmax", "MatMul", "Mul", "Neg", "PRelu", "Pad", "Pow", "Reciprocal",
        "ReduceMax", "ReduceSum", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax",
        "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip

_RULES: dict[str, Callable[[Operator], Extra]] = {
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "LayerNormalization": _layer_norm,
    "MaxPool": _max_pool,
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), lambda _: Extra(0, _NUMBER_BYTES)),
    **dict.fromkeys(("Sum", "Max", "Min"), _folded),
}
