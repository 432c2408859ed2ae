"""Layers of ncnn in the words of ONNX: what a `.param` file says, as operators whose work can be counted.

The numbers of parameters are those of ncnn's `docs/developer-guide/operators.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

#: First line of a `.param` file.
MAGIC = "7767517"
#: Layers that hand out what they are given: `Split` makes no copy.
NO_WORK = frozenset({"Input", "Split"})
#: Layers that compute in 8 bits where their parameter `SCALES` says how scales are given; then their weights are whole.
IN_INT8, SCALES = frozenset({"Convolution", "ConvolutionDepthWise", "InnerProduct"}), 8
_ACTIVATIONS = ("", "Relu", "LeakyRelu", "Clip", "Sigmoid", "Mish", "HardSwish")
_BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sub", "Div", "Pow", "Atan2", "Atan2")
_UNARY = (
    "Abs", "Neg", "Floor", "Ceil", "Square", "Sqrt", "Rsqrt", "Exp", "Log", "Sin", "Cos", "Tan", "Asin", "Acos",
    "Atan", "Reciprocal", "Tanh", "Log10", "Round", "Trunc",
)  # fmt: skip
_REDUCTIONS = (
    "ReduceSum", "ReduceL1", "ReduceSumSquare", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
    "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip
#: ONNX operators by those of ncnn, where the names differ and no parameter decides.
_TYPES = {
    "ReLU": "Relu", "TanH": "Tanh", "GELU": "Gelu", "SELU": "Selu", "ELU": "Elu", "CELU": "Celu", "PReLU": "PRelu",
    "LayerNorm": "LayerNormalization", "GroupNorm": "GroupNormalization", "InstanceNorm": "InstanceNormalization",
    "BatchNorm": "BatchNormalization", "RMSNorm": "RMSNormalization", "Permute": "Transpose", "Padding": "Pad",
    "Interp": "Resize", "Crop": "Slice", "Slice": "Split", "ExpandDims": "Unsqueeze", "PixelShuffle": "DepthToSpace",
    "Noop": "Identity", "Dropout": "Identity", "Normalize": "LpNormalization", "Scale": "Mul", "Bias": "Add",
    "SDPA": "Attention", "MatMul": "MatMul", "ArgMax": "ArgMax",
}  # fmt: skip
#: Weights of one dimension that a layer has, and the parameter that is their length.
_VECTORS = {"BatchNorm": (4, 0), "InstanceNorm": (2, 0), "GroupNorm": (2, 1), "LayerNorm": (2, 0), "PReLU": (1, 0),
            "RMSNorm": (1, 0), "Scale": (1, 0), "Bias": (1, 0)}  # fmt: skip
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

Shape = list[int]


@dataclass(frozen=True)
class Layer:
    """A line of a `.param` file.

    Attributes:
        kind: type of the layer.
        name: of the layer.
        reads: names of what it reads.
        writes: and writes.
        parameters: by number; a list where the file has one.
    """

    kind: str
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    parameters: dict[int, Any]

    def number(self, key: int, default: int = 0) -> int:
        """A parameter that is whole."""
        return int(self.parameters.get(key, default))

    @property
    def in_int8(self) -> bool:
        """Whether it computes in 8 bits."""
        return self.kind in IN_INT8 and self.number(SCALES) > 0


@dataclass
class Kernel:
    """A layer in the words of ONNX.

    Attributes:
        kind: the operator.
        attributes: of it.
        inputs: shapes of what it reads, and of its weights, in ONNX's order.
        weights: which of the inputs are weights.
        fused: what runs with it.
    """

    kind: str
    attributes: dict[str, Any]
    inputs: list[Shape]
    weights: frozenset[int] = frozenset()
    fused: tuple[str, ...] = ()


def layers(text: str) -> list[Layer]:
    """The layers of a `.param` file, in the order in which they run.

    Raises:
        ValueError: it is none.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != [MAGIC]:
        raise ValueError(f"its first line is not {MAGIC}")
    found = []
    for words in lines[2:]:
        kind, name, reads, writes = words[0], words[1], int(words[2]), int(words[3])
        blobs, rest = words[4 : 4 + reads + writes], words[4 + reads + writes :]
        parameters = dict(_parameter(word) for word in rest)
        found.append(Layer(kind, name, tuple(blobs[:reads]), tuple(blobs[reads:]), parameters))
    return found


