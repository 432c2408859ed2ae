"""LiteRT's operators and tensors in the words of ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

#: ONNX operators by those of LiteRT; others keep LiteRT's name.
TYPES = {
    "CONV_2D": "Conv", "DEPTHWISE_CONV_2D": "Conv", "TRANSPOSE_CONV": "ConvTranspose", "BATCH_MATMUL": "MatMul",
    "AVERAGE_POOL_2D": "AveragePool", "MAX_POOL_2D": "MaxPool", "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div",
    "RELU": "Relu", "RELU6": "Clip", "RELU_0_TO_1": "Clip", "HARD_SWISH": "HardSwish", "LOGISTIC": "Sigmoid",
    "TANH": "Tanh", "GELU": "Gelu", "ELU": "Elu", "LEAKY_RELU": "LeakyRelu", "PRELU": "PRelu", "SOFTMAX": "Softmax",
    "LOG_SOFTMAX": "LogSoftmax", "MEAN": "ReduceMean", "SUM": "ReduceSum", "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin", "REDUCE_PROD": "ReduceProd", "CONCATENATION": "Concat", "RESHAPE": "Reshape",
    "SQUEEZE": "Squeeze", "EXPAND_DIMS": "Unsqueeze", "TRANSPOSE": "Transpose", "PAD": "Pad", "PADV2": "Pad",
    "MIRROR_PAD": "Pad", "SLICE": "Slice", "STRIDED_SLICE": "Slice", "SPLIT": "Split", "SPLIT_V": "Split",
    "GATHER": "Gather", "GATHER_ND": "GatherND", "EMBEDDING_LOOKUP": "Gather", "CAST": "Cast", "EXP": "Exp",
    "LOG": "Log", "SQRT": "Sqrt", "POW": "Pow", "ABS": "Abs", "NEG": "Neg", "MAXIMUM": "Max", "MINIMUM": "Min",
    "QUANTIZE": "QuantizeLinear", "DEQUANTIZE": "DequantizeLinear", "RESIZE_BILINEAR": "Resize",
    "RESIZE_NEAREST_NEIGHBOR": "Resize", "TOPK_V2": "TopK", "ARG_MAX": "ArgMax", "ARG_MIN": "ArgMin", "SIN": "Sin",
    "COS": "Cos", "SELECT_V2": "Where", "SELECT": "Where", "TILE": "Tile", "BROADCAST_TO": "Expand",
    "DEPTH_TO_SPACE": "DepthToSpace", "SPACE_TO_DEPTH": "SpaceToDepth", "CUMSUM": "CumSum", "PACK": "Concat",
    "UNPACK": "Split", "LOCAL_RESPONSE_NORMALIZATION": "LRN", "FLOOR": "Floor", "CEIL": "Ceil", "ROUND": "Round",
}  # fmt: skip
DTYPES = {
    "FLOAT32": "float32", "FLOAT16": "float16", "FLOAT64": "float64", "BFLOAT16": "bfloat16", "INT64": "int64",
    "INT32": "int32", "INT16": "int16", "INT8": "int8", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32",
    "UINT64": "uint64", "BOOL": "bool",
}  # fmt: skip
_FUSED = {"RELU": "Relu", "RELU6": "Clip", "RELU_N1_TO_1": "Clip", "TANH": "Tanh", "SIGN_BIT": "Sign"}
#: Operators that read and write images: channels are last.
_SPATIAL = frozenset(
    {
        "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH",
    }
)  # fmt: skip
#: Operators that change which axis is which: what they write is not laid out as what they read.
_MOVES = frozenset(
    {
        "TRANSPOSE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BATCH_MATMUL", "FULLY_CONNECTED", "PACK", "UNPACK",
        "GATHER_ND",
    }
)  # fmt: skip
#: Physical axes in the order of ONNX's, by layout.
ORDERS = {
    "NHWC": (0, 3, 1, 2), "OHWI": (0, 3, 1, 2), "1HWO": (3, 0, 1, 2), "OHWI-transposed": (3, 0, 1, 2), "OI": (1, 0),
}  # fmt: skip
_WEIGHTS = {"CONV_2D": "OHWI", "DEPTHWISE_CONV_2D": "1HWO", "TRANSPOSE_CONV": "OHWI-transposed"}
#: Whole constants of at most so many numbers are attributes: paddings, axes, shapes.
MOST_VALUES = 64


@cache
def names_of(enumeration: str) -> Mapping[int, str]:
    """Names of the schema's numbers."""
    from ai_edge_litert import schema_py_generated as schema

    return {number: name for name, number in vars(getattr(schema, enumeration)).items() if not name.startswith("_")}


