"""ONNX operators as torch functions: `BUILDERS` turns a node into a callable on its input tensors.

A node is built once, against the tensors that it will see in every run: shapes are fixed, so target shapes, paddings
and whatever else follows from them are worked out here and not while the model is timed. The callables keep none of
those tensors. A builder raises `NotImplementedError` where torch has no function for what the node asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from operator import methodcaller
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes import _torch_spatial as spatial

Call = Callable[..., Any]

#: Torch types by ONNX element type.
DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64,
}  # fmt: skip

#: Operators whose callable returns all outputs where there are several; the others return the first alone.
SEVERAL_OUTPUTS = frozenset({"Split"})


@dataclass(frozen=True)
class Node:
    """A node and the tensors that it reads.

    Attributes:
        op_type: its operator, of ONNX's own set.
        attributes: by name; tensors are torch's, text is `str`.
        inputs: in order; None where an optional input is left out.
        constant: for each input, whether it is the same whatever the model is given.
        outputs: number of its outputs.
        opset: version of the operator set.
    """

    op_type: str
    attributes: Mapping[str, Any]
    inputs: tuple[Tensor | None, ...]
    constant: tuple[bool, ...]
    outputs: int
    opset: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first input."""
        return tuple(self.tensor(0).shape)

    @property
    def rank(self) -> int:
        """Number of axes of the first input."""
        return self.tensor(0).dim()

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return self.attributes.get(name, default)

    def has(self, position: int) -> bool:
        """Whether an input is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def tensor(self, position: int) -> Tensor:
        """An input that the operator cannot do without."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            raise ValueError(f"input {position} is left out")
        return tensor

    def integers(self, position: int, name: str = "") -> list[int]:
        """The integers of an attribute, or of the input that replaced it; empty if there is neither."""
        if name in self.attributes:
            return list(self.attributes[name])
        return [int(value) for value in self.tensor(position).flatten().tolist()] if self.has(position) else []

    def scalar(self, position: int, name: str = "", default: Any = None) -> Any:
        """The number of an attribute, or of the input that replaced it, or `default`."""
        if name in self.attributes:
            return self.attributes[name]
        return self.tensor(position).item() if self.has(position) else default


Builder = Callable[[Node], Call]


def _first(data: Tensor, *_: Any) -> Tensor:
    return data


def _same(function: Call) -> Builder:
    """An operator without attributes."""
    return lambda _: function


def _folded(function: Call) -> Builder:
    """An operator on any number of inputs, from a function of two."""
    return lambda node: function if len(node.inputs) == 2 else lambda *tensors: reduce(function, tensors)


def _pow(node: Node) -> Call:
    base, power = node.tensor(0), node.tensor(1)
    if base.is_floating_point() and node.constant[1] and power.dim() == 0:
        exponent = power.item()
        return lambda data, _: torch.pow(data, exponent)
    return lambda data, power: torch.pow(data, power).to(data.dtype)


def _clip(node: Node) -> Call:
    low, high = node.scalar(1, "min"), node.scalar(2, "max")
    return _first if low is None and high is None else lambda data, *_: torch.clamp(data, low, high)


def _hard_sigmoid(node: Node) -> Call:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return functional.hardsigmoid
    return lambda data: (data * alpha + beta).clamp(0.0, 1.0)


def _prelu(node: Node) -> Call:
    slope = tuple(node.tensor(1).shape)
    per_channel = (math.prod(slope), *(1,) * (node.rank - 2))
    if math.prod(slope) == 1 or slope in (per_channel, (1, *per_channel)):
        return lambda data, slope: torch.prelu(data, slope.flatten())
    return lambda data, slope: torch.where(data < 0, data * slope, data)


def _softmax(function: Call) -> Builder:
    def build(node: Node) -> Call:
        if node.opset >= 13:
            return partial(function, dim=node.get("axis", -1))
        shape, axis = node.shape, node.get("axis", 1)  # older sets: over everything from the axis on
        return lambda data: function(data.flatten(axis), dim=-1).reshape(shape)

    return build


def _reduction(function: Call) -> Builder:
    def build(node: Node) -> Call:
        axes, keep = node.integers(1, "axes"), bool(node.get("keepdims", 1))
        if not axes and node.get("noop_with_empty_axes", 0):
            return _first
        axes = axes or list(range(node.rank))
        typed = partial(function, dtype=node.tensor(0).dtype) if function is torch.sum else function
        return lambda data, *_: typed(data, dim=axes, keepdim=keep)

    return build


