"""ONNX operators over space as torch functions: convolutions, poolings, padding and resizing.

Shapes are fixed, so paddings and positions are worked out once. torch pads convolutions and poolings alike on both
sides only; where ONNX asks for more, the data is padded before, or the result cropped behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Call = Callable[..., Any]
Attributes = Mapping[str, Any]
Shape = Sequence[int]


class Window:
    """Where a window goes; each attribute has one entry for each spatial axis.

    Args:
        attributes: of the node.
        sizes: the data's spatial extents.
        kernel: the window's extents, without dilation.

    Attributes:
        kernel: as given.
        strides: steps of the window.
        dilations: distances of its elements.
        begins: elements to pad before the data.
        ends: elements to pad behind it, as the node says.
        covering: elements to pad behind it so that the last window is whole: other than `ends` where the number of
            windows is rounded up.
    """

    def __init__(self, attributes: Attributes, sizes: Shape, kernel: Shape) -> None:
        rank = len(kernel)
        self.kernel = tuple(kernel)
        self.strides = per_axis(attributes, "strides", rank)
        self.dilations = per_axis(attributes, "dilations", rank)
        self._reaches = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        axes = list(zip(sizes, self._reaches, self.strides, strict=True))
        automatic = attributes.get("auto_pad", "NOTSET")
        if automatic in ("SAME_UPPER", "SAME_LOWER"):
            totals = [max((math.ceil(size / stride) - 1) * stride + reach - size, 0) for size, reach, stride in axes]
            less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
            self.begins, self.ends = (less, more) if automatic == "SAME_UPPER" else (more, less)
        else:
            pads = per_axis({} if automatic == "VALID" else attributes, "pads", 2 * rank, 0)
            self.begins, self.ends = list(pads[:rank]), list(pads[rank:])
        self.covering = list(self.ends)
        if attributes.get("ceil_mode", 0):
            for i, (size, reach, stride) in enumerate(axes):
                behind = size + self.begins[i]
                last = math.ceil((behind + self.ends[i] - reach) / stride) * stride
                last -= stride if last >= behind else 0  # no window begins in the pads behind
                self.covering[i] = last + reach - behind

    @property
    def alike(self) -> bool:
        """Whether the pads are alike on both sides."""
        return self.begins == self.ends

    @property
    def poolable(self) -> bool:
        """Whether torch can pad a pooling by itself: alike, and at most by half a window."""
        return self.alike and all(2 * begin <= k for begin, k in zip(self.begins, self.kernel, strict=True))


def per_axis(attributes: Attributes, name: str, entries: int, default: int = 1) -> tuple[int, ...]:
    """The integers of an attribute, or `default` for each entry."""
    return tuple(attributes.get(name) or (default,) * entries)


def innermost_first(begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Pads in the order of `functional.pad`: begin and end of the last axis, then of the one before it."""
    return [pad for pair in zip(reversed(begins), reversed(ends), strict=True) for pad in pair]


