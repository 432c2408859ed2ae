"""Rarer blocks of sequence networks: recurrent, one-dimensional, quantised, and the chains that exporters write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from profiler.probes import quantised
from profiler.probes.drawing import MOST_LARGE, MOST_MACS, Drawing, Sequence, activated, dense, gelu_chain
from profiler.probes.sequences import parted

Block = Callable[[Drawing, Sequence], Sequence]

_UNITS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_FLOAT, _FLOAT16 = 1, 10
#: Recurrent operators use their weights once in each step and wait for the step before.
_RECURRENT_MACS = MOST_MACS // 2
#: Steps of those whose weights do not stay in a cache, and are read from memory in each step.
_FEW_STEPS = 12


def _added(drawing: Drawing, sequence: Sequence, value: str) -> Sequence:
    return sequence.but(drawing.add("Add", value, sequence.value))


# -- recurrent


def lstm(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Forwards, backwards or both ways."""
    return _recurrent(drawing, sequence, "LSTM", 4)


def gru(drawing: Drawing, sequence: Sequence) -> Sequence:
    """The same with three gates."""
    return _recurrent(drawing, sequence, "GRU", 3, linear_before_reset=int(drawing.chance(0.7)))


def _recurrent(drawing: Drawing, sequence: Sequence, kind: str, gates: int, **attributes: int) -> Sequence:
    direction = drawing.in_turn(("forward", "bidirectional", "reverse", "bidirectional"))
    ways = 2 if direction == "bidirectional" else 1
    few = min(sequence.length, _FEW_STEPS) if drawing.in_turn((False, True, False)) else 0
    length, width = few or sequence.length, sequence.width
    limit = _RECURRENT_MACS / (length * ways * gates)
    fitting = [count for count in _UNITS if count * (width + count) <= limit] or [8]
    units = fitting[-1] if few or drawing.in_turn((False, True)) else drawing.one_of(fitting)  # many fill caches
    read = sequence.value
    if few:
        read = drawing.add("Slice", read, *(drawing.integers(one) for one in (0, few, 1)))
    steps = drawing.add("Transpose", read, perm=[1, 0, 2])
    weights = drawing.weight(ways, gates * units, width), drawing.weight(ways, gates * units, units)
    bias = drawing.weight(ways, 2 * gates * units)
    made = drawing.add(kind, steps, *weights, bias, hidden_size=units, direction=direction, **attributes)
    ordered = drawing.add("Transpose", made, perm=[2, 0, 1, 3])
    joined = drawing.add("Reshape", ordered, drawing.integers(1, length, ways * units))
    if few:  # what they come to is added to all steps
        joined = drawing.reduced("ReduceMean", joined, 1)
    return _added(drawing, sequence, dense(drawing, joined, ways * units, width))


# -- one-dimensional convolutions and pools


