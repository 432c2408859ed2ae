"""8-bit integers as quantisers write them: pairs of quantise and dequantise, or scales taken while running."""

from __future__ import annotations

import numpy as np

from profiler.probes.drawing import Drawing, Image, activated

#: Step of an activation of unit variance, and of a weight.
_STEP, _FINE = 0.05, 0.01
#: Zero of unsigned integers.
_MIDDLE = 128


def through(drawing: Drawing, value: str) -> str:
    """A value rounded to 8 bits: quantised, and back."""
    step, zero = drawing.number(_STEP), _zero(drawing, signed=False)
    return drawing.add("DequantizeLinear", drawing.add("QuantizeLinear", value, step, zero), step, zero)


def weight(drawing: Drawing, *shape: int) -> str:
    """A weight that is kept in 8 bits."""
    return drawing.add("DequantizeLinear", _integers(drawing, *shape), drawing.number(_FINE), _zero(drawing))


def convolved(drawing: Drawing, image: Image, out: int, window: tuple[int, int], groups: int) -> Image:
    """A convolution between dequantised values, and what comes out rounded."""
    weights = weight(drawing, out, image.channels // groups, *window), _bias(drawing, out)
    pads = [extent // 2 for extent in window] * 2
    made = drawing.add("Conv", image.value, *weights, kernel_shape=list(window), pads=pads, group=groups)
    return image.but(through(drawing, activated(drawing, made, drawing.one_of(("Relu", "none")))), out)


def product(drawing: Drawing, value: str, into: int, out: int) -> str:
    """A product of matrices between dequantised values."""
    made = drawing.add("MatMul", through(drawing, value), weight(drawing, into, out))
    return through(drawing, made)


def gemm(drawing: Drawing, value: str, into: int, out: int) -> str:
    """A dense layer of two dimensions between dequantised values."""
    weights = weight(drawing, out, into), _bias(drawing, out)
    return through(drawing, drawing.add("Gemm", through(drawing, value), *weights, transB=1))


def dynamic_product(drawing: Drawing, value: str, into: int, out: int) -> str:
    """A product of integers, the scale of whose first factor is taken while running."""
    quantised, step, zero = drawing.several("DynamicQuantizeLinear", value, outputs=3)
    sums = drawing.add("MatMulInteger", quantised, _integers(drawing, into, out), zero, _zero(drawing))
    return _scaled(drawing, sums, step)


def dynamic_convolution(drawing: Drawing, image: Image, out: int, window: tuple[int, int]) -> Image:
    """The same of a convolution, whose weights are signed or not."""
    quantised, step, zero = drawing.several("DynamicQuantizeLinear", image.value, outputs=3)
    signed = drawing.in_turn((False, True))
    weights = _integers(drawing, out, image.channels, *window, signed=signed)
    pads = [extent // 2 for extent in window] * 2
    inputs = (quantised, weights, zero, _zero(drawing, signed=signed))
    sums = drawing.add("ConvInteger", *inputs, kernel_shape=list(window), pads=pads)
    return image.but(_scaled(drawing, sums, step), out)


def _scaled(drawing: Drawing, sums: str, step: str) -> str:
    factor = drawing.add("Mul", step, drawing.number(_FINE))
    return drawing.add("Mul", drawing.add("Cast", sums, to=1), factor)


def _integers(drawing: Drawing, *shape: int, signed: bool = True) -> str:
    steps = np.clip(np.round(drawing.drawn(*shape) / _FINE), -127, 127)
    return drawing.constant(steps.astype(np.int8) if signed else (steps + _MIDDLE).astype(np.uint8))


def _bias(drawing: Drawing, count: int) -> str:
    values = drawing.constant(np.round(drawing.drawn(count) / (_STEP * _FINE)).astype(np.int32))
    return drawing.add("DequantizeLinear", values, drawing.number(_STEP * _FINE))


def _zero(drawing: Drawing, *, signed: bool = True) -> str:
    return drawing.constant(np.array(0, dtype=np.int8) if signed else np.array(_MIDDLE, dtype=np.uint8))
