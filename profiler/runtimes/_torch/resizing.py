"""Resize and Upsample as torch functions.

`functional.interpolate` is called where it computes what the node asks for. For the rest every axis is resized by
itself: each element is a weighted sum of elements at positions that are worked out at load.

Source of the formulas: ONNX's operator specification and its reference, `onnx/reference/ops/op_resize.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node

Shape = Sequence[int]

#: An extent times a scale in fp32 that is nearer to a whole number than this is that number.
_WHOLE = 1e-3


@dataclass(frozen=True)
class Axis:
    """How one axis is resized.

    Attributes:
        old: its extent.
        new: the extent that it gets.
        scale: the ratio that the node gives, or new to old.
    """

    old: int
    new: int
    scale: float


@dataclass(frozen=True)
class Taps:
    """An axis of the result as weighted sums.

    Attributes:
        axis: which.
        positions: one tensor for each term: where its elements are taken from.
        weights: beside them, shaped to be multiplied with the data; None if the elements are taken as they are.
    """

    axis: int
    positions: tuple[Tensor, ...]
    weights: tuple[Tensor, ...] | None

    def __call__(self, data: Tensor) -> Tensor:
        """The data with this axis resized."""
        if self.weights is None:
            return data.index_select(self.axis, self.positions[0])
        terms = [
            data.index_select(self.axis, index) * weight
            for index, weight in zip(self.positions, self.weights, strict=True)
        ]
        return reduce(torch.add, terms)


def _resize(node: Node) -> Call:
    if node.opset < 11:
        scales = list(node.get("scales") or node.tensor(1).tolist())
        move, rounding, sizes = "asymmetric", "floor", list[int]()
    else:
        scales, sizes = node.tensor(2).tolist() if node.has(2) else [], node.integers(3)
        move = node.get("coordinate_transformation_mode", "half_pixel")
        rounding = node.get("nearest_mode", "round_prefer_floor")
    axes = _axes(node, scales, sizes)
    data, target = [axis.old for axis in axes], [axis.new for axis in axes]
    if 0 in data or 0 in target:
        raise NotImplementedError(f"from {data} to {target}")
    if move == "align_corners" and any(abs(axis.old * axis.scale - axis.new) > _WHOLE for axis in axes):
        raise NotImplementedError(f"{move} by scales that give no whole extents, of which there are two readings")
    mode = node.get("mode", "nearest")
    if mode == "nearest":
        return _nearest(axes, _rounding(rounding), move)
    if mode not in ("linear", "cubic"):
        raise NotImplementedError(f"mode {mode!r}")
    smooth = bool(node.get("antialias", 0)) and any(axis.new < axis.old for axis in axes)
    return _interpolated(node, mode, move, axes, scaled=not sizes, smooth=smooth) or _weighted(
        node, mode, move, axes, smooth=smooth
    )


def _axes(node: Node, scales: Sequence[float], sizes: Shape) -> list[Axis]:
    """How each axis is resized."""
    chosen = [axis % node.rank for axis in node.get("axes") or range(node.rank)]
    found = [Axis(extent, extent, 1.0) for extent in node.shape]
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if sizes and policy != "stretch":
        pick = {"not_larger": min, "not_smaller": max}[policy]
        ratio = pick(size / node.shape[axis] for size, axis in zip(sizes, chosen, strict=True))
        sizes = [math.floor(node.shape[axis] * ratio + 0.5) for axis in chosen]
        for size, axis in zip(sizes, chosen, strict=True):
            found[axis] = Axis(node.shape[axis], size, ratio)
        return found
    for i, axis in enumerate(chosen):
        old = node.shape[axis]
        found[axis] = (
            Axis(old, math.floor(old * scales[i]), scales[i]) if scales else Axis(old, sizes[i], sizes[i] / old)
        )
    return found


def _rounding(name: str) -> Callable[[float], int]:
    known: dict[str, Callable[[float], int]] = {
        "round_prefer_floor": lambda x: math.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: math.floor(x + 0.5),
        "floor": math.floor,
        "ceil": math.ceil,
    }
    if name not in known:
        raise NotImplementedError(f"nearest_mode {name!r}")
    return known[name]


def _position(i: int, axis: Axis, move: str) -> float:
    """Where the element `i` of the result lies in the data."""
    if move == "asymmetric":
        return i / axis.scale
    if move == "align_corners":
        return i * (axis.old - 1) / max(axis.new - 1, 1)
    if move == "pytorch_half_pixel" and axis.new == 1:
        return 0.0
    if move in ("half_pixel", "pytorch_half_pixel"):
        return (i + 0.5) / axis.scale - 0.5
    if move == "half_pixel_symmetric":
        offset = axis.old / 2 * (1 - axis.new / (axis.scale * axis.old))
        return offset + (i + 0.5) / axis.scale - 0.5
    raise NotImplementedError(f"coordinate_transformation_mode {move!r}")


def _spatial(axes: Sequence[Axis]) -> bool:
    """Whether all but the first two axes change, of data that torch's functions take."""
    return 3 <= len(axes) <= 5 and all(axis.old == axis.new for axis in axes[:2])


