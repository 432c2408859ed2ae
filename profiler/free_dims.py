"""Free dimensions of an ONNX file, and the numbers that they are given: latency is that of one shape."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device_profiles.errors import InvalidModel, UsageError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Wanted:
    """The shapes that somebody asks for.

    Attributes:
        shapes: of inputs, by name; names that a model does not have are for other models.
        dims: of symbolic dimensions, by symbol.
        batch: of every leading dimension that is free, or None.
        several: they are for several models: an input with no free dimension keeps its shape, whatever is asked for.
    """

    shapes: Mapping[str, Shape] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    batch: int | None = None
    several: bool = False


@dataclass(frozen=True)
class FreeDim:
    """A dimension that is no number.

    Attributes:
        input: name of the input.
        position: which of its dimensions; -1 if not even their number is known.
        symbol: its name in the file, empty if it has none. Equal symbols are one number.
    """

    input: str
    position: int
    symbol: str

    def __str__(self) -> str:
        return f"{self.symbol or '?'} (dimension {self.position} of {self.input})"


def fix(model: onnx.ModelProto, wanted: Wanted, name: str) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model with numbers in place of free dimensions.

    A leading free dimension that nobody set is a batch of 1.

    Args:
        model: it is not changed.
        wanted: see `Wanted`.
        name: of the model, for messages.

    Returns:
        The model itself if nothing was free or asked for, else a copy whose inner shapes are to be found anew; and
        what was assumed, for people.

    Raises:
        StillFree: a dimension stays free.
        InvalidModel: a shape that is asked for contradicts the file.
    """
    inputs = _network_inputs(model)
    symbols: dict[str, int] = dict(wanted.dims)
    shapes = {value.name: _asked(value, wanted, symbols, name) for value in inputs}
    notes: list[str] = []
    for value in inputs:
        shape = shapes[value.name]
        if shape and shape[0] is None and (not (symbol := _symbol(value, 0)) or symbol not in symbols):
            batch = wanted.batch or 1
            shape[0] = batch
            if symbol:
                symbols[symbol] = batch
            if wanted.batch is None:
                notes.append(f"{name}: the batch of {value.name} is free; taken as 1 (--batch N for another)")
    for value in inputs:
        shape = shapes[value.name] or []
        shape[:] = [symbols.get(_symbol(value, i)) if extent is None else extent for i, extent in enumerate(shape)]
    free = [
        FreeDim(value.name, position, _symbol(value, position) if position >= 0 else "")
        for value in inputs
        for position in _free(shapes[value.name])
    ]
    if free:
        raise StillFree(name, inputs, shapes, free)
    if all(_shape(value) == shapes[value.name] for value in inputs):
        batches = {extent for shape in shapes.values() for extent in (shape or [])[:1]}
        if wanted.batch not in (None, *batches) and batches and not wanted.several:
            fixed = " and ".join(map(str, sorted(extent for extent in batches if extent is not None)))
            raise InvalidModel(
                f"{name}: the batch of its inputs is fixed at {fixed}, {wanted.batch} is asked for",
                hint="Export the model with a free batch.",
            )
        return model, ()
    return _with_shapes(model, {key: tuple(e for e in s or () if e is not None) for key, s in shapes.items()}), (
        *notes,
    )


class StillFree(Exception):
    """Dimensions of inputs are free, and nobody said what they are to be.

    Attributes:
        message: which.
        free: the dimensions.
        known: shape of every input, None where it is free; None for an input of unknown rank.
    """

    def __init__(
        self, name: str, inputs: Iterable[Any], known: Mapping[str, list[int | None] | None], free: list[FreeDim]
    ) -> None:
        listed = "; ".join(
            f"{value.name}: {_shown(value)}" for value in inputs if any(dim.input == value.name for dim in free)
        )
        self.message = f"{name}: dimensions of its inputs are free: {listed}"
        super().__init__(self.message)
        self.name = name
        self.free = free
        self.known = known
        self.symbols = {(v.name, i): _symbol(v, i) for v in inputs for i in range(len(v.type.tensor_type.shape.dim))}

    def shapes(self, size: Mapping[tuple[str, int], int]) -> dict[str, Shape]:
        """The shapes of the inputs that have free dimensions, with a number for each of these."""
        named = dict.fromkeys(dim.input for dim in self.free if self.known[dim.input] is not None)
        return {
            name: tuple(size[name, i] if e is None else e for i, e in enumerate(self.known[name] or ()))
            for name in named
        }

    @staticmethod
    def command(shapes: Mapping[str, Shape]) -> str:
        """What to add to the command."""
        if not shapes:
            return "Say what they are: --shape INPUT=1x3x224x224 for each, or --dim NAME=224."
        options = " ".join(
            f"--shape {shlex.quote(f'{name}=' + 'x'.join(map(str, shape)))}" for name, shape in shapes.items()
        )
        return f"Say what they are; this would run: {options}"


