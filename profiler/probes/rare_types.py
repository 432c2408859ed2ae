"""Blocks of images in other types than 32-bit floats: 8-bit integers with scales, and halves between casts."""

from __future__ import annotations

import numpy as np

from profiler.probes import quantised
from profiler.probes.drawing import MOST_ELEMENTS, MOST_MACS, WIDTHS, Drawing, Image

_FLOAT, _FLOAT16 = 1, 10


def smaller(drawing: Drawing, image: Image, most: int) -> Image:
    """The image, halved until it has no more than so many elements; of one pixel the channels stay."""
    while image.elements > most and min(image.height, image.width) >= 2:
        made = drawing.add("MaxPool", image.value, kernel_shape=[2, 2], strides=[2, 2])
        image = image.but(made, size=(image.height // 2, image.width // 2))
    return image


def quantised_convolutions(drawing: Drawing, image: Image) -> Image:
    """Two convolutions of 8-bit integers and their sum, between quantise and dequantise."""
    image = smaller(drawing, image, MOST_ELEMENTS // 4)
    window = (3, 3) if image.elements * image.channels * 9 <= MOST_MACS else (1, 1)
    entered = quantised.through(drawing, image.value)
    groups = image.channels if drawing.chance(0.3) else 1
    inner = quantised.convolved(drawing, image.but(entered), image.channels, window, groups)
    if drawing.in_turn((False, True)):
        pooled = quantised.through(drawing, drawing.add("GlobalAveragePool", inner.value))
        return image.but(drawing.add("Mul", image.value, pooled))
    total = drawing.add("Add", inner.value, entered)
    last = image.but(quantised.through(drawing, total))
    out = drawing.affordable(WIDTHS, MOST_MACS / last.elements)
    return quantised.convolved(drawing, last, out, (1, 1), 1)


def integer_convolution(drawing: Drawing, image: Image) -> Image:
    """A convolution of integers whose scale is taken from its input."""
    image = smaller(drawing, image, MOST_ELEMENTS // 4)
    window = drawing.in_turn(((3, 3), (1, 1)))
    out = drawing.affordable(WIDTHS, MOST_MACS / (image.elements * window[0] * window[1]))
    return quantised.dynamic_convolution(drawing, image, out, window)


def half_precision(drawing: Drawing, image: Image) -> Image:
    """A convolution and a sum in 16 bits, between casts."""
    entered = drawing.add("Cast", image.value, to=_FLOAT16)
    weights = [drawing.constant(drawing.drawn(*shape).astype(np.float16)) for shape in _pointwise(image)]
    made = drawing.add("Conv", entered, *weights, kernel_shape=[1, 1], group=8)
    total = drawing.add("Add", drawing.add("Relu", made), entered)
    return image.but(drawing.add("Cast", total, to=_FLOAT))


def _pointwise(image: Image) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (image.channels, image.channels // 8, 1, 1), (image.channels,)
