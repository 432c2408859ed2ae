"""An ONNX graph while it is drawn, and the bounds that keep a probe small."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

#: Files of two ages: what a runtime fuses depends on which.
OPSETS = (17, 20)
IR_VERSION = 8

#: Multiply-accumulates of one operator are kept below this, so that a probe takes milliseconds.
MOST_MACS = 60_000_000
#: But for one operator of a few probes.
MOST_LARGE = 400_000_000
#: Elements of one activation, at most.
MOST_ELEMENTS = 1_000_000
#: The same for operators that runtimes do one element after another.
MOST_SLOW = 150_000
#: Common blocks of a probe of images.
FEWEST_BLOCKS, MOST_BLOCKS = 4, 8

WIDTHS = (8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 960)

Option = TypeVar("Option")


@dataclass(frozen=True)
class Image:
    """An activation of a convolutional network: a batch of one.

    Attributes:
        value: its name.
        channels: all are multiples of 8, but for the input's.
        height: in pixels.
        width: in pixels.
    """

    value: str
    channels: int
    height: int
    width: int

    @property
    def area(self) -> int:
        """Pixels."""
        return self.height * self.width

    @property
    def elements(self) -> int:
        """Numbers."""
        return self.channels * self.area

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As ONNX has it."""
        return (1, self.channels, self.height, self.width)

    def but(self, value: str, channels: int | None = None, size: tuple[int, int] | None = None) -> Image:
        """Another value, of the same shape where none is given."""
        height, width = size or (self.height, self.width)
        return replace(self, value=value, channels=channels or self.channels, height=height, width=width)


@dataclass(frozen=True)
class Sequence:
    """An activation of a sequence network: a batch of one.

    Attributes:
        value: its name.
        length: positions.
        width: features of each, a multiple of 32.
    """

    value: str
    length: int
    width: int

    def but(self, value: str) -> Sequence:
        """Another value of the same shape."""
        return replace(self, value=value)


@dataclass
class Drawing:
    """The graph.

    Attributes:
        rng: draws everything.
        opset: version of ONNX's operators.
        turn: how often the rare block that is drawn was dealt before.
        nodes: so far.
        weights: and all other constants.
    """

    rng: np.random.Generator
    opset: int = OPSETS[-1]
    turn: int = 0
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def one_of(self, options: Several[Option]) -> Option:
        """One of them, all alike likely."""
        return options[int(self.rng.integers(len(options)))]

    def in_turn(self, options: Several[Option]) -> Option:
        """One after another, each time that a rare block is dealt: so none is left out by chance."""
        return options[self.turn % len(options)]

    def chance(self, share: float) -> bool:
        """True in this share of cases."""
        return bool(self.rng.random() < share)

    def affordable(self, options: Several[int], most: float) -> int:
        """One of those that are no larger than `most`, else the first."""
        return self.one_of([option for option in options if option <= most] or [options[0]])

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A node; the name of its output."""
        return self.several(op_type, *inputs, outputs=1, **attributes)[0]

    def several(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """A node; the names of its outputs."""
        from onnx import helper

        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names

    def reduced(self, kind: str, value: str, *axes: int, keepdims: int = 1) -> str:
        """A mean, sum or such over axes, which older files have as an attribute."""
        if self.opset < 18 and kind != "ReduceSum":
            return self.add(kind, value, axes=list(axes), keepdims=keepdims)
        return self.add(kind, value, self.integers(*axes), keepdims=keepdims)

    def weight(self, *shape: int) -> str:
        """A random constant."""
        return self.constant(self.drawn(*shape))

    def drawn(self, *shape: int) -> NDArray[np.float32]:
        """Random numbers, small where many are summed up."""
        fan_in = int(np.prod(shape[1:])) or 1
        return np.asarray(self.rng.standard_normal(shape) / fan_in**0.5, dtype=np.float32)

    def number(self, value: float) -> str:
        """A constant without dimensions."""
        return self.constant(np.array(value, dtype=np.float32))

    def integers(self, *values: int) -> str:
        """A constant list of integers."""
        return self.constant(np.array(values, dtype=np.int64))

    def constant(self, values: NDArray[Any]) -> str:
        """A constant."""
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def done(self, shape: tuple[int, ...], last: str, out: tuple[int, ...]) -> bytes:
        """The model, with the shapes of all its values."""
        from onnx import TensorProto, helper, shape_inference

        given = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
        made = helper.make_tensor_value_info(last, TensorProto.FLOAT, out)
        graph = helper.make_graph(self.nodes, "probe", [given], [made], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=IR_VERSION)
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        serialised: bytes = inferred.SerializeToString()
        return serialised


ACTIVATIONS = ("none", "Relu", "Relu", "HardSwish", "silu", "Clip", "Gelu", "Sigmoid", "HardSigmoid")


def activated(drawing: Drawing, value: str, kind: str | None = None) -> str:
    """With an activation behind it, a random one if none is named."""
    kind = kind or drawing.one_of(ACTIVATIONS)
    if kind == "none":
        return value
    if kind == "silu":
        return drawing.add("Mul", value, drawing.add("Sigmoid", value))
    if kind == "Gelu" and drawing.opset < 20:
        return gelu_chain(drawing, value)
    if kind == "Clip":
        return drawing.add("Clip", value, drawing.number(0.0), drawing.number(6.0))
    return drawing.add(kind, value)


def gelu_chain(drawing: Drawing, value: str) -> str:
    """Gelu as older files have it: `x * (1 + erf(x / sqrt(2))) * 0.5`."""
    inner = drawing.add("Erf", drawing.add("Div", value, drawing.number(2**0.5)))
    product = drawing.add("Mul", value, drawing.add("Add", inner, drawing.number(1.0)))
    return drawing.add("Mul", product, drawing.number(0.5))


def convolved(
    drawing: Drawing,
    image: Image,
    out: int,
    window: tuple[int, int],
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
) -> Image:
    """A convolution with odd windows that keeps the size, but for the stride."""
    weights = drawing.weight(out, image.channels // groups, *window), drawing.weight(out)
    pads = [dilation * (extent // 2) for extent in window] * 2
    value = drawing.add(
        "Conv",
        image.value,
        *weights,
        kernel_shape=list(window),
        strides=[stride] * 2,
        pads=pads,
        group=groups,
        dilations=[dilation] * 2,
    )
    return image.but(value, out, (-(-image.height // stride), -(-image.width // stride)))


def dense(drawing: Drawing, value: str, into: int, out: int) -> str:
    """A product with a matrix, and a bias."""
    return drawing.add("Add", drawing.add("MatMul", value, drawing.weight(into, out)), drawing.weight(out))
