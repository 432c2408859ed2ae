"""Operators that reduce, count or sum along axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node, first


def _reduction(function: Call, lone: Call = first, *, empty: bool = False) -> Builder:
    """A reduction over several axes at once.

    Args:
        function: takes `dim` and `keepdim`.
        lone: what is left of it where no axis is reduced.
        empty: whether it reduces axes without elements.
    """

    def build(node: Node) -> Call:
        axes, keep = node.integers(1, "axes"), bool(node.get("keepdims", 1))
        none_if_empty = bool(node.get("noop_with_empty_axes", 0))  # of no effect where there are axes
        if not axes and (none_if_empty or not node.rank):
            return lambda data, *_: lone(data)
        axes = axes or list(range(node.rank))
        if not empty and any(node.shape[axis] == 0 for axis in axes):
            raise NotImplementedError("axes without elements")
        if function is torch.mean and not node.tensor(0).is_floating_point():
            raise NotImplementedError("the mean of integers")
        typed = partial(function, dtype=node.tensor(0).dtype) if function is torch.sum else function
        return lambda data, *_: typed(data, dim=axes, keepdim=keep)

    return build


def _sum(data: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    return torch.sum(data, dim=dim, keepdim=keepdim, dtype=data.dtype)


def _absolute_sum(data: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    return _sum(data.abs(), dim, keepdim)


def _square_sum(data: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    return _sum(torch.square(data), dim, keepdim)


def _length(data: Tensor, dim: list[int], keepdim: bool) -> Any:
    if data.is_floating_point():
        return torch.linalg.vector_norm(data, dim=dim, keepdim=keepdim)
    return _square_sum(data, dim, keepdim).to(torch.float64).sqrt().to(data.dtype)


def _log_sum(data: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    return _sum(data, dim, keepdim).log()


def _log_sum_exp(data: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    return torch.logsumexp(data, dim=dim, keepdim=keepdim)


def _product(data: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    for axis in sorted((axis % data.dim() for axis in dim), reverse=True):
        data = torch.prod(data, dim=axis, keepdim=keepdim, dtype=data.dtype)
    return data


def _extreme(function: Call) -> Builder:
    def build(node: Node) -> Call:
        axis, keep, extent = node.axis(0), bool(node.get("keepdims", 1)), node.shape[node.axis(0)]
        if node.get("select_last_index", 0):
            return lambda data: extent - 1 - function(data.flip(axis), dim=axis, keepdim=keep)
        return partial(function, dim=axis, keepdim=keep)

    return build


def _running(function: Call, start: float) -> Builder:
    """CumSum and CumProd: `start` is what an exclusive one begins with."""

    def build(node: Node) -> Call:
        axis, extent, dtype = int(node.scalar(1)) % node.rank, 0, node.tensor(0).dtype
        extent = node.shape[axis]
        exclusive, backward = bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))
        ones = [*node.shape[:axis], 1, *node.shape[axis + 1 :]]

        def call(data: Tensor, _: Tensor) -> Tensor:
            if backward:
                data = data.flip(axis)
            if exclusive:
                data = torch.cat((data.new_full(ones, start), data.narrow(axis, 0, extent - 1)), axis)
            data = function(data, dim=axis, dtype=dtype)
            return data.flip(axis) if backward else data

        return call

    return build


def _softmax(function: Call) -> Builder:
    def build(node: Node) -> Call:
        if node.opset >= 13:
            return partial(function, dim=node.get("axis", -1))
        shape, axis = node.shape, node.axis(1)  # older sets: over everything from the axis on
        flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
        return lambda data: function(data.reshape(flat), dim=-1).reshape(shape)

    return build


def _hardmax(data: Tensor, dim: int) -> Tensor:
    hot = functional.one_hot(data.argmax(dim), data.shape[dim])
    return hot.movedim(-1, dim).to(data.dtype)


def _top_k(node: Node) -> Call:
    """The largest or smallest elements; of equal ones those that come first.

    torch's own `topk` promises no order of equal elements, so it is called where it gives the right ones for the data
    of every run, and a stable sort elsewhere.
    """
    axis, largest = node.axis(-1), bool(node.get("largest", 1))
    count = int(node.scalar(1, "k"))

    def sort(data: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        values, positions = torch.sort(data, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count), positions.narrow(axis, 0, count)

    def select(data: Tensor, *_: Any) -> Any:
        return torch.topk(data, count, dim=axis, largest=largest, sorted=True)

    data = node.tensor(0)
    call: Callable[..., Any] = select if torch.equal(select(data)[1], sort(data)[1]) else sort
    return call if node.wanted > 1 else lambda *tensors: call(*tensors)[0]


BUILDERS: dict[str, Builder] = {
    "ArgMax": _extreme(torch.argmax),
    "ArgMin": _extreme(torch.argmin),
    "CumProd": _running(torch.cumprod, 1),
    "CumSum": _running(torch.cumsum, 0),
    "GlobalAveragePool": lambda node: partial(torch.mean, dim=[*range(2, node.rank)], keepdim=True),
    "GlobalMaxPool": lambda node: partial(torch.amax, dim=[*range(2, node.rank)], keepdim=True),
    "Hardmax": _softmax(_hardmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "ReduceL1": _reduction(_absolute_sum, torch.abs, empty=True),
    "ReduceL2": _reduction(_length, torch.abs, empty=True),
    "ReduceLogSum": _reduction(_log_sum, torch.log, empty=True),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceProd": _reduction(_product, empty=True),
    "ReduceSum": _reduction(torch.sum, empty=True),
    "ReduceSumSquare": _reduction(_square_sum, torch.square, empty=True),
    "Softmax": _softmax(torch.softmax),
    "TopK": _top_k,
}