def _gemm(node: Node) -> Call:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    turn_left, turn_right = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    linear_bias = not node.has(2) or node.tensor(2).dim() == 1
    if turn_right and not turn_left and alpha == beta == 1.0 and linear_bias:
        return functional.linear

    def call(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        left, right = left.t() if turn_left else left, right.t() if turn_right else right
        return torch.mm(left, right) * alpha if bias is None else torch.addmm(bias, left, right, beta=beta, alpha=alpha)

    return call


def _batch_normalization(node: Node) -> Call:
    if node.get("training_mode", 0):
        raise NotImplementedError("training_mode 1")
    epsilon = node.get("epsilon", 1e-5)
    return lambda data, scale, bias, mean, spread: functional.batch_norm(data, mean, spread, scale, bias, eps=epsilon)


def _layer_normalization(node: Node) -> Call:
    shape, epsilon = node.shape[node.get("axis", -1) :], node.get("epsilon", 1e-5)
    return lambda data, scale, bias=None: functional.layer_norm(data, shape, scale, bias, epsilon)


def _instance_normalization(node: Node) -> Call:
    epsilon = node.get("epsilon", 1e-5)
    return lambda data, scale, bias: functional.instance_norm(data, weight=scale, bias=bias, eps=epsilon)


def _group_normalization(node: Node) -> Call:
    groups, epsilon = node.get("num_groups"), node.get("epsilon", 1e-5)
    repeats = node.shape[1] // node.tensor(1).numel()  # above 1 before operator set 21: one scale for each group

    def call(data: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if repeats > 1:
            scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
        return functional.group_norm(data, groups, scale, bias, epsilon)

    return call


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


def _concat(node: Node) -> Call:
    axis = node.get("axis")
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: Node) -> Call:
    if node.outputs == 1:
        return _first
    axis = node.get("axis", 0)
    parts = node.integers(1, "split") or math.ceil(node.shape[axis] / node.outputs)
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
            backward.append((axis, torch.tensor(range(*slice(start, end, step).indices(node.shape[axis])))))
    forward = tuple(index)
    return lambda data, *_: reduce(lambda part, pick: part.index_select(*pick), backward, data[forward])


def _gather(node: Node) -> Call:
    axis, indices = node.get("axis", 0) % node.rank, node.tensor(1)
    extent, shape = node.shape[axis], (*node.shape[:axis], *indices.shape, *node.shape[axis + 1 :])

    def flat(indices: Tensor) -> Tensor:
        return torch.where(indices < 0, indices + extent, indices).flatten()

    if node.constant[1]:
        positions = flat(indices)
        return lambda data, _: data.index_select(axis, positions).reshape(shape)
    return lambda data, indices: data.index_select(axis, flat(indices)).reshape(shape)


def _resize(node: Node) -> Call:
    at = 1 if node.opset < 11 else 2
    scales = node.tensor(at).tolist() if node.has(at) else []
    usual = {} if node.opset >= 11 else {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return spatial.resize({**usual, **node.attributes}, node.shape, scales, node.integers(3))


def _constant(node: Node) -> Call:
    (name, value), *_ = node.attributes.items()
    if not isinstance(value, Tensor):
        value = torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64)
    return lambda: value


def _shape(node: Node) -> Call:
    part = slice(node.get("start", 0), node.get("end"))
    return lambda data: torch.tensor(data.shape[part], dtype=torch.int64)


def _constant_of_shape(node: Node) -> Call:
    shape, value = node.integers(0), node.get("value", torch.zeros(1))
    return lambda _: torch.full(shape, value.item(), dtype=value.dtype)


_FUNCTIONS: dict[str, Call] = {
    "Abs": torch.abs, "Add": torch.add, "CastLike": Tensor.type_as, "Dropout": _first, "Equal": torch.eq,
    "Erf": torch.erf, "Exp": torch.exp, "HardSwish": functional.hardswish, "Identity": _first, "Log": torch.log,
    "MatMul": torch.matmul, "Mul": torch.mul, "Neg": torch.neg, "Reciprocal": torch.reciprocal, "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Softplus": functional.softplus, "Sqrt": torch.sqrt, "Sub": torch.sub, "Tanh": torch.tanh, "Where": torch.where,
}  # fmt: skip

#: What makes the callable of a node, by operator.
BUILDERS: dict[str, Builder] = {
    **{name: _same(function) for name, function in _FUNCTIONS.items()},
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshape),
    "AveragePool": lambda node: spatial.average_pool(node.attributes, node.shape),
    "BatchNormalization": _batch_normalization,
    "Cast": lambda node: methodcaller("to", DTYPES[node.get("to")]),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": lambda node: spatial.convolution(node.attributes, node.shape, node.tensor(1).shape),
    "ConvTranspose": lambda node: spatial.transposed_convolution(node.attributes, node.shape, node.tensor(1).shape),
    "DepthToSpace": lambda node: spatial.depth_to_space(node.attributes, node.shape),
    "Div": lambda node: partial(torch.div, rounding_mode=None if node.tensor(0).is_floating_point() else "trunc"),
    "Elu": lambda node: partial(functional.elu, alpha=node.get("alpha", 1.0)),
    "Expand": _expand,
    "Gather": _gather,
    "Gelu": lambda node: partial(functional.gelu, approximate=node.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda node: partial(torch.mean, dim=[*range(2, node.rank)], keepdim=True),
    "GlobalMaxPool": lambda node: partial(torch.amax, dim=[*range(2, node.rank)], keepdim=True),
    "GroupNormalization": _group_normalization,
    "HardSigmoid": _hard_sigmoid,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": lambda node: partial(functional.leaky_relu, negative_slope=node.get("alpha", 0.01)),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Max": _folded(torch.maximum),
    "MaxPool": lambda node: spatial.max_pool(node.attributes, node.shape),
    "Min": _folded(torch.minimum),
    "PRelu": _prelu,
    "Pad": lambda node: spatial.pad(
        node.get("mode", "constant"), node.rank, node.integers(1, "pads"), node.integers(3), node.scalar(2, "value", 0)
    ),
    "Pow": _pow,
    "Range": lambda _: lambda start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Split": _split,
    "Sum": _folded(torch.add),
    "Transpose": lambda node: methodcaller("permute", node.get("perm") or [*reversed(range(node.rank))]),
}
