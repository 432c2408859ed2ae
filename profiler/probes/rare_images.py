"""Rarer blocks of convolutional networks: what exporters write of detectors, segmentation, text and older networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from profiler.probes.drawing import (
    MOST_ELEMENTS,
    MOST_LARGE,
    MOST_MACS,
    MOST_SLOW,
    WIDTHS,
    Drawing,
    Image,
    activated,
    convolved,
    gelu_chain,
)
from profiler.probes.rare_types import half_precision, integer_convolution, quantised_convolutions, smaller

Block = Callable[[Drawing, Image], Image]

_ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
_WIDE = ((5, 5), (7, 7), (9, 9), (11, 11), (1, 5), (5, 1), (1, 7), (7, 1), (1, 11), (11, 1), (1, 21), (21, 1), (13, 3))


# -- convolutions


def wide_depthwise(drawing: Drawing, image: Image) -> Image:
    """A wide window for each channel, square or a line, of many channels where they can be afforded."""
    wide = [width for width in WIDTHS if width >= 96 and width * image.elements <= MOST_MACS / 2]
    if wide and image.channels < 96:
        image = convolved(drawing, image, drawing.one_of(wide), (1, 1))
    fitting = [window for window in _WIDE if image.elements * math.prod(window) <= MOST_MACS / 2]
    made = convolved(drawing, image, image.channels, drawing.one_of(fitting or [(3, 3)]), groups=image.channels)
    return made.but(activated(drawing, made.value))


def line_convolution(drawing: Drawing, image: Image) -> Image:
    """A row, and a column."""
    extent = drawing.one_of((3, 5, 7))
    out = drawing.affordable(WIDTHS, min(MOST_MACS / (image.elements * extent), MOST_ELEMENTS / image.area))
    made = convolved(drawing, image, out, drawing.one_of(((1, extent), (extent, 1))))
    return made.but(activated(drawing, made.value, "Relu"))


def dilated(drawing: Drawing, image: Image) -> Image:
    """With holes."""
    out = drawing.affordable(WIDTHS, min(MOST_MACS / (image.elements * 9), MOST_ELEMENTS / image.area))
    made = convolved(drawing, image, out, (3, 3), dilation=drawing.one_of((2, 2, 3, 4)))
    return made.but(activated(drawing, made.value, "Relu"))


def grouped(drawing: Drawing, image: Image) -> Image:
    """Between dense and depthwise."""
    counts = [count for count in (2, 4, 8, 16, 32) if image.channels % count == 0 and image.channels > count]
    fitting = [count for count in counts if image.elements * image.channels // count * 9 <= MOST_MACS]
    window = (3, 3) if fitting else (1, 1)
    made = convolved(drawing, image, image.channels, window, groups=drawing.one_of(fitting or [counts[-1]]))
    return made.but(activated(drawing, made.value))


def large_convolution(drawing: Drawing, image: Image) -> Image:
    """One as large as those of networks of a hundred layers: a square window, or a depthwise one."""
    while image.channels * image.area < MOST_ELEMENTS // 4 and image.channels > 8:
        scales = drawing.constant(np.array([1, 1, 2, 2], dtype=np.float32))
        wider = drawing.add("Resize", image.value, "", scales, mode="nearest", **_ASYMMETRIC)
        image = image.but(wider, size=(2 * image.height, 2 * image.width))
    window = drawing.in_turn((3, 1, 5, 3))
    most = min(MOST_LARGE / (image.elements * window**2), MOST_ELEMENTS / image.area)
    out = max([width for width in WIDTHS if width <= most] or [WIDTHS[0]])
    made = convolved(drawing, image, out, (window, window))
    return smaller(drawing, made.but(activated(drawing, made.value, "Relu")), MOST_ELEMENTS // 4)


def transposed(drawing: Drawing, image: Image) -> Image:
    """A convolution that doubles the size, of many channels or to one map."""
    image = smaller(drawing, image, MOST_ELEMENTS // 8)
    window, pad, one = drawing.in_turn(((2, 0, False), (4, 1, False), (2, 0, True)))
    most = min(MOST_MACS / 4 / (image.elements * window**2), MOST_ELEMENTS / (4 * image.area))
    out = 1 if one else drawing.affordable(WIDTHS, most)
    weights = drawing.weight(image.channels, out, window, window), drawing.weight(out)
    made = drawing.add(
        "ConvTranspose", image.value, *weights, kernel_shape=[window] * 2, strides=[2, 2], pads=[pad] * 4
    )
    grown = image.but(activated(drawing, made, "Relu"), out, (2 * image.height, 2 * image.width))
    return convolved(drawing, grown, WIDTHS[0], (3, 3)) if one else grown


def channels_last(drawing: Drawing, image: Image) -> Image:
    """Maps whose channels are the last dimension, as files out of TensorFlow have them, and copies joined there."""
    image = smaller(drawing, image, MOST_SLOW)
    few, copies = drawing.in_turn(((1, 8), (8, 2), (image.channels, 1)))
    turned = drawing.add("Transpose", convolved(drawing, image, few, (1, 1)).value, perm=[0, 2, 3, 1])
    scaled = [drawing.add("Mul", turned, drawing.number(0.5 + number)) for number in range(copies)]
    joined = drawing.add("Concat", *scaled, axis=3) if copies > 1 else scaled[0]
    shifted = drawing.add("Add", joined, drawing.weight(few * copies))
    back = drawing.add("Transpose", activated(drawing, shifted, "Relu"), perm=[0, 3, 1, 2])
    return convolved(drawing, image.but(back, few * copies), image.channels, (1, 1))


def few_channels(drawing: Drawing, image: Image) -> Image:
    """A convolution to so few channels as maps of heads have, and one that reads them."""
    few = drawing.in_turn((1, 2, 1, 4))
    windows = [window for window in (3, 5, 7) if image.elements * few * window**2 <= MOST_MACS] or [1]
    window = drawing.one_of(windows)
    made = convolved(drawing, image, few, (window, window))
    made = made.but(drawing.add("Sigmoid", made.value))
    back = convolved(drawing, made, image.channels, (3, 3))
    return image.but(drawing.add("Add", activated(drawing, back.value, "Relu"), image.value))


# -- sizes


def resized(drawing: Drawing, image: Image) -> Image:
    """Twice the size, by one of the ways of interpolating."""
    image = smaller(drawing, image, MOST_ELEMENTS // 8)
    how = drawing.in_turn(
        (
            {"mode": "nearest", **_ASYMMETRIC},
            {"mode": "nearest", "coordinate_transformation_mode": "half_pixel"},
            {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        )
    )
    if drawing.chance(0.5):
        scales = drawing.constant(np.array([1, 1, 2, 2], dtype=np.float32))
        made = drawing.add("Resize", image.value, "", scales, **how)
    else:
        sizes = drawing.integers(1, image.channels, 2 * image.height, 2 * image.width)
        made = drawing.add("Resize", image.value, "", "", sizes, **how)
    return image.but(made, size=(2 * image.height, 2 * image.width))


def padded(drawing: Drawing, image: Image) -> Image:
    """A rim, and a pool that takes it off again."""
    mode = drawing.in_turn(("constant", "reflect", "edge")) if min(image.height, image.width) > 2 else "constant"
    rim = drawing.add("Pad", image.value, drawing.integers(0, 0, 1, 1, 0, 0, 1, 1), mode=mode)
    return image.but(drawing.add("MaxPool", rim, kernel_shape=[3, 3], strides=[1, 1]))


def focused(drawing: Drawing, image: Image) -> Image:
    """Every second pixel, four times, as channels."""
    if min(image.height, image.width) < 4:
        return image
    height, width = image.height // 2 * 2, image.width // 2 * 2
    axes, steps, ends = drawing.integers(2, 3), drawing.integers(2, 2), drawing.integers(height, width)
    parts = [
        drawing.add("Slice", image.value, drawing.integers(row, column), ends, axes, steps)
        for row in (0, 1)
        for column in (0, 1)
    ]
    stacked = image.but(drawing.add("Concat", *parts, axis=1), 4 * image.channels, (height // 2, width // 2))
    out = drawing.affordable(WIDTHS, MOST_MACS / stacked.elements)
    made = convolved(drawing, stacked, out, (1, 1))
    return made.but(activated(drawing, made.value))


def depth_and_space(drawing: Drawing, image: Image) -> Image:
    """Pixels into channels, and back."""
    if image.height % 2 or image.width % 2:
        made = drawing.add("Pad", image.value, drawing.integers(0, 0, 0, 0, 0, 0, image.height % 2, image.width % 2))
        image = image.but(made, size=(image.height + image.height % 2, image.width + image.width % 2))
    deep = drawing.add("SpaceToDepth", image.value, blocksize=2)
    return image.but(drawing.add("DepthToSpace", activated(drawing, deep, "Relu"), blocksize=2, mode="CRD"))


def shuffled(drawing: Drawing, image: Image) -> Image:
    """Channels in another order, as grouped networks have it."""
    groups = drawing.one_of((2, 4, 8))
    apart = drawing.integers(1, groups, image.channels // groups, image.height, image.width)
    turned = drawing.add("Transpose", drawing.add("Reshape", image.value, apart), perm=[0, 2, 1, 3, 4])
    return image.but(drawing.add("Reshape", turned, drawing.integers(*image.shape)))


def stacked_parts(drawing: Drawing, image: Image) -> Image:
    """A part goes on, all are joined at the end."""
    half = image.channels // 2
    sizes = drawing.integers(half, image.channels - half)
    first, part = drawing.several("Split", image.value, sizes, outputs=2, axis=1)
    parts = [first, part]
    for _ in range(int(drawing.rng.integers(2, 5))):
        one = image.but(parts[-1], image.channels - half)
        window = (3, 3) if one.elements * one.channels * 9 <= MOST_MACS / 4 else (1, 1)
        parts.append(activated(drawing, convolved(drawing, one, one.channels, window).value, "silu"))
    whole = image.but(drawing.add("Concat", *parts, axis=1), half + (image.channels - half) * (len(parts) - 1))
    made = convolved(drawing, whole, drawing.affordable(WIDTHS, MOST_MACS / 2 / whole.elements), (1, 1))
    return made.but(activated(drawing, made.value))


def pyramid_of_pools(drawing: Drawing, image: Image) -> Image:
    """Wide maxima of maxima, joined."""
    image = smaller(drawing, image, MOST_ELEMENTS // 4)
    parts = [image.value]
    for _ in range(3):
        parts.append(drawing.add("MaxPool", parts[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
    whole = image.but(drawing.add("Concat", *parts, axis=1), 4 * image.channels)
    return convolved(drawing, whole, drawing.affordable(WIDTHS, MOST_MACS / 2 / whole.elements), (1, 1))


# -- normalisations


def local_response(drawing: Drawing, image: Image) -> Image:
    """As the first convolutional networks had it."""
    image = smaller(drawing, image, MOST_SLOW)
    size = drawing.one_of((3, 5, 5))
    return image.but(drawing.add("LRN", image.value, size=size, alpha=1e-4, beta=0.75, bias=1.0))


def batch_normalised(drawing: Drawing, image: Image) -> Image:
    """Before the convolution, where it cannot be folded."""
    joined = drawing.add("Add", image.value, drawing.add("MaxPool", image.value, kernel_shape=[1, 1]))
    numbers = [drawing.weight(image.channels) for _ in range(3)]
    variance = drawing.constant(np.abs(drawing.drawn(image.channels)) + np.float32(1.0))
    made = drawing.add("BatchNormalization", activated(drawing, joined, "Relu"), *numbers, variance)
    return image.but(activated(drawing, made, "Relu"))


def instance_normalised(drawing: Drawing, image: Image) -> Image:
    """Each channel by itself, or in groups as exporters write it."""
    if drawing.in_turn((True, False)):
        numbers = drawing.weight(image.channels), drawing.weight(image.channels)
        return image.but(drawing.add("InstanceNormalization", image.value, *numbers))
    groups = drawing.one_of((2, 4, 8))
    apart = drawing.add("Reshape", image.value, drawing.integers(1, groups, -1))
    ones, zeros = (drawing.constant(np.full(groups, value, dtype=np.float32)) for value in (1.0, 0.0))
    normed = drawing.add("InstanceNormalization", apart, ones, zeros)
    back = drawing.add("Reshape", normed, drawing.integers(*image.shape))
    scaled = drawing.add("Mul", back, drawing.weight(1, image.channels, 1, 1))
    return image.but(drawing.add("Add", scaled, drawing.weight(1, image.channels, 1, 1)))


def unit_length(drawing: Drawing, image: Image) -> Image:
    """Divided by its length over channels: one operator, or the chain that exporters write."""
    if drawing.in_turn((True, False)):
        length = drawing.reduced("ReduceL2", image.value, 1)
    else:
        squares = drawing.add("Pow", image.value, drawing.number(2.0))
        length = drawing.add("Sqrt", drawing.reduced("ReduceSum", squares, 1))
    at_least = drawing.add("Clip", length, drawing.number(1e-6))
    wide = drawing.add("Expand", at_least, drawing.integers(*image.shape))
    return image.but(drawing.add("Div", image.value, wide))


# -- activations


def hard_gates(drawing: Drawing, image: Image) -> Image:
    """Hard sigmoid and swish, as operators and as the chains that exporters write."""
    form = drawing.in_turn(("operator", "chain", "gate"))
    entered = drawing.add("Add", image.value, drawing.weight(1, image.channels, 1, 1))
    if form == "operator":
        return image.but(drawing.add("HardSwish", entered))
    if form == "gate":
        gate = drawing.add("HardSigmoid", entered, alpha=1 / 6, beta=0.5)
    else:
        clipped = drawing.add("Clip", drawing.add("Add", entered, drawing.number(3.0)), *_clip(drawing))
        gate = drawing.add("Div", clipped, drawing.number(6.0))
    return image.but(drawing.add("Mul", entered, gate))


def _clip(drawing: Drawing) -> tuple[str, str]:
    return drawing.number(0.0), drawing.number(6.0)


def sloped(drawing: Drawing, image: Image) -> Image:
    """Activations that let something of what is negative through."""
    kind = drawing.in_turn(("PRelu", "LeakyRelu", "Elu", "Softplus", "PRelu", "Mish"))
    inner = convolved(drawing, image, image.channels, (1, 1), groups=8)
    if kind == "PRelu":
        return image.but(drawing.add("PRelu", inner.value, drawing.weight(image.channels, 1, 1)))
    if kind == "Mish":
        inner = smaller(drawing, inner, MOST_SLOW)
        gate = drawing.add("Tanh", drawing.add("Softplus", inner.value))
        return inner.but(drawing.add("Mul", inner.value, gate))
    if kind == "Softplus":
        inner = smaller(drawing, inner, MOST_SLOW)
    return inner.but(drawing.add(kind, inner.value))


def erf_gelu(drawing: Drawing, image: Image) -> Image:
    """Gelu as the chain Div, Erf, Add, Mul, Mul."""
    image = smaller(drawing, image, 2 * MOST_SLOW)
    return image.but(gelu_chain(drawing, image.value))


def arithmetic(drawing: Drawing, image: Image) -> Image:
    """Single functions of each element."""
    image = smaller(drawing, image, MOST_SLOW)
    positive = drawing.add("Add", drawing.add("Abs", image.value), drawing.number(0.1))
    first = drawing.add(drawing.in_turn(("Log", "Sqrt", "Reciprocal")), positive)
    second = drawing.add("Exp", drawing.add("Neg", positive))
    third = drawing.add("Pow", positive, drawing.number(drawing.in_turn((0.5, 1.5, 2.0, 3.0))))
    fourth = drawing.add(drawing.in_turn(("Sin", "Cos", "Floor")), image.value)
    total = drawing.add("Sub", drawing.add("Sum", first, second, third), fourth)
    return image.but(drawing.add(drawing.in_turn(("Max", "Min")), total, image.value))


# -- attention of images, and heads


def softmax_of_channels(drawing: Drawing, image: Image) -> Image:
    """Classes of each pixel."""
    image = smaller(drawing, image, 2 * MOST_SLOW)
    return image.but(drawing.add("Mul", image.value, drawing.add("Softmax", image.value, axis=1)))


def softmax_of_pixels(drawing: Drawing, image: Image) -> Image:
    """Attention over positions, a batch of products of three dimensions."""
    image = smaller(drawing, image, MOST_SLOW)
    while image.area**2 * image.channels > MOST_MACS / 4:
        pooled = drawing.add("AveragePool", image.value, kernel_shape=[2, 2], strides=[2, 2])
        image = image.but(pooled, size=(image.height // 2, image.width // 2))
    flat = drawing.add("Reshape", image.value, drawing.integers(1, image.channels, -1))
    scores = drawing.add("MatMul", drawing.add("Transpose", flat, perm=[0, 2, 1]), flat)
    mixed = drawing.add("MatMul", flat, drawing.add("Softmax", scores, axis=2))
    return image.but(drawing.add("Reshape", mixed, drawing.integers(*image.shape)))


def gate_of_places(drawing: Drawing, image: Image) -> Image:
    """Mean and maximum of the channels gate each pixel."""
    parts = [
        drawing.reduced(kind, image.value, 1) for kind in ("ReduceMean", drawing.in_turn(("ReduceMax", "ReduceMin")))
    ]
    pair = image.but(drawing.add("Concat", *parts, axis=1), 2)
    gate = drawing.add("Sigmoid", convolved(drawing, pair, 1, (7, 7)).value)
    return image.but(drawing.add("Mul", image.value, gate))


def both_pools(drawing: Drawing, image: Image) -> Image:
    """Mean and maximum of all pixels."""
    total = drawing.add("Add", drawing.add("GlobalAveragePool", image.value), drawing.add("GlobalMaxPool", image.value))
    return image.but(drawing.add("Mul", image.value, drawing.add("Sigmoid", total)))


def heavy_classifier(drawing: Drawing, image: Image) -> Image:
    """Dense layers over all pixels, whose weights no cache holds, gate the channels."""
    few = smaller(drawing, image, 6144)
    flat, hidden = drawing.add("Flatten", few.value), drawing.in_turn((4096, 512, 2048, 4096))
    layers = [(few.elements, hidden), (hidden, few.channels)]
    for into, out in layers:
        flat = drawing.add("Gemm", flat, drawing.weight(out, into), drawing.weight(out), transB=1)
        flat = drawing.add("Relu" if out == hidden else "Sigmoid", flat)
    gate = drawing.add("Reshape", flat, drawing.integers(1, few.channels, 1, 1))
    return image.but(drawing.add("Mul", image.value, gate))


def classes_of_pixels(drawing: Drawing, image: Image) -> Image:
    """The best class of each pixel, by its number."""
    image = smaller(drawing, image, MOST_SLOW)
    best = drawing.add("Cast", drawing.add("ArgMax", image.value, axis=1, keepdims=1), to=_FLOAT)
    return image.but(drawing.add("Add", image.value, drawing.add("Mul", best, drawing.number(0.01))))


def chosen(drawing: Drawing, image: Image) -> Image:
    """The larger of two where a condition holds."""
    image = smaller(drawing, image, MOST_SLOW)
    small = drawing.add("Mul", image.value, drawing.number(0.1))
    kind = drawing.in_turn(("Greater", "Less", "Equal"))
    holds = drawing.add(kind, image.value, drawing.number(0.0))
    if drawing.chance(0.5):
        holds = drawing.add("Not", holds)
    return image.but(drawing.add("Where", holds, image.value, small))


_FLOAT = 1

#: Dealt out among probes.
RARE_IMAGES: tuple[Block, ...] = (
    wide_depthwise, wide_depthwise, large_convolution, line_convolution, dilated, grouped, few_channels, channels_last,
    transposed, transposed, resized, resized, padded, focused, depth_and_space, shuffled, stacked_parts,
    pyramid_of_pools, local_response, batch_normalised, instance_normalised, unit_length, hard_gates, hard_gates,
    sloped, sloped, erf_gelu, arithmetic, softmax_of_channels, softmax_of_pixels, heavy_classifier, gate_of_places,
    both_pools, classes_of_pixels, chosen, quantised_convolutions, quantised_convolutions, integer_convolution,
    half_precision,
)  # fmt: skip