def speech_convolution(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Along time: dense, dilated, or a wide window for each channel."""
    width, form = sequence.width, drawing.in_turn(("dense", "dilated", "depthwise"))
    turned = drawing.add("Transpose", sequence.value, perm=[0, 2, 1])
    window = drawing.one_of((7, 15, 31) if form == "depthwise" else (1, 3, 5))
    while form != "depthwise" and window > 1 and sequence.length * width**2 * window > MOST_MACS:
        window -= 2
    groups = width if form == "depthwise" else 1
    dilation = drawing.one_of((2, 4)) if form == "dilated" else 1
    weights = drawing.weight(width, width // groups, window), drawing.weight(width)
    pads = [dilation * (window // 2)] * 2
    made = drawing.add("Conv", turned, *weights, kernel_shape=[window], pads=pads, group=groups, dilations=[dilation])
    back = drawing.add("Transpose", activated(drawing, made, drawing.one_of(("Relu", "silu"))), perm=[0, 2, 1])
    return _added(drawing, sequence, back)


def few_frames(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Convolutions over the few frames that a network of speech reads at a time, until one is left."""
    frames, width = drawing.in_turn((4, 8, 16)), sequence.width
    some = drawing.add("Slice", sequence.value, *(drawing.integers(one) for one in (0, frames, 1)))
    value = drawing.add("Transpose", some, perm=[0, 2, 1])
    while frames > 1:
        out = drawing.one_of((64, 128, 256))
        weights = drawing.weight(out, width, 3), drawing.weight(out)
        made = drawing.add("Conv", value, *weights, kernel_shape=[3], pads=[1, 1], strides=[2])
        value, frames, width = drawing.add("Relu", made), -(-frames // 2), out
    back = drawing.add("Conv", value, drawing.weight(sequence.width, width, 1), kernel_shape=[1])
    return _added(drawing, sequence, drawing.add("Transpose", back, perm=[0, 2, 1]))


def spectrum(drawing: Drawing, sequence: Sequence) -> Sequence:
    """A wave by windows, as a convolution of one channel; squares and roots of what comes out."""
    length, width = sequence.length, sequence.width
    while length * width**2 * 2 > MOST_MACS / 2:
        width //= 2
    wave = drawing.add("Reshape", sequence.value, drawing.integers(1, 1, length * sequence.width))
    if width < sequence.width:
        ends = [drawing.integers(value) for value in (0, length * width, 2)]
        wave = drawing.add("Slice", wave, *ends)
    rim = drawing.add("Pad", wave, drawing.integers(0, 0, width // 2, 0, 0, width // 2), mode="reflect")
    made = drawing.add("Conv", rim, drawing.weight(width, 1, 2 * width), kernel_shape=[2 * width], strides=[width])
    power = drawing.add("Pow", made, drawing.number(2.0))
    root = drawing.add("Sqrt", drawing.add("Add", power, drawing.number(1e-3)))
    frames = drawing.add("Transpose", root, perm=[0, 2, 1])
    loudness = drawing.reduced("ReduceMean", frames, 1, 2)
    return _added(drawing, sequence, loudness)


def pooled_in_time(drawing: Drawing, sequence: Sequence) -> Sequence:
    """The maximum and the mean of neighbours."""
    turned = drawing.add("Transpose", sequence.value, perm=[0, 2, 1])
    window = {"kernel_shape": [3], "strides": [1], "pads": [1, 1]}
    both = drawing.add("Add", drawing.add("MaxPool", turned, **window), drawing.add("AveragePool", turned, **window))
    return sequence.but(drawing.add("Transpose", both, perm=[0, 2, 1]))


# -- chains that exporters write


def erf_perceptron(drawing: Drawing, sequence: Sequence) -> Sequence:
    """A dense layer with Gelu as a chain of Erf."""
    hidden = gelu_chain(drawing, dense(drawing, sequence.value, sequence.width, sequence.width))
    return _added(drawing, sequence, hidden)


def tanh_perceptron(drawing: Drawing, sequence: Sequence) -> Sequence:
    """A dense layer with Gelu as a chain of Tanh."""
    value = dense(drawing, sequence.value, sequence.width, sequence.width)
    cubed = drawing.add("Mul", drawing.add("Pow", value, drawing.number(3.0)), drawing.number(0.044715))
    inner = drawing.add("Mul", drawing.add("Add", value, cubed), drawing.number(0.7978845608))
    gate = drawing.add("Add", drawing.add("Tanh", inner), drawing.number(1.0))
    return _added(drawing, sequence, drawing.add("Mul", drawing.add("Mul", value, drawing.number(0.5)), gate))


def normalised_by_hand(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Layer normalisation as means, differences and roots."""
    centred = drawing.add("Sub", sequence.value, drawing.reduced("ReduceMean", sequence.value, -1))
    variance = drawing.reduced("ReduceMean", drawing.add("Pow", centred, drawing.number(2.0)), -1)
    deviation = drawing.add("Sqrt", drawing.add("Add", variance, drawing.number(1e-5)))
    scaled = drawing.add("Mul", drawing.add("Div", centred, deviation), drawing.weight(sequence.width))
    return sequence.but(drawing.add("Add", scaled, drawing.weight(sequence.width)))


def root_mean_square(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Normalised without a mean."""
    squares = drawing.add("Pow", sequence.value, drawing.number(2.0))
    mean = drawing.reduced("ReduceMean", squares, -1)
    root = drawing.add("Sqrt", drawing.add("Add", mean, drawing.number(1e-6)))
    factor = drawing.add("Div", drawing.number(1.0), root)
    scaled = drawing.add("Mul", sequence.value, factor)
    return sequence.but(drawing.add("Mul", scaled, drawing.weight(sequence.width)))


def rotated(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Rotary positions."""
    half, axis, step = sequence.width // 2, drawing.integers(2), drawing.integers(1)
    left = drawing.add("Slice", sequence.value, drawing.integers(0), drawing.integers(half), axis, step)
    right = drawing.add("Slice", sequence.value, drawing.integers(half), drawing.integers(2 * half), axis, step)
    turned = drawing.add("Concat", drawing.add("Neg", right), left, axis=2)
    cosine = drawing.add("Mul", sequence.value, drawing.weight(1, sequence.length, sequence.width))
    sine = drawing.add("Mul", turned, drawing.weight(1, sequence.length, sequence.width))
    return sequence.but(drawing.add("Add", cosine, sine))


def masked_scores(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Attention of one head, of three dimensions, with a mask."""
    length = sequence.length
    turned = drawing.add("Transpose", sequence.value, perm=[0, 2, 1])
    scores = drawing.add("MatMul", sequence.value, turned)
    scaled = drawing.add("Div", scores, drawing.number(sequence.width**0.5))
    if drawing.in_turn((True, False)):
        seen = drawing.constant(np.tril(np.ones((1, length, length), dtype=np.bool_)))
        scaled = drawing.add("Where", seen, scaled, drawing.number(-1e4))
    axis = drawing.in_turn((-1, 1))
    kind = drawing.in_turn(("Softmax", "LogSoftmax", "Softmax"))
    mixed = drawing.add("MatMul", drawing.add(kind, scaled, axis=axis), sequence.value)
    return sequence.but(mixed) if kind == "Softmax" else _added(drawing, sequence, mixed)


def summed_products(drawing: Drawing, sequence: Sequence) -> Sequence:
    """An `Einsum`, over heads of a few features."""
    heads = 4
    split = drawing.add("Reshape", sequence.value, drawing.integers(1, sequence.length, heads, sequence.width // heads))
    scores = drawing.add("Einsum", split, split, equation="bihd,bjhd->bhij")
    gate = drawing.add("Softmax", drawing.add("Mul", scores, drawing.number(0.1)), axis=-1)
    mixed = drawing.add("Einsum", gate, split, equation="bhij,bjhd->bihd")
    return sequence.but(drawing.add("Reshape", mixed, drawing.integers(1, sequence.length, sequence.width)))


def large_product(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Dense layers as wide as those of language models."""
    inner = drawing.affordable((768, 1024, 2048, 3072), MOST_LARGE / 2 / sequence.length / sequence.width)
    hidden = activated(drawing, dense(drawing, sequence.value, sequence.width, inner), "Relu")
    return _added(drawing, sequence, dense(drawing, hidden, inner, sequence.width))


# -- tables and orders


def embedded(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Rows of a table, by ids that the network makes."""
    ids = drawing.add("ArgMax", sequence.value, axis=2, keepdims=0)
    rows = max(sequence.width, drawing.one_of((1000, 5000, 20000)))
    return _added(drawing, sequence, drawing.add("Gather", drawing.weight(rows, sequence.width), ids, axis=0))


def best_few(drawing: Drawing, sequence: Sequence) -> Sequence:
    """The largest features of each position."""
    axis = drawing.one_of((2, 2, 1))
    count = min(drawing.one_of((1, 4, 16)), sequence.length)
    found, places = drawing.several("TopK", sequence.value, drawing.integers(count), outputs=2, axis=axis)
    again = drawing.add("GatherElements", sequence.value, places, axis=axis)
    twice = drawing.add("Sub", drawing.add("Add", found, found), again)
    return _added(drawing, sequence, drawing.reduced("ReduceMean", twice, axis))


def sums_so_far(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Each position with the sum of those before it, and copies of one of them."""
    total = drawing.add("CumSum", sequence.value, drawing.constant(np.array(1)))
    mean = drawing.add("Mul", total, drawing.number(1 / sequence.length))
    first = drawing.add(
        "Slice", mean, drawing.integers(0), drawing.integers(1), drawing.integers(1), drawing.integers(1)
    )
    return _added(drawing, sequence, drawing.add("Tile", first, drawing.integers(1, sequence.length, 1)))


def folded_out(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Dimensions taken off and put on, and parts of the features in another order."""
    flat = drawing.add("Squeeze", sequence.value, drawing.integers(0))
    parts = drawing.several("Split", flat, outputs=4, axis=1, **parted(drawing, 4))
    joined = drawing.add("Concat", *parts[::-1], axis=1)
    return _added(drawing, sequence, drawing.add("Unsqueeze", joined, drawing.integers(0)))


# -- other types


def quantised_perceptron(drawing: Drawing, sequence: Sequence) -> Sequence:
    """A product of 8-bit integers, of three dimensions or of two."""
    length, width = sequence.length, sequence.width
    if drawing.in_turn((True, False)):
        return _added(drawing, sequence, quantised.product(drawing, sequence.value, width, width))
    flat = drawing.add("Reshape", sequence.value, drawing.integers(length, width))
    made = drawing.add("Add", quantised.gemm(drawing, flat, width, width), drawing.weight(width))
    return _added(drawing, sequence, drawing.add("Reshape", made, drawing.integers(1, length, width)))


def dynamic_perceptron(drawing: Drawing, sequence: Sequence) -> Sequence:
    """A product of integers, the scale of whose first factor is taken while running."""
    width = sequence.width
    made = quantised.dynamic_product(drawing, sequence.value, width, width)
    if drawing.in_turn((False, True)):
        made = drawing.add("Add", made, drawing.weight(width))
    return _added(drawing, sequence, activated(drawing, made, "Relu"))


def half_precision(drawing: Drawing, sequence: Sequence) -> Sequence:
    """A product in 16 bits, between casts; and one more operator, since ONNX Runtime fuses norms with casts wrongly."""
    entered = drawing.add("Cast", sequence.value, to=_FLOAT16)
    matrix = drawing.constant(drawing.drawn(sequence.width, sequence.width).astype(np.float16))
    total = drawing.add("Add", drawing.add("MatMul", entered, matrix), entered)
    return sequence.but(drawing.add("Mul", drawing.add("Cast", total, to=_FLOAT), drawing.number(0.5)))


#: Dealt out among probes.
RARE_SEQUENCES: tuple[Block, ...] = (
    large_product, lstm, lstm, gru, gru, speech_convolution, speech_convolution, few_frames, spectrum, pooled_in_time,
    erf_perceptron, tanh_perceptron, normalised_by_hand, root_mean_square, rotated, masked_scores, summed_products,
    embedded, best_few, sums_so_far, folded_out, quantised_perceptron, quantised_perceptron, dynamic_perceptron,
    half_precision,
)  # fmt: skip
