"""Exports of blocks for other shapes, from one export: the exporter takes a second for a block, inference milliseconds.

A space with 25 resolutions has 25 shapes of each block. The export for one of them holds for another where torch runs
the same operators with the same arguments (`profiler.block_traces`), nothing in it speaks of a size of the one, and
ONNX's own inference tells all shapes of the other, down to the output that torch gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from profiler.block_traces import Trace
from profiler.pieces import Shape

if TYPE_CHECKING:
    import onnx

#: Operators that may be told a size.
_SIZED = frozenset(
    {"AveragePool", "ConstantOfShape", "Expand", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Split", "Tile"}
)


def derive(export: onnx.ModelProto, first: Trace, shapes: Sequence[Shape], other: Trace) -> onnx.ModelProto | None:
    """The export for other shapes.

    Args:
        export: a block's, with the shapes of all values.
        first: what torch ran for the shapes of `export`.
        shapes: of the inputs that are wanted.
        other: what torch ran for them.

    Returns:
        None where it must be exported.
    """
    import onnx

    sizes = _sizes(export, first)
    if first.operators != other.operators or _speaks_of(export, sizes):
        return None
    if 1 in _sides(export, first) and any(node.op_type in _SIZED for node in export.graph.node):
        return None  # a 1 that is a size looks like any other 1
    found = onnx.ModelProto()
    found.CopyFrom(export)
    weights = {weight.name for weight in found.graph.initializer}
    for value in found.graph.value_info:
        if value.name not in weights:
            value.type.tensor_type.ClearField("shape")
    inputs = [value for value in found.graph.input if value.name not in weights]
    for value, shape in zip(inputs, shapes, strict=True):
        if len(value.type.tensor_type.shape.dim) != len(shape):
            return None
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = size
    for value in found.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        found = onnx.shape_inference.infer_shapes(found, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        return None
    same = _told(found) and _keeps_elements(found) and _shape(found.graph.output[0]) == other.output
    return found if same else None


def without_weights(export: onnx.ModelProto, names: Sequence[str]) -> None:
    """Empty the parameters, whose shapes are all that is read: they were nine tenths of the cache."""
    wanted = set(names)
    for weight in export.graph.initializer:
        if weight.name in wanted:
            for content in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                weight.ClearField(content)


def _sizes(export: onnx.ModelProto, trace: Trace) -> set[int]:
    """Numbers that may stand for a size of the input or of the output beyond the channels: sides, and their product."""
    found = _sides(export, trace)
    for shape in _shapes(export, trace):
        found.add(prod(shape[2:]))
    return found - {0, 1}


def _sides(export: onnx.ModelProto, trace: Trace) -> set[int]:
    return {size for shape in _shapes(export, trace) for size in shape[2:]}


def _shapes(export: onnx.ModelProto, trace: Trace) -> list[Shape]:
    """Of the inputs and the output."""
    weights = {weight.name for weight in export.graph.initializer}
    return [*(_shape(value) for value in export.graph.input if value.name not in weights), trace.output]


def _keeps_elements(export: onnx.ModelProto) -> bool:
    """Whether every `Reshape` gives as many elements as it is given: inference takes its target as it stands."""
    known = {value.name: _shape(value) for value in (*export.graph.value_info, *export.graph.input)}
    known |= {value.name: _shape(value) for value in export.graph.output}
    known |= {weight.name: tuple(weight.dims) for weight in export.graph.initializer}
    return all(
        node.input[0] in known and prod(known[node.input[0]]) == prod(known[node.output[0]])
        for node in export.graph.node
        if node.op_type == "Reshape"
    )


def _speaks_of(export: onnx.ModelProto, sizes: set[int]) -> bool:
    """Whether a whole number in it, of a constant or an attribute, may be one of the sizes."""
    from onnx import TensorProto, numpy_helper

    said: set[int] = set()
    constants = [weight for weight in export.graph.initializer if weight.data_type == TensorProto.INT64]
    for node in export.graph.node:
        for attribute in node.attribute:
            said.update((*attribute.ints, attribute.i))
            constants += [attribute.t] if attribute.HasField("t") and attribute.t.data_type == TensorProto.INT64 else []
    for constant in constants:
        if constant.raw_data or constant.int64_data:
            said.update(map(int, numpy_helper.to_array(constant).reshape(-1)))
    return bool(said & sizes)


def _told(export: onnx.ModelProto) -> bool:
    known = {value.name for value in (*export.graph.value_info, *export.graph.output) if 0 not in _shape(value)}
    return all(name in known for node in export.graph.node for name in node.output if name)


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