def _parameter(word: str) -> tuple[int, Any]:
    key, _, value = word.partition("=")
    number = int(key)
    if number <= -23300:  # a list: its length comes first
        return -23300 - number, [_number(part) for part in value.split(",")[1:]]
    return number, _number(value)


def _number(text: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def kernel(layer: Layer, reads: Sequence[Shape], writes: Sequence[Shape]) -> Kernel:
    """The ONNX operator that is a layer's core.

    Args:
        layer: any.
        reads: shapes of what it reads, the batch first.
        writes: and of what it writes.
    """
    made = _MADE.get(layer.kind, _other)(layer, [list(shape) for shape in reads], writes)
    fused = layer.number(9) if layer.kind.startswith(("Convolution", "Deconvolution", "InnerProduct")) else 0
    if 0 < fused < len(_ACTIVATIONS):
        made.fused = (*made.fused, _ACTIVATIONS[fused])
    return made


def _spatial(layer: Layer, number: int, default: int = 1) -> list[int]:
    """A parameter that there is for width, height and depth, in ONNX's order: a missing one is that of the width."""
    width = layer.number(number, default)
    if "1D" in layer.kind:
        return [width]
    height = layer.number(10 + number, width)
    return [layer.number(20 + number, width), height, width] if "3D" in layer.kind else [height, width]


def _padding(layer: Layer) -> dict[str, Any]:
    """Of convolutions and pooling: left 4 or 3, top 14 or 13, right 15 or 14, bottom 16 or 15."""
    first = 3 if layer.kind.startswith("Pooling") else 4
    left = layer.number(first)
    if left in (-233, -234):
        return {"auto_pad": "SAME_UPPER" if left == -233 else "SAME_LOWER"}
    right = layer.number(11 + first, left)
    if "1D" in layer.kind:
        return {"pads": [left, right]}
    top = layer.number(10 + first, left)
    bottom = layer.number(12 + first, top)
    if "3D" in layer.kind:
        front = layer.number(20 + first, left)
        return {"pads": [front, top, left, layer.number(17, front), bottom, right]}
    return {"pads": [top, left, bottom, right]}


def _convolution(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    kernel_shape, transposed = _spatial(layer, 1), layer.kind.startswith("De")
    group = max(layer.number(7, 1), 1) if "DepthWise" in layer.kind else 1
    attributes = {
        "kernel_shape": kernel_shape,
        "strides": _spatial(layer, 3),
        "dilations": _spatial(layer, 2),
        "group": group,
        **_padding(layer),
    }
    kind = "ConvTranspose" if transposed else "Conv"
    data = _ranked(reads[0], 2 + len(kernel_shape))
    if layer.number(19) and not transposed:  # weights are computed
        return Kernel(kind, attributes, [data, *reads[1:]])
    first = data[1] if transposed else layer.number(0)
    weights = [first, layer.number(6) // (first * prod(kernel_shape)), *kernel_shape]
    bias = [[layer.number(0)]] if layer.number(5) else []
    return Kernel(kind, attributes, [data, weights, *bias], frozenset((1, 2)))


def _ranked(shape: Shape, rank: int) -> Shape:
    """What ncnn flattens: an image of one pixel is a vector there."""
    return [*shape, *[1] * (rank - len(shape))]


def _pooling(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    kind = "AveragePool" if layer.number(0) else "MaxPool"
    if layer.number(4):
        return Kernel(f"Global{kind}", {}, reads)
    if layer.number(7):
        sizes = zip(reads[0][2:], writes[0][2:], strict=False)
        return Kernel(kind, {"kernel_shape": [-(-before // after) for before, after in sizes], "adaptive": 1}, reads)
    mode = layer.number(5)
    padding = {"auto_pad": ("SAME_UPPER", "SAME_LOWER")[mode - 2]} if mode in (2, 3) else _padding(layer)
    attributes = {"kernel_shape": _spatial(layer, 1), "strides": _spatial(layer, 2), "ceil_mode": int(not mode)}
    if kind == "AveragePool":
        attributes["count_include_pad"] = layer.number(6)
    return Kernel(kind, attributes | padding, reads)


def _inner_product(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    """A product with a vector for each of a batch, or with each row of a matrix."""
    outputs = layer.number(0)
    inputs = layer.number(2) // outputs
    bias = [[outputs]] if layer.number(1) else []
    if len(reads[0]) == 3 and reads[0][-1] == inputs:
        return Kernel("MatMul", {}, [reads[0], [inputs, outputs], *bias], frozenset((1, 2)))
    flat = [reads[0][0], inputs]
    return Kernel("Gemm", {"transB": 1}, [flat, [outputs, inputs], *bias], frozenset((1, 2)))


def _gemm(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    """Factors are read, or weights; the sum may be, too."""
    m, n, k = (layer.number(i) for i in (7, 8, 9))
    shapes = ([k, m] if layer.number(2) else [m, k], [n, k] if layer.number(3) else [k, n])
    sums = {0: [1], 1: [m], 2: [m, 1], 3: [m, n], 4: [n]}
    given, inputs, weights = iter(reads), [], set()
    for position in (0, 1):
        if layer.number(4 + position):
            weights.add(position)
            inputs.append(shapes[position])
        else:
            inputs.append(next(given))
    if layer.number(6) and layer.number(10) in sums:
        weights.add(2)
        inputs.append(sums[layer.number(10)])
    attributes = {name: layer.number(i) for name, i in (("transA", 2), ("transB", 3)) if layer.number(i)}
    return Kernel("MatMul", attributes, [*inputs, *given], frozenset(weights))


def _recurrent(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    """ONNX has steps before the batch."""
    batch, steps, inputs = reads[0]
    ways, gates = 2 if layer.number(2) == 2 else 1, _GATES[layer.kind]
    rows = layer.number(1) // (ways * inputs)
    hidden = rows // gates
    weights = [[ways, rows, inputs], [ways, rows, hidden], [ways, 2 * rows]]
    attributes = {"direction": ("forward", "reverse", "bidirectional")[layer.number(2)], "hidden_size": hidden}
    return Kernel(layer.kind, attributes, [[steps, batch, inputs], *weights], frozenset((1, 2, 3)))


def _embed(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    return Kernel("Gather", {}, [[layer.number(1), layer.number(0)], reads[0]], frozenset((0,)))


def _binary(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    scalar: list[Shape] = [[]] if layer.number(1) else []
    return Kernel(_listed(_BINARY, layer), {}, [*reads, *scalar], frozenset((1,)) if scalar else frozenset())


def _unary(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    return Kernel(_listed(_UNARY, layer), {}, reads)


def _reduction(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    attributes: dict[str, Any] = {"keepdims": layer.number(4)}
    if not layer.number(1, 1) and layer.parameters.get(3):
        attributes["axes"] = [_axis(axis) for axis in layer.parameters[3]]
    return Kernel(_listed(_REDUCTIONS, layer), attributes, reads)


def _along(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    return Kernel(_TYPES.get(layer.kind, layer.kind), {"axis": _axis(layer.number(0))}, reads)


def _axis(axis: int) -> int:
    """The batch is no dimension of ncnn's."""
    return axis + 1 if axis >= 0 else axis


def _listed(kinds: Sequence[str], layer: Layer) -> str:
    number = layer.number(0)
    return kinds[number] if 0 <= number < len(kinds) else f"{layer.kind}{number}"


def _memory(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    """Numbers of the model, copied out in each inference."""
    return Kernel("MemoryData", {}, [list(writes[0])], frozenset((0,)))


def _other(layer: Layer, reads: list[Shape], writes: Sequence[Shape]) -> Kernel:
    """Any other layer: its parameters are part of what it is."""
    said = [f"{key}={value}".replace(" ", "") for key, value in sorted(layer.parameters.items())]
    attributes = {"parameters": " ".join(said)} if said else {}
    count, length = _VECTORS.get(layer.kind, (0, 0))
    vectors = [[layer.number(length)]] * count if count and layer.number(length) else []
    weights = frozenset(range(len(reads), len(reads) + len(vectors)))
    return Kernel(_TYPES.get(layer.kind, layer.kind), attributes, [*reads, *vectors], weights)


_MADE: dict[str, Callable[[Layer, list[Shape], Sequence[Shape]], Kernel]] = {
    **{f"{way}volution{what}": _convolution for way in ("Con", "Decon")
       for what in ("", "DepthWise", "1D", "DepthWise1D", "3D", "DepthWise3D")},
    "Pooling": _pooling, "Pooling1D": _pooling, "Pooling3D": _pooling, "InnerProduct": _inner_product, "Gemm": _gemm,
    "LSTM": _recurrent, "GRU": _recurrent, "RNN": _recurrent, "Embed": _embed, "BinaryOp": _binary, "UnaryOp": _unary,
    "Reduction": _reduction, "Softmax": _along, "Concat": _along, "MemoryData": _memory,
}  # fmt: skip