def parse_shape(text: str) -> tuple[str, Shape]:
    """`x=1x3x224x224` as a name and a shape; `x=scalar` has none.

    Raises:
        UsageError: it is none.
    """
    name, mark, extents = text.rpartition("=")
    parts = [] if extents == "scalar" else extents.split("x")
    if not (mark and name) or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise UsageError(
            f"a shape is INPUT=1x3x224x224, got {text!r}", hint="The name of the input, then numbers with x between."
        )
    return name, tuple(map(int, parts))


def parse_dim(text: str) -> tuple[str, int]:
    """`N=8` as a symbol and a number.

    Raises:
        UsageError: it is none.
    """
    name, mark, extent = text.rpartition("=")
    if not (mark and name) or not (extent.isascii() and extent.isdigit() and len(extent) <= 10) or int(extent) < 1:
        raise UsageError(f"a dimension is NAME=8, got {text!r}", hint="Its name in the file, then a number from 1.")
    return name, int(extent)


def names_of(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """Names of the inputs, and of their free dimensions."""
    inputs = _network_inputs(model)
    symbols = {
        _symbol(value, i): None for value in inputs for i, extent in enumerate(_shape(value) or ()) if extent is None
    }
    return [value.name for value in inputs], [symbol for symbol in symbols if symbol]


def _free(shape: list[int | None] | None) -> list[int]:
    """Positions of free dimensions; -1 if not even their number is known."""
    return [-1] if shape is None else [i for i, extent in enumerate(shape) if extent is None]


def _network_inputs(model: Any) -> list[Any]:
    weights = {weight.name for weight in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _shape(value: Any) -> list[int | None] | None:
    """Extents, None where one is free; None if not even their number is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim]


def _symbol(value: Any, position: int) -> str:
    symbol = str(value.type.tensor_type.shape.dim[position].dim_param)
    return "" if symbol == "?" else symbol  # so some exporters write one without a name


def _shown(value: Any) -> str:
    shape = _shape(value)
    if shape is None:
        return "any shape"
    extents = (str(e) if e is not None else _symbol(value, i) or "?" for i, e in enumerate(shape))
    return "[" + ", ".join(extents) + "]"


def _asked(value: Any, wanted: Wanted, symbols: dict[str, int], name: str) -> list[int | None] | None:
    """The shape of an input as far as it is known; symbols that it fixes are added."""
    shape = _shape(value)
    asked = wanted.shapes.get(value.name)
    if wanted.several and shape is not None and None not in shape:
        asked = None
    if asked is not None:
        if shape is not None and (
            len(shape) != len(asked) or any(e is not None and e != a for e, a in zip(shape, asked, strict=True))
        ):
            raise InvalidModel(
                f"{name}: input {value.name!r} has the shape {_shown(value)}, "
                f"{'x'.join(map(str, asked)) or 'scalar'} is asked for",
                hint="Give a number for each free dimension, and the others as they are.",
            )
        for position, extent in enumerate(asked):
            symbol = "" if shape is None else _symbol(value, position)
            if shape is None or shape[position] is not None or not symbol:
                continue
            if symbols.setdefault(symbol, extent) != extent:
                raise InvalidModel(
                    f"{name}: dimension {symbol!r} is to be {symbols[symbol]} and {extent}",
                    hint="Give every dimension of that name the same number.",
                )
        return list(asked)
    if shape is None:
        return None
    return [
        symbols.get(_symbol(value, position)) if extent is None and _symbol(value, position) else extent
        for position, extent in enumerate(shape)
    ]


def _with_shapes(model: Any, shapes: Mapping[str, Shape]) -> Any:
    """A copy with these inputs."""
    copy = without_shapes(model)
    for value in copy.graph.input:
        if value.name in shapes:
            tensor = value.type.tensor_type
            tensor.ClearField("shape")
            tensor.shape.SetInParent()
            for extent in shapes[value.name]:
                tensor.shape.dim.add().dim_value = extent
    return copy


def without_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without shapes but those of inputs and weights: the others may be those of another batch, or wrong."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return copy
