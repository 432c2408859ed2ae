"""Operators that take elements by their positions, or put them there."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from profiler.runtimes._torch.node import Builder, Call, Node

#: torch's names of ONNX's reductions.
_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _counted(indices: Tensor, extent: int) -> Tensor:
    """Positions from the front; torch's functions take no others, and none but 64 bits."""
    return torch.where(indices < 0, indices + extent, indices).to(torch.int64)


def _gather(node: Node) -> Call:
    axis, indices = node.axis(0), node.tensor(1)
    extent, shape = node.shape[axis], (*node.shape[:axis], *indices.shape, *node.shape[axis + 1 :])

    def flat(indices: Tensor) -> Tensor:
        return torch.where(indices < 0, indices + extent, indices).flatten()

    if node.constant[1]:
        positions = flat(indices)
        return lambda data, _: data.index_select(axis, positions).reshape(shape)
    return lambda data, indices: data.index_select(axis, flat(indices)).reshape(shape)


def _gather_elements(node: Node) -> Call:
    axis = node.axis(0)
    extent = node.shape[axis]
    if node.constant[1]:
        positions = _counted(node.tensor(1), extent)
        return lambda data, _: torch.gather(data, axis, positions)
    return lambda data, indices: torch.gather(data, axis, _counted(indices, extent))


def _gather_nd(node: Node) -> Call:
    together, indices = node.get("batch_dims", 0), node.tensor(1)
    batch = node.shape[:together]
    flat_data = (math.prod(batch), *node.shape[together:])
    depth = indices.shape[-1]
    flat_indices = (math.prod(batch), -1, depth)
    shape = (*indices.shape[:-1], *node.shape[together + depth :])
    rows = torch.arange(math.prod(batch)).unsqueeze(1)

    def call(data: Tensor, indices: Tensor) -> Tensor:
        picks = indices.reshape(flat_indices).unbind(-1)
        return data.reshape(flat_data)[(rows, *picks)].reshape(shape)

    if not together:
        return lambda data, indices: data[indices.unbind(-1)]
    return call


def _scatter_elements(node: Node) -> Call:
    axis, way = node.axis(0), node.get("reduction", "none")
    extent = node.shape[axis]
    if way == "none":
        return lambda data, indices, updates: torch.scatter(data, axis, _counted(indices, extent), updates)
    name = _reduction(way)
    return lambda data, indices, updates: torch.scatter_reduce(data, axis, _counted(indices, extent), updates, name)


def _scatter_nd(node: Node) -> Call:
    way, indices = node.get("reduction", "none"), node.tensor(1)
    if way in ("none", "add"):
        summed = way == "add"
        return lambda data, indices, updates: data.index_put(indices.unbind(-1), updates, accumulate=summed)
    name, depth, shape = _reduction(way), indices.shape[-1], node.shape
    rows, width = math.prod(shape[:depth]), math.prod(shape[depth:])
    steps = [math.prod(shape[i + 1 : depth]) for i in range(depth)]

    def call(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        picks = [
            _counted(pick, extent) * step
            for pick, extent, step in zip(indices.unbind(-1), shape[:depth], steps, strict=True)
        ]
        flat = torch.stack(picks).sum(0).reshape(-1, 1).expand(-1, width)
        return torch.scatter_reduce(data.reshape(rows, width), 0, flat, updates.reshape(-1, width), name).reshape(shape)

    return call


def _reduction(way: str) -> str:
    if way not in _REDUCTIONS:
        raise NotImplementedError(f"reduction {way!r}")
    return _REDUCTIONS[way]


def _non_zero(node: Node) -> Call:
    if not node.rank:
        raise NotImplementedError("data without axes")
    return lambda data: torch.nonzero(data).t()


def _one_hot(node: Node) -> Call:
    depth, values = int(node.tensor(1).item()), node.tensor(2)
    rank = node.rank + 1
    axis = node.get("axis", -1) % rank
    classes = torch.arange(depth).reshape(-1, *(1,) * (rank - axis - 1))

    def call(indices: Tensor, _: Tensor, values: Tensor) -> Tensor:
        off, on = values.unbind()
        positions = indices.to(torch.int64).unsqueeze(axis)
        return torch.where(torch.where(positions < 0, positions + depth, positions) == classes, on, off)

    if values.numel() != 2:
        raise ValueError(f"{values.numel()} values, not one for off and one for on")
    return call


def _compress(node: Node) -> Call:
    if "axis" not in node.attributes:
        return lambda data, condition: data.flatten().index_select(0, torch.nonzero(condition).flatten())
    axis = node.axis(0)
    return lambda data, condition: data.index_select(axis, torch.nonzero(condition).flatten())


def _reverse_sequence(node: Node) -> Call:
    batch, time = node.get("batch_axis", 1), node.get("time_axis", 0)
    if {batch, time} != {0, 1}:
        raise ValueError(f"batch_axis {batch} and time_axis {time}, not 0 and 1")
    extent, shape = node.shape[time], node.shape
    places = torch.arange(extent)

    def call(data: Tensor, lengths: Tensor) -> Any:
        inside = lengths.unsqueeze(1)
        positions = torch.where(places < inside, inside - 1 - places, places)
        positions = positions if batch == 0 else positions.t()
        return torch.gather(data, time, positions.reshape(shape[0], shape[1], *(1,) * (len(shape) - 2)).expand(shape))

    return call


BUILDERS: dict[str, Builder] = {
    "Compress": _compress,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _non_zero,
    "OneHot": _one_hot,
    "ReverseSequence": _reverse_sequence,
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
