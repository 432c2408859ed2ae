"""Convolutions, and where windows go.

Shapes are fixed, so paddings and positions are worked out once. torch pads convolutions and poolings alike on both
sides only; where ONNX asks for more, the data is padded before, or the result cropped behind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node

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

    return call if window.alike else padded(call, innermost_first(window.begins, window.ends))


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
        extra = tuple(e + (total == -1) for e, total in zip(extra, totals, strict=True))  # one row behind the windows
        if min(totals) < -1 or any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
            raise NotImplementedError(f"the output extents {wanted}, beyond its windows")
        totals = [max(total, 0) for total in totals]
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


def padded(call: Call, pads: list[int], value: float = 0.0) -> Call:
    """The call after padding its first argument."""
    return lambda data, *rest: call(functional.pad(data, pads, value=value), *rest)


def _convolution(node: Node) -> Call:
    return convolution(node.attributes, node.shape, node.tensor(1).shape)


def _transposed_convolution(node: Node) -> Call:
    return transposed_convolution(node.attributes, node.shape, node.tensor(1).shape)


BUILDERS: dict[str, Builder] = {"Conv": _convolution, "ConvTranspose": _transposed_convolution}
