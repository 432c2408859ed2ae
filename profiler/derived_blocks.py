"""Exports of blocks for other shapes, from one export: the exporter takes a second for a block, inference milliseconds.

A space with 25 resolutions has 25 shapes of each block. The export for one of them holds for another where torch runs
the same operators with the same arguments (`profiler.block_traces`), nothing in it speaks of a size of the one, and
ONNX's own inference tells all shapes of the other, down to the output that torch gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from profiler.block_traces import Trace

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


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

    if first.operators != other.operators or _speaks_of(export, _sizes(export, first)):
        return None
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
    return found if _told(found) and _shape(found.graph.output[0]) == other.output else None


def without_weights(export: onnx.ModelProto, names: Sequence[str]) -> None:
    """Empty the parameters, whose shapes are all that is read: they were nine tenths of the cache."""
    wanted = set(names)
    for weight in export.graph.initializer:
        if weight.name in wanted:
            for content in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                weight.ClearField(content)


def _sizes(export: onnx.ModelProto, trace: Trace) -> set[int]:
    """Numbers that may stand for a size of the input or of the output beyond the channels: sides, and their product."""
    weights = {weight.name for weight in export.graph.initializer}
    found: set[int] = set()
    for shape in (*(_shape(value) for value in export.graph.input if value.name not in weights), trace.output):
        area = 1
        for size in shape[2:]:
            found.add(size)
            area *= size
        found.add(area)
    return found - {0, 1}


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
