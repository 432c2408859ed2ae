"""Inputs of a model from a file: in the range of what reads them, so that the model can be run at all.

Real numbers do not change what dense kernels cost; whole ones decide whether a lookup is in range, how long a sequence
is and which branch is taken. So each whole input is followed to what reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidModel
from profiler.operators import Tensor

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, NDArray[Any]]

_REDUCTIONS = (
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
)
#: Whole numbers where nothing tells a range: from 0 to this, not included.
_FEW = 2
#: Loops run this often where an input says how often.
TRIPS = 4
#: Operators whose output holds numbers of their first input, in range wherever the input is.
_HANDS_ON = frozenset({
    "Identity", "Cast", "CastLike", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Concat",
    "Expand", "Tile", "Split", "Pad", "Clip", "Gather", "ReduceMax", "ReduceMin",
})  # fmt: skip
#: What an operator wants as its input of that position, by how many numbers that has and the shape of its first input.
_EXACT: Mapping[tuple[str, int], Callable[[int, tuple[int, ...]], Any]] = {
    **{(kind, 4): lambda _, data: data[0] for kind in ("LSTM", "GRU", "RNN")},
    **{(kind, 1): lambda _, __: 1 for kind in ("Expand", "Tile")},
    **{(kind, 1): lambda count, _: np.arange(count) for kind in ("Unsqueeze", "Squeeze", *_REDUCTIONS)},
    ("ConstantOfShape", 0): lambda _, __: 1,
    ("CumSum", 1): lambda _, __: 0,
    ("Loop", 0): lambda _, __: TRIPS,
    ("OneHot", 1): lambda _, __: _FEW,
    ("Pad", 1): lambda _, __: 0,
    ("Reshape", 1): lambda count, _: [-1, *[1] * (count - 1)],
    ("Resize", 3): lambda _, data: data,
    ("Slice", 1): lambda count, _: np.zeros(count),
    ("Slice", 2): lambda count, _: np.full(count, 2**31 - 1),
    ("Slice", 3): lambda count, _: np.arange(count),
    ("Slice", 4): lambda count, _: np.ones(count),
}
#: Operators that pick from their first input by whole numbers in their second.
_PICKS = frozenset({"Gather", "GatherElements", "ScatterElements", "Scatter", "GatherND", "ScatterND"})
_CHANNELS = (1, 3, 4)


def draw(model: onnx.ModelProto, tensors: Mapping[str, Tensor], given: Mapping[str, NDArray[Any]]) -> Arrays:
    """One array for each input of a model whose shapes are fixed.

    Real numbers are standard normal, or in 0..1 where they look like an image (four dimensions, 1, 3 or 4 channels);
    whole ones are uniform in the range of what reads them.

    Args:
        model: its inputs have shapes.
        tensors: what is known of other values.
        given: arrays of the user's own, taken as they are.

    Raises:
        InvalidModel: an input is no tensor of numbers, truth values or text.
    """
    rng = np.random.default_rng(0)
    readers = _Readers(model, tensors)
    weights = {weight.name for weight in model.graph.initializer}
    drawn: Arrays = {}
    for value in model.graph.input:
        if value.name in weights:
            continue
        if value.name in given:
            drawn[value.name] = given[value.name]
            continue
        if not value.type.HasField("tensor_type"):
            kind = value.type.WhichOneof("value") or "no type"
            raise InvalidModel(
                f"input {value.name!r} is no tensor ({kind})",
                hint="Export the model from where its inputs are tensors.",
            )
        shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        drawn[value.name] = _array(value.name, shape, value.type.tensor_type.elem_type, readers, rng)
    return drawn


def whole_inputs(model: onnx.ModelProto) -> bool:
    """Whether an input holds whole numbers, truth values or text, whose values matter."""
    weights = {weight.name for weight in model.graph.initializer}
    return any(
        not np.issubdtype(_dtype(value.type.tensor_type.elem_type), np.inexact)
        for value in model.graph.input
        if value.name not in weights and value.type.HasField("tensor_type")
    )


def _dtype(element: int) -> Any:
    import onnx

    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidModel(f"an input has the unknown element type {element}") from error


def _array(
    name: str, shape: tuple[int, ...], element: int, readers: _Readers, rng: np.random.Generator
) -> NDArray[Any]:
    dtype = _dtype(element)
    if dtype.kind == "O":
        return np.full(shape, "a", dtype=object)
    if dtype == np.bool_:
        return np.ones(shape, dtype=dtype)
    if not np.issubdtype(dtype, np.integer):
        image = len(shape) == 4 and (shape[1] in _CHANNELS or shape[3] in _CHANNELS)
        values = rng.random(shape) if image else rng.standard_normal(shape)
        return values.astype(dtype)
    exact = readers.exact(name, shape)
    if exact is not None:
        return np.broadcast_to(exact, shape).astype(dtype)
    low, high = readers.range(name, shape, dtype)
    return rng.integers(low, high, shape).astype(dtype)


class _Readers:
    """Who reads a value, through what hands it on."""

    def __init__(self, model: Any, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._constants = {weight.name: weight for weight in model.graph.initializer}
        self._by_value: dict[str, list[tuple[Any, int]]] = {}
        self._inputs = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in model.graph.input
            if value.name not in self._constants
        }
        for node in _all_nodes(model.graph):
            if node.op_type == "Constant" and node.output:
                self._constants |= {output: a.t for a in node.attribute if a.name == "value" for output in node.output}
            for position, read in enumerate(node.input):
                self._by_value.setdefault(read, []).append((node, position))

    def exact(self, name: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
        """The one value that makes sense: a size, an axis, a length, what it is compared with."""
        for node, position in self._reading(name):
            if node.op_type == "Equal":
                other = self._constants.get(node.input[1 - position])
                if other is not None:
                    return np.asarray(self._numbers(other).reshape(-1)[0])
            if node.op_type == "TopK" and position == 1:
                axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
                data = self._shape(node.input[0])
                return np.array(max(min(TRIPS, data[axis]), 1) if data else 1)
            if node.op_type == "Range":
                return np.array((0, self._longest(), 1)[position])
            rule = _EXACT.get((node.op_type, position))
            if rule is not None:
                return np.asarray(rule(shape[0] if shape else 1, self._shape(node.input[0]) or (1,)))
        lowered = name.lower()
        if re.search(r"mask", lowered):
            return np.array(1)
        if re.search(r"len(gth)?s?($|[^a-z])|seq_?len", lowered):
            return np.array(self._longest())
        return None

    def range(self, name: str, shape: tuple[int, ...], dtype: Any) -> tuple[int, int]:
        """From and to (not included): the narrowest of those that read it."""
        most = None
        for node, position in self._reading(name):
            rows = None
            if node.op_type in _PICKS and position == 1:
                data = self._shape(node.input[0])
                axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
                if data:
                    rows = min(data) if node.op_type.endswith("ND") else data[axis]
            elif node.op_type == "EmbedLayerNormalization" and position < 2:
                data = self._shape(node.input[2 if position == 0 else 4])
                rows = data[0] if data else None
            elif node.op_type == "OneHot" and position == 0:
                depth = self._constants.get(node.input[1])
                rows = None if depth is None else int(self._numbers(depth).reshape(-1)[0])
            if rows is not None:
                most = max(rows, 1) if most is None else min(most, max(rows, 1))
        if most is not None:
            return 0, min(most, int(np.iinfo(dtype).max) + 1)
        if dtype == np.uint8 and len(shape) >= 3:  # an image as cameras give it
            return 0, 256
        return 0, _FEW

    def _reading(self, name: str) -> Iterator[tuple[Any, int]]:
        seen, todo = {name}, [name]
        while todo:
            for node, position in self._by_value.get(todo.pop(), ()):
                yield node, position
                if node.op_type in _HANDS_ON and (position == 0 or node.op_type == "Concat"):
                    fresh = [output for output in node.output if output not in seen]
                    seen.update(fresh)
                    todo += fresh

    def _shape(self, name: str) -> tuple[int, ...] | None:
        if name in self._constants:
            return tuple(self._constants[name].dims)
        if name in self._inputs:
            return self._inputs[name]
        tensor = self._tensors.get(name)
        return None if tensor is None or tensor.dtype == "unknown" else tensor.shape

    def _longest(self) -> int:
        """Length of the sequences: the second dimension of the inputs that have one."""
        return max((shape[1] for shape in self._inputs.values() if len(shape) >= 2), default=1)

    @staticmethod
    def _numbers(tensor: Any) -> NDArray[Any]:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(tensor))


def _all_nodes(graph: Any) -> Iterator[Any]:
    """Nodes, those of the graphs inside of loops and branches included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _all_nodes(inner)
