"""Shapes inside models that ONNX Runtime optimised: its private operators carry none in the file.

Only operators whose rule is known are here; any other is an error that names it, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence

Shape = tuple[int, ...]

#: Operators of any domain whose first output has the shape of their first input.
SAME_AS_INPUT = frozenset(
    {
        "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu", "FastGelu", "QuickGelu", "BiasGelu",
        "Clip", "Elu", "Softplus", "Softmax", "LogSoftmax", "Erf", "Exp", "Sqrt", "Identity", "BatchNormalization",
        "LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization", "InstanceNormalization",
        "GroupNormalization", "Silu", "Swish", "Mish", "ThresholdedRelu", "Selu",
        "Celu", "Softsign", "Abs", "Neg", "Ceil", "Floor", "Round", "Dropout",
        "QuantizeLinear", "DequantizeLinear", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax",
    }
)  # fmt: skip

#: Elementwise operators with broadcasting.
BROADCAST = frozenset(
    {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum", "Where", "PRelu", "Equal", "Less", "Greater"}
)

_CONV = frozenset({"Conv", "FusedConv", "NhwcFusedConv"})
_POOL = frozenset({"MaxPool", "AveragePool"})
_GLOBAL = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_OF_INTEGERS = frozenset(
    {
        "QLinearConv",
        "QLinearAdd",
        "QLinearMul",
        "QLinearMatMul",
        "QGemm",
        "QLinearGlobalAveragePool",
        "NhwcMaxPool",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearWhere",
    }
)
#: Products of 8-bit integers that write floats, whose operands are their first two inputs.
_TO_FLOAT = frozenset({"MatMulIntegerToFloat", "DynamicQuantizeMatMul"})


#: Inputs from which on QGemm writes integers: the last two are scale and zero point of what it writes.
_QGEMM_REQUANTISED = 8

#: Operators whose shape ONNX, too, cannot know without that of their first input.
LIKE_FIRST = SAME_AS_INPUT | BROADCAST | _CONV | _POOL | _GLOBAL | {"Concat", "Transpose", "Gemm", "MatMul"}


def output_shape(op_type: str, attributes: dict[str, object], inputs: Sequence[Shape | None]) -> Shape | None:
    """Shape of the first output, or None if no rule is known.

    Args:
        op_type: the operator, of any domain.
        attributes: its attributes by name.
        inputs: shapes of its inputs; None where one is left out. Blocked NCHWc tensors have their logical NCHW shape.
    """
    try:
        shape = _by_rule(op_type, attributes, inputs)
    except (AssertionError, IndexError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        # Attributes and ranks are what a file says: a rule that they do not fit has no answer.
        return None
    return None if shape is None or any(extent < 0 for extent in shape) else shape


def _by_rule(op_type: str, attributes: dict[str, object], inputs: Sequence[Shape | None]) -> Shape | None:
    first = inputs[0] if inputs else None
    if first is None:
        return None
    if op_type in _CONV and len(inputs) > 1 and inputs[1] is not None:
        return _window(first, attributes, kernel=inputs[1][2:], channels=inputs[1][0])
    if op_type in _OF_INTEGERS:
        return _of_integers(op_type, attributes, inputs, first)
    if op_type in ("Transpose", "ReorderInput", "ReorderOutput"):
        return _reordered(op_type, attributes, first)
    if op_type in _POOL:
        kernel = attributes.get("kernel_shape")
        assert isinstance(kernel, tuple)
        return _window(first, attributes, kernel=kernel, channels=first[1])
    if op_type in _GLOBAL:
        return (*first[:2], *(1 for _ in first[2:]))
    if op_type in ("FusedGemm", "Gemm") and len(inputs) > 1 and inputs[1] is not None:
        rows = first[1] if attributes.get("transA", 0) else first[0]
        return (rows, inputs[1][0] if attributes.get("transB", 0) else inputs[1][1])
    if op_type in {"MatMul", "FusedMatMul", *_TO_FLOAT} and len(inputs) > 1 and inputs[1] is not None:
        return _matmul(first, inputs[1], attributes)
    if op_type == "Upsample":
        scales = attributes.get("scales")
        assert isinstance(scales, tuple)
        factors = scales if len(scales) == len(first) else (1, 1, *scales)
        return tuple(int(extent * factor) for extent, factor in zip(first, factors, strict=True))
    if op_type == "Concat":
        return _concatenated(inputs, attributes)
    if op_type in BROADCAST:
        return broadcast([shape for shape in inputs if shape is not None])
    if op_type in SAME_AS_INPUT:
        return first
    return None


def output_dtype(op_type: str, dtypes: Sequence[str | None]) -> str:
    """Element type of the first output where a rule gives its shape, by those of the inputs."""
    if op_type == "QuantizeLinear":
        return (dtypes[2] if len(dtypes) > 2 else None) or "uint8"
    if op_type == "DequantizeLinear" and len(dtypes) > 1:
        return dtypes[1] or "float32"
    if op_type == "QLinearConcat":
        return (dtypes[2] if len(dtypes) > 2 else None) or "uint8"
    if op_type == "QLinearWhere":  # a condition comes first
        return (dtypes[1] if len(dtypes) > 1 else None) or "uint8"
    if op_type in _TO_FLOAT:
        return "float32"
    if op_type == "QGemm" and len([dtype for dtype in dtypes if dtype]) < _QGEMM_REQUANTISED:
        return "float32"
    return next((dtype for dtype in dtypes if dtype is not None), "float32")


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Numpy's broadcasting of shapes."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(max(extents) for extents in zip(*padded, strict=True))


def _concatenated(inputs: Sequence[Shape | None], attributes: dict[str, object]) -> Shape | None:
    shapes = [shape for shape in inputs if shape is not None]
    axis = attributes.get("axis")
    if not isinstance(axis, int) or len(shapes) < len(inputs) or not shapes[0]:
        return None
    axis %= len(shapes[0])
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _reordered(op_type: str, attributes: dict[str, object], shape: Shape) -> Shape:
    """The logical shape behind a reordering, which may take in a transposition from or to channels that come last.

    Source: ONNX Runtime, `nchwc_ops.cc` and `nchwc_transformer.cc` (1.22): attributes `channels_last` and `channels`.
    """
    if op_type == "Transpose":
        return _transposed(shape, attributes)
    if not attributes.get("channels_last", 0):
        return shape
    return (shape[0], shape[-1], *shape[1:-1]) if op_type == "ReorderInput" else (shape[0], *shape[2:], shape[1])


def _window(shape: Shape, attributes: dict[str, object], *, kernel: Sequence[int], channels: int) -> Shape:
    spatial = shape[2:]
    ones = (1,) * len(spatial)
    strides = attributes.get("strides") or ones
    dilations = attributes.get("dilations") or ones
    pads = attributes.get("pads") or (0,) * (2 * len(spatial))
    automatic = str(attributes.get("auto_pad", "NOTSET"))
    assert isinstance(strides, tuple) and isinstance(dilations, tuple) and isinstance(pads, tuple)
    result = []
    for axis, extent in enumerate(spatial):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        if automatic.startswith("SAME"):
            result.append(-(-extent // strides[axis]))
            continue
        padded = extent + (0 if automatic == "VALID" else pads[axis] + pads[axis + len(spatial)])
        steps = padded - reach
        result.append((-(-steps // strides[axis]) if attributes.get("ceil_mode") else steps // strides[axis]) + 1)
    return (shape[0], channels, *result)


def _of_integers(
    op_type: str, attributes: dict[str, object], inputs: Sequence[Shape | None], first: Shape
) -> Shape | None:
    """Operators of 8-bit integers: behind each operand are its scale and its zero point."""
    if op_type == "QLinearGlobalAveragePool":
        if attributes.get("channels_last", 0):
            return (first[0], *(1 for _ in first[1:-1]), first[-1])
        return (*first[:2], *(1 for _ in first[2:]))
    if op_type == "QLinearWhere":  # a condition, two operands with scale and zero point, and those of what is written
        return broadcast([shape for shape in (first, inputs[1], inputs[4]) if shape is not None])
    if op_type == "QLinearConcat":  # scale and zero point of what is written, then three for each operand
        return _concatenated(inputs[2::3], attributes)
    if op_type in ("NhwcMaxPool", "QLinearAveragePool"):
        kernel = attributes.get("kernel_shape")
        assert isinstance(kernel, tuple)
        if op_type == "NhwcMaxPool" or attributes.get("channels_last", 0):
            return _last(_window(_first(first), attributes, kernel=kernel, channels=first[-1]))
        return _window(first, attributes, kernel=kernel, channels=first[1])
    second = inputs[3] if len(inputs) > 3 else None
    if second is None:
        return None
    if op_type == "QLinearConv":
        return _quantised(first, second, attributes)
    if op_type == "QGemm":
        rows = first[1] if attributes.get("transA", 0) else first[0]
        return (rows, second[0] if attributes.get("transB", 0) else second[1])
    return _matmul(first, second, {}) if op_type == "QLinearMatMul" else broadcast([first, second])


def _quantised(shape: Shape, weights: Shape, attributes: dict[str, object]) -> Shape:
    """A convolution of 8-bit integers, which may have its channels last; its weights never have."""
    if not attributes.get("channels_last", 0):
        return _window(shape, attributes, kernel=weights[2:], channels=weights[0])
    return _last(_window(_first(shape), attributes, kernel=weights[2:], channels=weights[0]))


def _first(shape: Shape) -> Shape:
    """With the channels, which were last, behind the batch."""
    return (shape[0], shape[-1], *shape[1:-1])


def _last(shape: Shape) -> Shape:
    """With the channels last."""
    return (shape[0], *shape[2:], shape[1])


def _transposed(shape: Shape, attributes: dict[str, object]) -> Shape:
    order = attributes.get("perm") or tuple(range(len(shape)))[::-1]
    assert isinstance(order, tuple)
    return tuple(shape[axis] for axis in order)


def _matmul(left: Shape, right: Shape, attributes: dict[str, object]) -> Shape:
    if attributes.get("transA"):
        left = (*left[:-2], left[-1], left[-2])
    if attributes.get("transB"):
        right = (*right[:-2], right[-1], right[-2])
    if len(right) == 1:
        return left[:-1]
    batch = broadcast([left[:-2], right[:-2]])
    return (*batch, left[-2], right[-1])
