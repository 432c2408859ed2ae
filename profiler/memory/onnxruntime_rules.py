"""What ONNX Runtime's kernels on the CPU do with memory: tables, and formulas where a table is not enough.

Observed with ONNX Runtime 1.32 on x86-64, one operator at a time, in its own profile.
`tests/profiler/test_memory_simulation_onnxruntime.py` observes again and fails where an installed version differs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from profiler.operators import Operator, Tensor

#: Constants of at most this many bytes are copied into the arena; larger ones stay where the model was read.
SMALL_CONSTANT_BYTES = 127

_NCHWC = "com.microsoft.nchwc:"
_MICROSOFT = "com.microsoft:"

#: Operators whose first output is their first input under another name (`Alias`).
ALIASES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})

#: For operators that may write into an input (`MayInplace`), the inputs in question. Add, Mul and most functions of one
#: input may not.
IN_PLACE: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            "Cast", "Celu", "Clip", "Elu", "HardSigmoid", "LeakyRelu", "LogSoftmax", "Relu", "Selu", "Sigmoid",
            "Softmax", "Softplus", "Softsign", "Tanh", "ThresholdedRelu",
        ),
        (0,),
    ),
    f"{_NCHWC}Conv": (3,),  # the summand of a residual
    f"{_MICROSOFT}FusedConv": (3,),
}  # fmt: skip

#: Operators that write every constant matrix on their right (input 1) into a packed copy in the arena.
PACKED_MATRIX = frozenset({"Gemm", "MatMul", f"{_MICROSOFT}FusedGemm", f"{_MICROSOFT}FusedMatMul"})
#: Columns of a packed matrix are filled up to a multiple of this.
_PACKED_COLUMNS = 16

#: Blocked layouts have 16 channels on CPUs with AVX-512 and 8 on others.
BLOCKS = (16, 8)

#: Operators that need nothing beside inputs and outputs.
NO_WORKSPACE = frozenset(
    {
        *ALIASES, *PACKED_MATRIX,
        "Abs", "Add", "And", "Atan", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip",
        "Concat", "Cos", "CumSum", "DepthToSpace", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Expand",
        "Floor", "Gather", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "Greater", "HardSigmoid",
        "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Less", "Log", "LpNormalization", "MaxPool",
        "Mul", "Neg", "Not", "Or", "Pad", "Pow", "PRelu", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean",
        "ReduceSum", "Relu", "Round", "Selu", "Sigmoid", "Sign", "SimplifiedLayerNormalization", "Sin", "Slice",
        "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Sub", "Tan", "Tanh", "ThresholdedRelu",
        "Tile", "Transpose", "Xor",
        f"{_MICROSOFT}FastGelu", f"{_MICROSOFT}Gelu", f"{_MICROSOFT}QuickGelu",
        f"{_MICROSOFT}SkipLayerNormalization",
        f"{_NCHWC}AveragePool", f"{_NCHWC}Conv", f"{_NCHWC}GlobalAveragePool", f"{_NCHWC}GlobalMaxPool",
        f"{_NCHWC}MaxPool", f"{_NCHWC}ReorderInput", f"{_NCHWC}ReorderOutput",
    }
)  # fmt: skip

#: Elements of a tile of the expanded input that a convolution makes on one thread (128 x 128).
_CONV_TILE = 128 * 128


def packed_bytes(operator: Operator) -> dict[int, int]:
    """Packed copies of weights that an operator keeps: bytes by the position of the input that each replaces."""
    weight = _input(operator, 1)
    if weight is None or not weight.constant:
        return {}
    if operator.kind in PACKED_MATRIX and len(weight.shape) == 2 and weight.dtype == "float32":
        rows, columns = weight.shape
        if operator.attribute("transB", 0):
            rows, columns = columns, rows
        return {1: 4 * rows * (-(-columns // _PACKED_COLUMNS) * _PACKED_COLUMNS)}
    if operator.kind == "ConvTranspose" and weight.dtype == "float32":
        return {1: weight.bytes}
    return {}


def in_regions(operator: Operator) -> bool:
    """Whether packed copies lie in the arena's regions, among activations; most are reserved beside them."""
    return operator.kind == "ConvTranspose"


def workspace_bytes(operator: Operator) -> tuple[int, ...] | None:
    """Buffers that a kernel asks the arena for while it runs, in bytes; None if that is not known."""
    if operator.kind in NO_WORKSPACE:
        return ()
    rule = _WORKSPACES.get(operator.kind)
    return None if rule is None else rule(operator)


def _input(operator: Operator, position: int) -> Tensor | None:
    return operator.inputs[position] if position < len(operator.inputs) else None


def _conv(operator: Operator) -> tuple[int, ...]:
    """The expanded input, whole or in tiles (`MlasConvPrepare`, one thread)."""
    data, weight = _input(operator, 0), _input(operator, 1)
    assert data is not None and weight is not None
    group, kernel = int(operator.attribute("group", 1)), weight.shape[2:]
    unit_steps = all(step == 1 for step in operator.attribute("strides", (1,)))
    unpadded = not any(operator.attribute("pads", (0,)))
    if unit_steps and unpadded and all(extent == 1 for extent in kernel):
        return ()
    filters, pixels = weight.shape[0] // group, prod(operator.outputs[0].shape[2:])
    depth = prod(weight.shape[1:])
    return (4 * pixels * depth if filters > pixels else 4 * _CONV_TILE,)


def _conv_transpose(operator: Operator) -> tuple[int, ...]:
    """The product of weight and input before it is folded."""
    data, weight = _input(operator, 0), _input(operator, 1)
    assert data is not None and weight is not None
    return (4 * prod(weight.shape[1:]) * prod(data.shape[2:]),)


def _softmax(operator: Operator) -> tuple[int, ...]:
    """Transposed copies of input and output, unless the axis is the last."""
    data = operator.outputs[0]
    axis = int(operator.attribute("axis", -1)) % max(len(data.shape), 1)
    return () if axis == len(data.shape) - 1 else (data.bytes, data.bytes)


def _variadic(operator: Operator) -> tuple[int, ...]:
    """Partial results: one of three inputs, two in turn of more."""
    count = sum(tensor is not None for tensor in operator.inputs)
    return (operator.outputs[0].bytes,) * min(max(count - 2, 0), 2)


def _lrn(operator: Operator) -> tuple[int, ...]:
    data = operator.outputs[0]
    padded = (data.shape[1] + int(operator.attribute("size", 1)) - 1) * prod(data.shape[2:])
    return (4 * padded, data.bytes)


_WORKSPACES: dict[str, Callable[[Operator], tuple[int, ...]]] = {
    "Conv": _conv,
    f"{_MICROSOFT}FusedConv": _conv,
    "ConvTranspose": _conv_transpose,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Where": lambda operator: (operator.outputs[0].bytes, operator.outputs[0].bytes),
    f"{_MICROSOFT}BiasGelu": lambda operator: (operator.outputs[0].bytes,),
    "LRN": _lrn,
    **dict.fromkeys(("Sum", "Max", "Min", "Mean"), _variadic),
}
