"""Operators that give data another shape, or speak of shapes."""

from __future__ import annotations

import math
from functools import partial, reduce

import numpy as np
import torch
from torch import Tensor

from profiler.runtimes._torch.node import Builder, Call, Node, first
from profiler.runtimes._torch.tensors import element_type


def _reshape(node: Node) -> Call:
    """Reshape, Flatten, Squeeze and Unsqueeze: all of them give the data another shape."""
    shape = list(node.shape)
    if node.op_type == "Reshape":
        asked, literal = node.integers(1, "shape"), bool(node.get("allowzero", 0))
        shape = [shape[i] if extent == 0 and not literal else extent for i, extent in enumerate(asked)]
    elif node.op_type == "Flatten":
        axis = node.get("axis", 1)
        shape = [math.prod(shape[:axis]), math.prod(shape[axis:])]
    elif node.op_type == "Squeeze":
        axes = [axis % node.rank for axis in node.integers(1, "axes")]
        shape = [extent for i, extent in enumerate(shape) if not (i in axes if axes else extent == 1)]
    else:
        axes = node.integers(1, "axes")
        for axis in sorted(axis % (node.rank + len(axes)) for axis in axes):
            shape.insert(axis, 1)
    return lambda data, *_: data.reshape(shape)


def _expand(node: Node) -> Call:
    shape = np.broadcast_shapes(node.shape, tuple(node.integers(1)))
    return lambda data, _: data.expand(shape)


def _tile(node: Node) -> Call:
    repeats = node.integers(1)
    return lambda data, _: data.repeat(repeats)


def _concat(node: Node) -> Call:
    axis = node.get("axis")
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: Node) -> Call:
    axis = node.get("axis", 0)
    if node.outputs == 1:
        return first
    parts = node.integers(1, "split") or math.ceil(node.shape[axis] / node.outputs)
    if node.wanted == 1:
        return lambda data, *_: torch.split(data, parts, axis)[0]
    return lambda data, *_: torch.split(data, parts, axis)


def _slice(node: Node) -> Call:
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    axes = node.integers(3, "axes") or list(range(len(starts)))
    steps = node.integers(4) or [1] * len(starts)
    index = [slice(None)] * node.rank
    backward: list[tuple[int, Tensor]] = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step > 0:
            index[axis] = slice(start, end, step)
        else:
            positions = [*range(*slice(start, end, step).indices(node.shape[axis]))]
            backward.append((axis, torch.tensor(positions, dtype=torch.int64)))
    forward = tuple(index)
    return lambda data, *_: reduce(lambda part, pick: part.index_select(*pick), backward, data[forward])


def _transpose(node: Node) -> Call:
    order = node.get("perm") or [*reversed(range(node.rank))]
    return lambda data: data.permute(order)


def _constant(node: Node) -> Call:
    (name, value), *_ = node.attributes.items()
    if name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        raise NotImplementedError(f"the attribute {name}")
    if not isinstance(value, Tensor):
        value = torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64)
    return lambda: value


def _shape(node: Node) -> Call:
    part = slice(node.get("start", 0), node.get("end"))
    return lambda data: torch.tensor(data.shape[part], dtype=torch.int64)


def _size(_: Node) -> Call:
    return lambda data: torch.tensor(data.numel(), dtype=torch.int64)


def _constant_of_shape(node: Node) -> Call:
    shape, value = node.integers(0), node.get("value", torch.zeros(1))
    return lambda _: torch.full(shape, value.item(), dtype=value.dtype)


def _range(_: Node) -> Call:
    return lambda start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def _eye_like(node: Node) -> Call:
    code, diagonal = node.get("dtype"), node.get("k", 0)
    dtype, shape = node.tensor(0).dtype if code is None else element_type(code), node.shape
    return lambda _: torch.ones(shape, dtype=dtype).triu(diagonal).tril(diagonal)


def _triangle(node: Node) -> Call:
    # Diagonals beyond the matrix are all alike; torch's own take 64 bits, and overflow in sums with the shape.
    bound = sum(node.shape[-2:])
    diagonal = min(max(int(node.scalar(1, default=0)), -bound), bound)
    function = torch.triu if node.get("upper", 1) else torch.tril
    return lambda data, *_: function(data, diagonal)


def _depth_to_space(node: Node) -> Call:
    block = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return partial(torch.pixel_shuffle, upscale_factor=block)
    batch, channels, height, width = node.shape
    kept = channels // block**2
    split, joined = (batch, block, block, kept, height, width), (batch, kept, height * block, width * block)
    return lambda data: data.reshape(split).permute(0, 3, 4, 1, 5, 2).reshape(joined)


def _space_to_depth(node: Node) -> Call:
    block = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return partial(torch.pixel_unshuffle, downscale_factor=block)
    batch, channels, height, width = node.shape
    down, across = height // block, width // block
    split, joined = (batch, channels, down, block, across, block), (batch, channels * block**2, down, across)
    return lambda data: data.reshape(split).permute(0, 3, 5, 1, 2, 4).reshape(joined)


BUILDERS: dict[str, Builder] = {
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshape),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Range": _range,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _triangle,
}