def convolution(attributes: Attributes, data: Shape, weight: Shape) -> Call:
    """Conv over data and weights of these shapes."""
    window = Window(attributes, data[2:], weight[2:])
    rank = len(window.kernel)
    convolve: Call = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}[rank]
    strides, dilations, groups = window.strides, window.dilations, attributes.get("group", 1)
    padding = window.begins if window.alike else [0] * rank

    def call(data: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return convolve(data, weight, bias, strides, padding, dilations, groups)

    return call if window.alike else _padded(call, innermost_first(window.begins, window.ends))


def transposed_convolution(attributes: Attributes, data: Shape, weight: Shape) -> Call:
    """ConvTranspose over data and weights of these shapes.

    Raises:
        NotImplementedError: the output is to be larger than what the windows reach.
    """
    sizes, kernel = data[2:], weight[2:]
    rank = len(kernel)
    strides, dilations = per_axis(attributes, "strides", rank), per_axis(attributes, "dilations", rank)
    extra, groups = per_axis(attributes, "output_padding", rank, 0), attributes.get("group", 1)
    automatic = attributes.get("auto_pad", "NOTSET")
    same = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    wanted = attributes.get("output_shape") or (same if automatic.startswith("SAME") else None)
    if wanted:
        axes = zip(sizes, kernel, strides, dilations, extra, wanted[-rank:], strict=True)
        totals = [(size - 1) * s + (k - 1) * d + 1 + e - extent for size, k, s, d, e, extent in axes]
        if min(totals) < 0:
            raise NotImplementedError(f"the output extents {wanted}, beyond its windows")
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        begins, ends = (less, more) if automatic == "SAME_UPPER" else (more, less)
    else:
        pads = list(per_axis({} if automatic == "VALID" else attributes, "pads", 2 * rank, 0))
        begins, ends = pads[:rank], pads[rank:]
    transpose: Call = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}[rank]
    alike = begins == ends
    padding = begins if alike else [0] * rank
    crop = [-pad for pad in innermost_first(begins, ends)]

    def call(data: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return transpose(data, weight, bias, strides, padding, extra, groups, dilations)

    return call if alike else lambda *tensors: functional.pad(call(*tensors), crop)


def max_pool(attributes: Attributes, data: Shape) -> Call:
    """MaxPool over data of this shape, without indices."""
    window = Window(attributes, data[2:], attributes["kernel_shape"])
    kernel, strides, dilations = window.kernel, window.strides, window.dilations
    pool: Call = {1: torch.max_pool1d, 2: torch.max_pool2d, 3: torch.max_pool3d}[len(kernel)]
    if window.poolable:
        padding, round_up = window.begins, bool(attributes.get("ceil_mode", 0))
        return lambda data: pool(data, kernel, strides, padding, dilations, round_up)
    pads = innermost_first(window.begins, window.covering)
    return _padded(lambda data: pool(data, kernel, strides, 0, dilations), pads, -math.inf)


def average_pool(attributes: Attributes, data: Shape) -> Call:
    """AveragePool over data of this shape.

    Raises:
        NotImplementedError: it is dilated.
    """
    window = Window(attributes, data[2:], attributes["kernel_shape"])
    kernel, strides = window.kernel, window.strides
    if any(dilation != 1 for dilation in window.dilations):
        raise NotImplementedError(f"dilations {window.dilations}")
    pool: Call = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(kernel)]
    with_pads = bool(attributes.get("count_include_pad", 0))
    if window.poolable:
        padding, round_up = window.begins, bool(attributes.get("ceil_mode", 0))
        return lambda data: pool(data, kernel, strides, padding, round_up, with_pads)
    # Averages of whole windows over padded data, each scaled by the share of its elements that counts.
    inside = functional.pad(
        torch.ones(1, 1, *data[2:]), innermost_first(window.begins, window.ends), value=float(with_pads)
    )
    beyond = [covering - end for covering, end in zip(window.covering, window.ends, strict=True)]
    inside = functional.pad(inside, innermost_first([0] * len(beyond), beyond))
    scale = pool(inside, kernel, strides).reciprocal()
    return _padded(lambda data: pool(data, kernel, strides) * scale, innermost_first(window.begins, window.covering))


def pad(mode: str, rank: int, pads: Shape, axes: Shape, value: float) -> Call:
    """Pad of data with `rank` axes.

    Args:
        mode: `constant`, `reflect` or `edge`.
        rank: number of axes.
        pads: begins, then ends.
        axes: which axes the pads are for; all if empty.
        value: what to pad with in the mode `constant`.

    Raises:
        NotImplementedError: torch cannot reflect these axes, or does not know the mode.
    """
    begins, ends = [0] * rank, [0] * rank
    axes = axes or range(rank)
    for i, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[i], pads[i + len(axes)]
    ordered = innermost_first(begins, ends)
    if mode == "constant":
        return lambda data, *_: functional.pad(data, ordered, value=value)
    spatial = ordered[: 2 * (rank - 2)]
    if mode not in ("reflect", "edge") or not 3 <= rank <= 5 or any(ordered[len(spatial) :]):
        raise NotImplementedError(f"mode {mode!r} and pads {list(pads)} over {rank} axes")
    name = {"reflect": "reflect", "edge": "replicate"}[mode]
    return lambda data, *_: functional.pad(data, spatial, name)


