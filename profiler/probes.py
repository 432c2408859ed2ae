"""Probes: small random networks that show a device's kernels, of the kinds and sizes that real networks have.

A predictor that is to answer any model must have seen the device run more than the networks of one space. A probe is a
convolutional or a transformer-like network whose widths, resolutions, windows and operators are drawn at random; the
runtime fuses it as it fuses any model, and its kernels and latency are measured like any model's.

Source: sampling kernels by random configurations, Zhang et al., "nn-Meter", MobiSys 2021, section 5; here they are
    drawn as networks, so that they are fused and run as kernels are in networks, and the composition learns from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from profiler.subjects import Subject, from_bytes

OPSET = 20
IR_VERSION = 10

#: Multiply-accumulates of one operator are kept below this, so that a probe takes milliseconds.
MOST_MACS = 60_000_000
#: Elements of one activation, at most.
MOST_ELEMENTS = 1_000_000
#: Blocks of a probe.
FEWEST_BLOCKS, MOST_BLOCKS = 5, 10

_WIDTHS = (8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 960)
_SIZES = (4, 6, 7, 8, 12, 14, 16, 24, 28, 32, 48, 56, 64, 96, 112)
_LENGTHS = (16, 25, 49, 64, 100, 128, 196, 256)
_EMBEDDINGS = (64, 96, 128, 192, 256, 320, 384, 512)


def probes(count: int, seed: int) -> list[Subject]:
    """Random networks to measure; a shorter list with the same seed is the beginning of a longer one.

    Args:
        count: at least 1.
        seed: not negative.

    Raises:
        UsageError: `count` or `seed` is out of range.
    """
    if count < 1 or seed < 0:
        raise UsageError(f"{count} probes with seed {seed}: the count must be at least 1, the seed at least 0")
    return [_probe(np.random.default_rng([seed, index]), f"probe {seed}.{index}", index) for index in range(count)]


def _probe(rng: np.random.Generator, name: str, index: int) -> Subject:
    draw = _image_probe if index % 3 < 2 else _sequence_probe
    return from_bytes(draw(_Drawing(rng)), name=name)


@dataclass
class _Drawing:
    """An ONNX graph while it is drawn."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def one_of(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """A node; the name of its first output."""
        from onnx import helper

        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0]

    def weight(self, *shape: int) -> str:
        """A random constant."""
        fan_in = int(np.prod(shape[1:])) or 1
        return self.constant((self.rng.standard_normal(shape) / fan_in**0.5).astype(np.float32))

    def constant(self, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def done(self, shape: tuple[int, ...], last: str, out: tuple[int, ...]) -> bytes:
        from onnx import TensorProto, helper, shape_inference

        given = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
        made = helper.make_tensor_value_info(last, TensorProto.FLOAT, out)
        graph = helper.make_graph(self.nodes, "probe", [given], [made], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        serialised: bytes = shape_inference.infer_shapes(model).SerializeToString()
        return serialised


# -- convolutional probes


def _image_probe(drawing: _Drawing) -> bytes:
    rng = drawing.rng
    size = int(drawing.one_of(_SIZES))
    channels = 3 if rng.random() < 0.3 else _affordable(drawing, _WIDTHS, MOST_ELEMENTS // size**2)
    shape = (1, channels, size, size)
    value = "input"
    for _ in range(int(rng.integers(FEWEST_BLOCKS, MOST_BLOCKS + 1))):
        block = drawing.one_of((_convolution,) * 5 + (_depthwise,) * 3 + (_residual, _squeeze, _pool, _branches))
        if channels == 3 or (block is _residual and size**2 * channels**2 > MOST_MACS):
            block = _convolution
        value, channels, size = block(drawing, value, channels, size)
    pooled = drawing.add("ReduceMean", value, drawing.constant(np.array([2, 3])), keepdims=0)
    classes = int(drawing.one_of((10, 100, 1000)))
    last = drawing.add("Gemm", pooled, drawing.weight(classes, channels), drawing.weight(classes), transB=1)
    return drawing.done(shape, last, (1, classes))


def _affordable(drawing: _Drawing, options: tuple[int, ...], most: float) -> int:
    fitting = [option for option in options if option <= most] or [options[0]]
    return int(drawing.one_of(fitting))


_ACTIVATIONS = ("none", "Relu", "Relu", "HardSwish", "silu", "Clip", "Gelu", "Sigmoid", "HardSigmoid")


def _activated(drawing: _Drawing, value: str, kind: str | None = None) -> str:
    kind = kind or drawing.one_of(
        ("none", "Relu", "Relu", "HardSwish", "silu", "Clip", "Gelu", "Sigmoid", "HardSigmoid")
    )
    if kind == "none":
        return value
    if kind == "silu":
        return drawing.add("Mul", value, drawing.add("Sigmoid", value))
    if kind == "Clip":
        bounds = (drawing.constant(np.array(limit, dtype=np.float32)) for limit in (0.0, 6.0))
        return drawing.add("Clip", value, *bounds)
    return drawing.add(kind, value)


def _conv(drawing: _Drawing, value: str, into: int, out: int, window: int, stride: int, groups: int) -> str:
    weights = drawing.weight(out, into // groups, window, window), drawing.weight(out)
    pads = [window // 2] * 4
    return drawing.add(
        "Conv", value, *weights, kernel_shape=[window] * 2, strides=[stride] * 2, pads=pads, group=groups
    )


def _convolution(drawing: _Drawing, value: str, channels: int, size: int) -> tuple[str, int, int]:
    window = int(drawing.one_of((1, 1, 1, 3, 3, 3, 5, 7) if channels <= 64 else (1, 1, 3)))
    stride = 2 if size >= 8 and drawing.rng.random() < 0.3 else 1
    smaller = -(-size // stride)
    if smaller**2 * channels * window**2 * _WIDTHS[0] > MOST_MACS:
        window = 1
    most = min(MOST_MACS / (smaller**2 * channels * window**2), MOST_ELEMENTS / smaller**2)
    out = _affordable(drawing, _WIDTHS, most)
    return _activated(drawing, _conv(drawing, value, channels, out, window, stride, 1)), out, smaller


def _depthwise(drawing: _Drawing, value: str, channels: int, size: int) -> tuple[str, int, int]:
    fitting = [window for window in (3, 3, 5, 7) if size**2 * channels * window**2 <= MOST_MACS]
    window, stride = int(drawing.one_of(fitting)), 2 if size >= 8 and drawing.rng.random() < 0.3 else 1
    made = _activated(drawing, _conv(drawing, value, channels, channels, window, stride, channels))
    return made, channels, -(-size // stride)


def _residual(drawing: _Drawing, value: str, channels: int, size: int) -> tuple[str, int, int]:
    window = 3 if size**2 * channels**2 * 9 < MOST_MACS else 1
    inner = _activated(drawing, _conv(drawing, value, channels, channels, window, 1, 1), "Relu")
    return _activated(drawing, drawing.add("Add", inner, value), "Relu"), channels, size


def _squeeze(drawing: _Drawing, value: str, channels: int, size: int) -> tuple[str, int, int]:
    axes = drawing.constant(np.array([2, 3]))
    narrow = max(8, channels // 4)
    squeezed = _activated(drawing, _conv(drawing, drawing.add("ReduceMean", value, axes), channels, narrow, 1, 1, 1))
    gate = _activated(
        drawing, _conv(drawing, squeezed, narrow, channels, 1, 1, 1), drawing.one_of(("Sigmoid", "HardSigmoid"))
    )
    return drawing.add("Mul", value, gate), channels, size


def _pool(drawing: _Drawing, value: str, channels: int, size: int) -> tuple[str, int, int]:
    window, stride = int(drawing.one_of((2, 3))), int(drawing.one_of((1, 2)))
    pads = [1] * 4 if window == 3 else [0, 0, 1, 1] if stride == 1 else [0] * 4
    if size < 6:
        return value, channels, size
    kind = drawing.one_of(("MaxPool", "AveragePool"))
    made = drawing.add(kind, value, kernel_shape=[window] * 2, strides=[stride] * 2, pads=pads)
    return made, channels, (size + pads[0] + pads[2] - window) // stride + 1


def _branches(drawing: _Drawing, value: str, channels: int, size: int) -> tuple[str, int, int]:
    most = min(MOST_MACS / (size**2 * channels * 9), MOST_ELEMENTS / size**2 / 2)
    if most < _WIDTHS[0]:
        return _depthwise(drawing, value, channels, size)
    out = _affordable(drawing, _WIDTHS, most)
    parts = [_activated(drawing, _conv(drawing, value, channels, out, window, 1, 1), "Relu") for window in (1, 3)]
    return drawing.add("Concat", *parts, axis=1), 2 * out, size


# -- transformer-like probes


def _sequence_probe(drawing: _Drawing) -> bytes:
    length = int(drawing.one_of(_LENGTHS))
    width = _affordable(drawing, _EMBEDDINGS, min((MOST_MACS / length) ** 0.5, MOST_MACS / length**2 / 1.5))
    value = "input"
    for _ in range(int(drawing.rng.integers(2, 5))):
        block = drawing.one_of((_attention, _perceptron, _perceptron, _mixing))
        value = block(drawing, value, length, width)
    kept = drawing.add("ReduceMean", value, drawing.constant(np.array([1])), keepdims=0)
    if drawing.rng.random() < 0.5:
        kept = drawing.add("Gather", value, drawing.constant(np.array(0)), axis=1)
    classes = int(drawing.one_of((2, 100, 1000)))
    last = drawing.add("Gemm", kept, drawing.weight(classes, width), drawing.weight(classes), transB=1)
    return drawing.done((1, length, width), last, (1, classes))


def _entered(drawing: _Drawing, value: str, width: int) -> tuple[str, bool]:
    """What a block reads, normalised in one half of all blocks; the others normalise what they add up."""
    before = bool(drawing.rng.random() < 0.5)
    return (_normed(drawing, value, width) if before else value), before


def _left(drawing: _Drawing, made: str, value: str, width: int, before: bool) -> str:
    total = drawing.add("Add", made, value)
    return total if before else _normed(drawing, total, width)


def _normed(drawing: _Drawing, value: str, width: int) -> str:
    return drawing.add("LayerNormalization", value, drawing.weight(width), drawing.weight(width), axis=-1, epsilon=1e-5)


def _dense(drawing: _Drawing, value: str, into: int, out: int) -> str:
    return drawing.add("Add", drawing.add("MatMul", value, drawing.weight(into, out)), drawing.weight(out))


def _perceptron(drawing: _Drawing, value: str, length: int, width: int) -> str:
    inner = width * int(drawing.one_of((1, 2, 4)))
    while length * width * inner > MOST_MACS:
        inner //= 2
    entered, before = _entered(drawing, value, width)
    hidden = _dense(drawing, entered, width, inner)
    hidden = _activated(drawing, hidden, drawing.one_of(("Gelu", "Gelu", "Relu", "silu", "Tanh", "Erf")))
    return _left(drawing, _dense(drawing, hidden, inner, width), value, width, before)


def _attention(drawing: _Drawing, value: str, length: int, width: int) -> str:
    heads = int(drawing.one_of([count for count in (2, 3, 4, 6, 8, 12) if width % count == 0]))
    split = drawing.constant(np.array([1, length, heads, width // heads]))
    entered, before = _entered(drawing, value, width)

    def part(order: list[int]) -> str:
        made = drawing.add("Reshape", _dense(drawing, entered, width, width), split)
        return drawing.add("Transpose", made, perm=order)

    scores = drawing.add("MatMul", part([0, 2, 1, 3]), part([0, 2, 3, 1]))
    scaled = drawing.add("Mul", scores, drawing.constant(np.array((width // heads) ** -0.5, dtype=np.float32)))
    mixed = drawing.add("MatMul", drawing.add("Softmax", scaled, axis=-1), part([0, 2, 1, 3]))
    joined = drawing.constant(np.array([1, length, width]))
    merged = drawing.add("Reshape", drawing.add("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
    return _left(drawing, _dense(drawing, merged, width, width), value, width, before)


def _mixing(drawing: _Drawing, value: str, length: int, width: int) -> str:
    """Halves that gate each other, and a mix over positions."""
    drawing.add("Split", value, outputs=2, axis=2, num_outputs=2)
    first, second = drawing.nodes[-1].output
    gated = drawing.add("Mul", first, _activated(drawing, second, drawing.one_of(("Sigmoid", "Tanh", "silu"))))
    turned = drawing.add("Transpose", drawing.add("Concat", gated, first, axis=2), perm=[0, 2, 1])
    mixed = _dense(drawing, turned, length, length)
    return drawing.add("Add", drawing.add("Transpose", mixed, perm=[0, 2, 1]), value)
