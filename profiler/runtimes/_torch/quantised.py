"""Quantised operators: integers that stand for numbers.

What ONNX defines on integers is computed with floating-point functions where these are exact: sums of products of
8-bit integers fit the 24 bits of fp32 up to some hundreds of terms, and the 53 bits of fp64 always.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from profiler.runtimes._torch import spatial
from profiler.runtimes._torch.node import Builder, Call, Node
from profiler.runtimes._torch.tensors import element_type

_EXACT_FP32 = 1 << 24
#: Types that torch can quantise to.
_INTEGERS = (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.int32)


def _axis(node: Node) -> int:
    """The axis along which scales lie; it says nothing where there is but one."""
    return int(node.get("axis", 1)) % max(node.rank, 1)


def _aligned(node: Node, position: int, axis: int) -> Call:
    """What brings a scale or a zero point to the axes of the data."""
    data, factor = node.tensor(0), node.tensor(position)
    block, extent = node.get("block_size", 0), data.shape[axis] if data.dim() else 1
    if block:
        return lambda factor: factor.repeat_interleave(block, axis).narrow(axis, 0, extent)
    if factor.numel() == 1:
        return lambda factor: factor.reshape(())
    shape = [1] * data.dim()
    shape[axis] = factor.numel()
    return lambda factor: factor.reshape(shape)


def _prepared(node: Node, position: int, axis: int, dtype: torch.dtype) -> Call:
    """The same in the type that is computed in; done at load where the value is a constant."""
    aligned = _aligned(node, position, axis)
    if not node.constant[position]:
        return lambda factor: aligned(factor).to(dtype)
    value = aligned(node.tensor(position)).to(dtype)
    return lambda _: value


def _quantise(data: Tensor, scale: Tensor, zero: Tensor | float, target: torch.dtype) -> Tensor:
    bounds = torch.iinfo(target)
    return torch.clamp(torch.round(data / scale) + zero, bounds.min, bounds.max).to(target)


def _quantize_linear(node: Node) -> Call:
    axis, code = _axis(node), node.get("output_dtype", 0)
    target = node.tensor(2).dtype if node.has(2) else element_type(code) if code else torch.uint8
    if target not in _INTEGERS:
        raise NotImplementedError(f"the type {str(target).removeprefix('torch.')}")
    node.refuse(precision=0)
    working = torch.float64 if target is torch.int32 or node.tensor(0).dtype is torch.float64 else torch.float32
    scaling = _prepared(node, 1, axis, working)
    if not node.has(2):
        return lambda data, scale: _quantise(data.to(working), scaling(scale), 0.0, target)
    zeroing = _prepared(node, 2, axis, working)
    return lambda data, scale, zero: _quantise(data.to(working), scaling(scale), zeroing(zero), target)


def _dequantize_linear(node: Node) -> Call:
    axis, code = _axis(node), node.get("output_dtype", 0)
    if node.tensor(0).dtype not in _INTEGERS:
        raise NotImplementedError(f"the type {str(node.tensor(0).dtype).removeprefix('torch.')}")
    source = node.tensor(1).dtype
    target = element_type(code) if code else source
    working = torch.float64 if node.tensor(0).dtype is torch.int32 else torch.float32
    scaling = _prepared(node, 1, axis, torch.float32)
    if not node.has(2):
        return lambda data, scale: (data.to(torch.float32) * scaling(scale)).to(target)
    zeroing = _prepared(node, 2, axis, working)
    return lambda data, scale, zero: ((data.to(working) - zeroing(zero)).to(torch.float32) * scaling(scale)).to(target)


def _dynamic(node: Node) -> Call:
    """DynamicQuantizeLinear: to all of uint8, from the extent of the data with 0."""

    def call(data: Tensor) -> Any:
        low, high = data.amin().clamp(max=0.0), data.amax().clamp(min=0.0)
        scale = (high - low) / 255
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        zero = torch.clamp(torch.round(-low / scale), 0, 255)
        return _quantise(data, scale, zero, torch.uint8), scale, zero.to(torch.uint8)

    return call if node.wanted > 1 else lambda data: call(data)[0]


def _wide(terms: int) -> torch.dtype:
    """The narrowest type in which a sum of so many products of two differences of 8-bit integers is exact."""
    return torch.float32 if terms * 255 * 255 <= _EXACT_FP32 else torch.float64


def _centred(node: Node, position: int, zero: int, dtype: torch.dtype, axis: int) -> Call:
    """An input less its zero point, as numbers; `axis` is that of a zero point with several entries."""
    rank = node.tensor(position).dim()
    if not node.has(zero):
        return lambda data, _: data.to(dtype)
    entries = node.tensor(zero).numel()
    shape = [1] * rank
    if entries > 1:
        shape[axis] = entries
    shift = tuple(shape) if entries > 1 else ()
    if node.constant[position] and node.constant[zero]:
        value = node.tensor(position).to(dtype) - node.tensor(zero).to(dtype).reshape(shift)
        return lambda *_: value
    return lambda data, zero: data.to(dtype) - zero.to(dtype).reshape(shift)


def _small(node: Node, *positions: int) -> None:
    """Refuse operands of more than 8 bits."""
    for position in positions:
        if node.tensor(position).dtype not in (torch.uint8, torch.int8):
            raise NotImplementedError(f"the type {str(node.tensor(position).dtype).removeprefix('torch.')}")


def _rowwise(node: Node, zero: int, data: int) -> None:
    """Refuse a zero point with an entry for each row of matrices in a batch, whose place is not told by its shape."""
    if (
        node.has(zero)
        and node.tensor(zero).numel() > 1
        and (node.tensor(zero).dim() > 1 or node.tensor(data).dim() > 2)
    ):
        raise NotImplementedError("zero points of several axes")


def _matmul_integer(node: Node) -> Call:
    _small(node, 0, 1)
    _rowwise(node, 2, 0)
    _rowwise(node, 3, 1)
    dtype = _wide(node.shape[-1])
    left, right = _centred(node, 0, 2, dtype, -2), _centred(node, 1, 3, dtype, -1)

    def call(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
        return torch.matmul(left(a, a_zero), right(b, b_zero)).to(torch.int32)

    return call


def _convolution(node: Node, weight: int) -> Call:
    return spatial.convolution(node.attributes, node.shape, node.tensor(weight).shape)


def _terms(shape: Any) -> int:
    """Products in one sum of a convolution with weights of this shape."""
    return math.prod(shape[1:])


def _conv_integer(node: Node) -> Call:
    _small(node, 0, 1)
    dtype = _wide(_terms(node.tensor(1).shape))
    data, weights = _centred(node, 0, 2, dtype, 1), _centred(node, 1, 3, dtype, 0)
    convolve = _convolution(node, 1)

    def call(x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None) -> Any:
        return convolve(data(x, x_zero), weights(w, w_zero)).to(torch.int32)

    return call


def _requantised(sums: Tensor, ratio: Tensor, zero: Tensor) -> Tensor:
    bounds = torch.iinfo(zero.dtype)
    return torch.clamp(torch.round(sums.to(torch.float32) * ratio) + zero, bounds.min, bounds.max).to(zero.dtype)


def _qlinear_conv(node: Node) -> Call:
    _small(node, 0, 3, 7)
    dtype = _wide(_terms(node.tensor(3).shape))
    if node.has(8) and dtype is torch.float32:  # the bias has 32 bits
        dtype = torch.float64
    data, weights = _centred(node, 0, 2, dtype, 1), _centred(node, 3, 5, dtype, 0)
    convolve = _convolution(node, 3)
    channels = (-1, *(1,) * (node.rank - 2))

    def call(
        x: Tensor,
        x_scale: Tensor,
        x_zero: Tensor,
        w: Tensor,
        w_scale: Tensor,
        w_zero: Tensor,
        y_scale: Tensor,
        y_zero: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        sums = convolve(data(x, x_zero), weights(w, w_zero), None if bias is None else bias.to(dtype))
        ratio = x_scale * w_scale / y_scale
        return _requantised(sums, ratio.reshape(channels if ratio.numel() > 1 else ()), y_zero)

    return call


def _qlinear_matmul(node: Node) -> Call:
    _small(node, 0, 3, 7)
    _rowwise(node, 2, 0)
    _rowwise(node, 5, 3)
    if node.tensor(1).numel() > 1 or node.tensor(6).numel() > 1:
        raise NotImplementedError("scales of rows")
    dtype = _wide(node.shape[-1])
    left, right = _centred(node, 0, 2, dtype, -2), _centred(node, 3, 5, dtype, -1)

    def call(
        a: Tensor,
        a_scale: Tensor,
        a_zero: Tensor,
        b: Tensor,
        b_scale: Tensor,
        b_zero: Tensor,
        y_scale: Tensor,
        y_zero: Tensor,
    ) -> Tensor:
        sums = torch.matmul(left(a, a_zero), right(b, b_zero))
        ratio = a_scale.float() * b_scale.float() / y_scale.float()
        return _requantised(sums, ratio.reshape(-1) if ratio.numel() > 1 else ratio.reshape(()), y_zero)

    return call


BUILDERS: dict[str, Builder] = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantize_linear,
    "DynamicQuantizeLinear": _dynamic,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _quantize_linear,
}