def depth_to_space(attributes: Attributes, data: Shape) -> Call:
    """DepthToSpace over data of this shape."""
    block = attributes["blocksize"]
    if attributes.get("mode", "DCR") == "CRD":
        return lambda data: functional.pixel_shuffle(data, block)
    batch, channels, height, width = data
    kept = channels // block**2
    split, joined = (batch, block, block, kept, height, width), (batch, kept, height * block, width * block)
    return lambda data: data.reshape(split).permute(0, 3, 4, 1, 5, 2).reshape(joined)


def resize(attributes: Attributes, data: Shape, scales: Sequence[float], sizes: Shape) -> Call:
    """Resize of data of this shape, by scales or to sizes; the other is empty.

    Raises:
        NotImplementedError: cubic, antialiased, or coordinates that torch does not have.
    """
    for name, usual in {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}.items():
        if attributes.get(name, usual) != usual:
            raise NotImplementedError(f"{name} {attributes[name]!r}")
    rank = len(data)
    target, scale = list(data), [1.0] * rank
    for i, axis in enumerate(attributes.get("axes") or range(rank)):
        scale[axis] = scales[i] if scales else sizes[i] / data[axis]
        target[axis] = math.floor(data[axis] * scales[i]) if scales else sizes[i]
    mode, move = attributes.get("mode", "nearest"), attributes.get("coordinate_transformation_mode", "half_pixel")
    spatial = 3 <= rank <= 5 and target[:2] == list(data[:2])
    if mode == "nearest":
        picked = _nearest(attributes.get("nearest_mode", "round_prefer_floor"), move, data, target, scale)
        plain = [[i * old // new for i in range(new)] for old, new in zip(data, target, strict=True)]
        if spatial and picked == plain:
            return lambda data, *_: functional.interpolate(data, target[2:])
        moved = [(axis, torch.tensor(index)) for axis, index in enumerate(picked) if index != [*range(data[axis])]]
        return lambda data, *_: reduce(lambda part, pick: part.index_select(*pick), moved, data)
    corners = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}.get(move)
    if mode != "linear" or corners is None or not spatial:
        raise NotImplementedError(f"mode {mode!r} with {move!r} from {list(data)} to {target}")
    name = {3: "linear", 4: "bilinear", 5: "trilinear"}[rank]
    wanted: dict[str, Any] = {"scale_factor": scale[2:]} if scales and not corners else {"size": target[2:]}
    return lambda data, *_: functional.interpolate(data, mode=name, align_corners=corners, **wanted)


def _nearest(rounding: str, move: str, data: Shape, target: Shape, scale: Sequence[float]) -> list[list[int]]:
    """For each axis, the positions of the elements that nearest-neighbour resizing picks."""
    rounded: Callable[[float], int] = {
        "round_prefer_floor": lambda x: math.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: math.floor(x + 0.5),
        "floor": math.floor,
        "ceil": math.ceil,
    }[rounding]

    def position(i: int, old: int, new: int, ratio: float) -> float:
        if move == "asymmetric":
            return i / ratio
        if move == "align_corners":
            return i * (old - 1) / max(new - 1, 1)
        if move == "half_pixel" or (move == "pytorch_half_pixel" and new > 1):
            return (i + 0.5) / ratio - 0.5
        if move == "pytorch_half_pixel":
            return 0.0
        raise NotImplementedError(f"coordinate_transformation_mode {move!r}")

    return [
        [min(max(rounded(position(i, old, new, ratio)), 0), old - 1) for i in range(new)]
        for old, new, ratio in zip(data, target, scale, strict=True)
    ]


def _padded(call: Call, pads: list[int], value: float = 0.0) -> Call:
    """The call after padding its first argument."""
    return lambda data, *rest: call(functional.pad(data, pads, value=value), *rest)