def _nearest(axes: Sequence[Axis], rounded: Callable[[float], int], move: str) -> Call:
    picked = [[min(max(rounded(_position(i, axis, move)), 0), axis.old - 1) for i in range(axis.new)] for axis in axes]
    plain = [[i * axis.old // axis.new for i in range(axis.new)] for axis in axes]
    target = [axis.new for axis in axes]
    if _spatial(axes) and picked == plain:
        return lambda data, *_: functional.interpolate(data, target[2:])
    moved = [
        Taps(axis, (torch.tensor(index),), None)
        for axis, index in enumerate(picked)
        if index != [*range(axes[axis].old)]
    ]
    return lambda data, *_: reduce(lambda part, taps: taps(part), moved, data)


def _interpolated(node: Node, mode: str, move: str, axes: Sequence[Axis], *, scaled: bool, smooth: bool) -> Call | None:
    """The call of torch's own function, or None where it computes something else."""
    corners = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}.get(move)
    single = move == "pytorch_half_pixel" and any(axis.new == 1 for axis in axes[2:])
    if corners is None or single or smooth or not _spatial(axes) or not node.tensor(0).is_floating_point():
        return None
    if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    if mode == "cubic" and (
        len(axes) != 4 or node.get("exclude_outside", 0) or node.get("cubic_coeff_a", -0.75) != -0.75
    ):
        return None
    name = "bicubic" if mode == "cubic" else {3: "linear", 4: "bilinear", 5: "trilinear"}[len(axes)]
    by_scale = scaled and not corners
    wanted: dict[str, Any] = (
        {"scale_factor": [axis.scale for axis in axes[2:]]} if by_scale else {"size": [axis.new for axis in axes[2:]]}
    )
    return lambda data, *_: functional.interpolate(data, mode=name, align_corners=corners, **wanted)


def _weighted(node: Node, mode: str, move: str, axes: Sequence[Axis], *, smooth: bool) -> Call:
    """Weighted sums along every axis that changes."""
    data = node.tensor(0)
    if not data.is_floating_point():
        raise NotImplementedError(f"mode {mode!r} of {str(data.dtype).removeprefix('torch.')}")
    curve = node.get("cubic_coeff_a", -0.75)
    kernel = _cubic(curve) if mode == "cubic" else _linear
    reach = 2 if mode == "cubic" else 1
    outside = mode == "cubic" and bool(node.get("exclude_outside", 0))
    moved = []
    for number, axis in enumerate(axes):
        if axis.old == axis.new and axis.scale == 1:
            continue
        rows = [_row(i, axis, move, kernel, reach, smooth=smooth, outside=outside) for i in range(axis.new)]
        shape = [-1] + [1] * (len(axes) - number - 1)
        positions = tuple(torch.tensor([row[0][k] for row in rows]) for k in range(len(rows[0][0])))
        weights = tuple(
            torch.tensor([row[1][k] for row in rows], dtype=data.dtype).reshape(shape) for k in range(len(rows[0][1]))
        )
        moved.append(Taps(number, positions, weights))
    return lambda data, *_: reduce(lambda part, taps: taps(part), moved, data)


def _row(
    i: int, axis: Axis, move: str, kernel: Callable[[float], float], reach: int, *, smooth: bool, outside: bool
) -> tuple[list[int], list[float]]:
    """Positions and weights of what the element `i` of the result is the sum of.

    Args:
        i: which element.
        axis: how its axis is resized.
        move: the coordinate transformation.
        kernel: weight by distance.
        reach: distance at which the kernel ends.
        smooth: the kernel is stretched where the axis shrinks.
        outside: what lies outside of the data does not count.
    """
    at = _position(i, axis, move)
    ratio = min(axis.scale, 1.0) if smooth else 1.0
    half = 1 - (math.floor(-reach / ratio) + 1)
    begin = math.ceil(at) - half
    taken = range(begin, begin + 2 * half)
    weights = [kernel(abs(position - at) * ratio) for position in taken]
    if outside:
        weights = [w if 0 <= p < axis.old else 0.0 for p, w in zip(taken, weights, strict=True)]
    total = sum(weights)
    return [min(max(position, 0), axis.old - 1) for position in taken], [weight / total for weight in weights]


def _linear(distance: float) -> float:
    return max(0.0, 1.0 - distance)


def _cubic(a: float) -> Callable[[float], float]:
    """Keys' cubic convolution kernel.

    Source: Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981.
    """

    def weight(x: float) -> float:
        if x <= 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0

    return weight


BUILDERS: dict[str, Builder] = {"Resize": _resize, "Upsample": _resize}
