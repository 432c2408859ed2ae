"""Poolings."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node
from profiler.runtimes._torch.spatial import Window, innermost_first, padded


def _window(node: Node) -> Window:
    return Window(node.attributes, node.shape[2:], node.get("kernel_shape"))


def _undilated(window: Window) -> None:
    if any(dilation != 1 for dilation in window.dilations):
        raise NotImplementedError(f"dilations {list(window.dilations)}")


def _max_pool(node: Node) -> Call:
    window = _window(node)
    kernel, strides, dilations = window.kernel, window.strides, window.dilations
    if node.wanted > 1:
        return _max_pool_with_positions(node, window)
    pool: Call = {1: torch.max_pool1d, 2: torch.max_pool2d, 3: torch.max_pool3d}[len(kernel)]
    if window.poolable:
        padding, round_up = window.begins, bool(node.get("ceil_mode", 0))
        return lambda data: pool(data, kernel, strides, padding, dilations, round_up)
    pads = innermost_first(window.begins, window.covering)
    return padded(lambda data: pool(data, kernel, strides, 0, dilations), pads, _least(node.tensor(0).dtype))


def _least(dtype: torch.dtype) -> float:
    return -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _max_pool_with_positions(node: Node, window: Window) -> Call:
    """With the position of each largest element in all of the data: torch counts within a plane, pads included."""
    kernel, strides, dilations = window.kernel, window.strides, window.dilations
    pool: Any = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[len(kernel)]
    batch, channels, *sizes = node.shape
    plane = math.prod(sizes)
    offsets = (torch.arange(batch * channels) * plane).reshape(batch, channels, *(1,) * len(sizes))
    by_column = bool(node.get("storage_order", 0))
    own_pads = window.poolable and not node.get("ceil_mode", 0)
    pads, least = innermost_first(window.begins, window.covering), _least(node.tensor(0).dtype)
    begins = [0] * len(sizes) if own_pads else window.begins
    walked = [
        size + (0 if own_pads else begin + end)
        for size, begin, end in zip(sizes, window.begins, window.covering, strict=True)
    ]
    steps = [math.prod(sizes[:i]) if by_column else math.prod(sizes[i + 1 :]) for i in range(len(sizes))]

    def placed(positions: Tensor) -> Tensor:
        """Positions of walked planes as those of planes without pads, in the order that is asked for."""
        total = torch.zeros_like(positions)
        for extent, begin, step in reversed(list(zip(walked, begins, steps, strict=True))):
            total = total + (positions % extent - begin) * step
            positions = positions // extent
        return total

    def call(data: Tensor) -> tuple[Tensor, Tensor]:
        if own_pads:
            values, positions = pool(data, kernel, strides, window.begins, dilations, return_indices=True)
        else:
            data = functional.pad(data, pads, value=least)
            values, positions = pool(data, kernel, strides, 0, dilations, return_indices=True)
        positions = positions if own_pads and not by_column else placed(positions)
        return values, positions + offsets

    return call


def _average_pool(node: Node) -> Call:
    window = _window(node)
    _undilated(window)
    kernel, strides = window.kernel, window.strides
    pool: Call = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(kernel)]
    with_pads = bool(node.get("count_include_pad", 0))
    if window.poolable:
        padding, round_up = window.begins, bool(node.get("ceil_mode", 0))
        return lambda data: pool(data, kernel, strides, padding, round_up, with_pads)
    # Averages of whole windows over padded data, each scaled by the share of its elements that counts.
    inside = functional.pad(
        torch.ones(1, 1, *node.shape[2:], dtype=node.tensor(0).dtype),
        innermost_first(window.begins, window.ends),
        value=float(with_pads),
    )
    beyond = [covering - end for covering, end in zip(window.covering, window.ends, strict=True)]
    inside = functional.pad(inside, innermost_first([0] * len(beyond), beyond))
    scale = pool(inside, kernel, strides).reciprocal()
    return padded(lambda data: pool(data, kernel, strides) * scale, innermost_first(window.begins, window.covering))


def _lp_pool(node: Node) -> Call:
    """Averages of powers, times the number of elements in a window: pads add nothing."""
    window, order = _window(node), float(node.get("p", 2))
    _undilated(window)
    kernel, strides, count = window.kernel, window.strides, math.prod(window.kernel)
    pool: Call = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(kernel)]
    pads = innermost_first(window.begins, window.covering)

    def call(data: Tensor) -> Any:
        return (pool(data.abs().pow(order), kernel, strides) * count).pow(1 / order)

    return padded(call, pads) if any(pads) else call


def _global_lp_pool(node: Node) -> Call:
    axes, order = [*range(2, node.rank)], float(node.get("p", 2))
    return lambda data: torch.linalg.vector_norm(data, order, dim=axes, keepdim=True)


BUILDERS: dict[str, Builder] = {
    "AveragePool": _average_pool,
    "GlobalLpPool": _global_lp_pool,
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
}
