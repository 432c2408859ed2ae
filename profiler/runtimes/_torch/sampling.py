"""Padding, and sampling at given places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node
from profiler.runtimes._torch.spatial import innermost_first, per_axis


def _pad(node: Node) -> Call:
    mode, pads, value = node.get("mode", "constant"), node.integers(1, "pads"), node.scalar(2, "value", 0)
    axes = node.integers(3) or range(node.rank)
    if len(pads) != 2 * len(axes):
        raise ValueError(f"{len(pads)} pads for {len(axes)} axes")
    begins, ends = [0] * node.rank, [0] * node.rank
    for i, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[i], pads[i + len(axes)]
    ordered = innermost_first(begins, ends)
    if mode == "constant":
        return lambda data, *_: functional.pad(data, ordered, value=value)
    spatial = ordered[: 2 * (node.rank - 2)]
    own = mode in ("reflect", "edge") and 3 <= node.rank <= 5 and not any(ordered[len(spatial) :])
    if own and node.tensor(0).is_floating_point() and _reflectable(mode, node.shape, begins, ends):
        name = {"reflect": "reflect", "edge": "replicate"}[mode]
        return lambda data, *_: functional.pad(data, spatial, name)
    return _pad_by_position(mode, node.shape, begins, ends)


def _reflectable(mode: str, shape: Sequence[int], begins: Sequence[int], ends: Sequence[int]) -> bool:
    """Whether torch reflects by so much: by less than the extent."""
    return mode != "reflect" or all(
        max(begin, end) < extent for extent, begin, end in zip(shape, begins, ends, strict=True)
    )


def _pad_by_position(mode: str, shape: Sequence[int], begins: Sequence[int], ends: Sequence[int]) -> Call:
    """Padding of whatever axes with elements of the data."""
    if mode not in ("reflect", "edge", "wrap") or min(*begins, *ends) < 0 or 0 in shape:
        raise NotImplementedError(f"mode {mode!r} with pads {[*begins, *ends]} of {list(shape)}")

    def source(i: int, extent: int) -> int:
        if mode == "edge":
            return min(max(i, 0), extent - 1)
        if mode == "wrap":
            return i % extent
        period = max(2 * (extent - 1), 1)
        return min(i % period, period - i % period) if extent > 1 else 0

    moved: list[tuple[int, Tensor]] = [
        (axis, torch.tensor([source(i, extent) for i in range(-begin, extent + end)]))
        for axis, (extent, begin, end) in enumerate(zip(shape, begins, ends, strict=True))
        if begin or end
    ]
    return lambda data, *_: reduce(lambda part, pick: part.index_select(*pick), moved, data)


def _grid_sample(node: Node) -> Call:
    names = {
        "linear": "bilinear",
        "bilinear": "bilinear",
        "nearest": "nearest",
        "cubic": "bicubic",
        "bicubic": "bicubic",
    }
    mode, pads = node.get("mode", "linear"), node.get("padding_mode", "zeros")
    if mode not in names or (names[mode] == "bicubic" and node.rank != 4) or node.rank not in (4, 5):
        raise NotImplementedError(f"mode {mode!r} over {node.rank} axes")
    name, corners = names[mode], bool(node.get("align_corners", 0))
    return lambda data, grid: functional.grid_sample(data, grid, name, pads, corners)


def _affine_grid(node: Node) -> Call:
    size, corners = node.integers(1), bool(node.get("align_corners", 0))
    return lambda theta, _: functional.affine_grid(theta, size, corners)


def _columns_to_image(node: Node) -> Call:
    image, block = node.integers(1), node.integers(2)
    pads, rank = per_axis(node.attributes, "pads", 2 * len(image), 0), len(image)
    if rank != 2 or pads[:rank] != pads[rank:]:
        raise NotImplementedError(f"pads {list(pads)} over {rank} axes")
    dilations, strides = per_axis(node.attributes, "dilations", rank), per_axis(node.attributes, "strides", rank)
    fold: Callable[..., Any] = functional.fold
    return lambda data, *_: fold(data, image, block, dilations, pads[:rank], strides)


BUILDERS: dict[str, Builder] = {
    "AffineGrid": _affine_grid,
    "Col2Im": _columns_to_image,
    "GridSample": _grid_sample,
    "Pad": _pad,
}