def channels_last(operators: Sequence[tuple[str, Any]], shapes: Sequence[Sequence[int]]) -> set[int]:
    """Numbers of the tensors of four dimensions that are NHWC: those of images, and what is computed along with them.

    Args:
        operators: name and message of each operator.
        shapes: of all tensors.
    """
    found: set[int] = set()
    for name, operator in operators:
        if name in _SPATIAL:
            images = (operator.inputs[2] if name == "TRANSPOSE_CONV" else operator.inputs[0], operator.outputs[0])
            found.update(int(i) for i in images)
    before = -1
    while before != len(found):
        before = len(found)
        for name, operator in operators:
            if name in _MOVES or name in _SPATIAL:
                continue
            whole = {int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0 and len(shapes[i]) == 4}
            if whole & found:
                found |= whole
    return found


def layout_of(name: str, position: int, number: int, last: set[int]) -> str:
    """How an input is laid out; empty for what is as ONNX has it."""
    if position == 1 and name in _WEIGHTS:
        return _WEIGHTS[name]
    return "NHWC" if number in last and name != "FULLY_CONNECTED" else ""


def logical(shape: Sequence[int], layout: str) -> list[int]:
    """A shape in ONNX's order."""
    return [int(shape[axis]) for axis in ORDERS[layout]] if layout else [int(extent) for extent in shape]


def options_of(operator: Any) -> dict[str, Any]:
    """The builtin options of an operator, as attributes `tfl.NAME`."""
    if operator.builtinOptions is None:
        return {}
    found: dict[str, Any] = {"tfl": names_of("BuiltinOptions")[operator.builtinOptionsType]}
    for name, value in vars(operator.builtinOptions).items():
        if value is None:
            continue
        if isinstance(value, bytes):
            found[f"tfl.{name}"] = value.decode(errors="replace")
        elif hasattr(value, "__len__") and not isinstance(value, str):
            found[f"tfl.{name}"] = [int(one) for one in value]
        else:
            found[f"tfl.{name}"] = float(value) if isinstance(value, float) else int(value)
    return found


def attributes_of(name: str, operator: Any, shapes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Those attributes that ONNX has, too, in its words.

    Args:
        name: of the operator in LiteRT.
        operator: its message.
        shapes: of all tensors, as LiteRT has them.
    """
    options = operator.builtinOptions
    found: dict[str, Any] = {}
    fused = _FUSED.get(names_of("ActivationFunctionType").get(getattr(options, "fusedActivationFunction", 0) or 0, ""))
    if fused:
        found["fused"] = [fused]
    if hasattr(options, "strideH"):
        found["strides"] = [int(options.strideH), int(options.strideW)]
    if getattr(options, "dilationHFactor", None):
        found["dilations"] = [int(options.dilationHFactor), int(options.dilationWFactor)]
    if getattr(options, "filterHeight", None):
        found["kernel_shape"] = [int(options.filterHeight), int(options.filterWidth)]
    if name in _WEIGHTS:
        weights = shapes[operator.inputs[1]]
        found["kernel_shape"] = [int(weights[1]), int(weights[2])]
        found["group"] = 1  # of TRANSPOSE_CONV, whose first input is the shape that it gives
        if name != "TRANSPOSE_CONV":
            read = int(shapes[operator.inputs[0]][3])
            found["group"] = read if name == "DEPTHWISE_CONV_2D" else read // int(weights[3])
    if "strides" in found and name != "TRANSPOSE_CONV":
        found["pads"] = _pads(found, shapes[operator.inputs[0]], int(options.padding))
    if name == "BATCH_MATMUL":
        found |= {"transA": int(options.adjX), "transB": int(options.adjY)}
    if name == "RESIZE_BILINEAR":
        found["mode"] = "linear"
    for own in ("axis", "beta", "alpha"):
        if isinstance(getattr(options, own, None), int | float):
            found[own] = getattr(options, own)
    return found


def _pads(found: Mapping[str, Any], image: Sequence[int], padding: int) -> list[int]:
    """Zeros at the beginnings and the ends of both axes."""
    if names_of("Padding")[padding] == "VALID":
        return [0, 0, 0, 0]
    begins, ends = [], []
    dilations = found.get("dilations", (1, 1))
    for axis in (0, 1):
        stride, read = found["strides"][axis], int(image[1 + axis])
        window = (found["kernel_shape"][axis] - 1) * dilations[axis] + 1
        whole = max((-(-read // stride) - 1) * stride + window - read, 0)
        begins.append(whole // 2)
        ends.append(whole - whole // 2)
    return [*begins, *ends]
