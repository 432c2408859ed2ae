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
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes import _torch_windows as windows

Call = Callable[..., Any]

#: Torch types by ONNX element type.
DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64,
}  # fmt: skip

#: Operators whose callable returns one tensor for each output; the others return their first output alone.
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


def _div(node: Node) -> Call:
    return torch.div if node.tensor(0).is_floating_point() else partial(torch.div, rounding_mode="trunc")


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


def _over_space(function: Call) -> Builder:
    """A reduction over all spatial axes."""
    return lambda node: partial(function, dim=list(range(2, node.rank)), keepdim=True)


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
    return lambda data, scale, bias, mean, variance: functional.batch_norm(
        data, mean, variance, scale, bias, eps=epsilon
    )


def _layer_normalization(node: Node) -> Call:
    shape, epsilon = node.shape[node.get("axis", -1) :], node.get("epsilon", 1e-5)
    return lambda data, scale, bias=None: functional.layer_norm(data, shape, scale, bias, epsilon)


def _instance_normalization(node: Node) -> Call:
    epsilon = node.get("epsilon", 1e-5)
    return lambda data, scale, bias: functional.instance_norm(data, weight=scale, bias=bias, eps=epsilon)


def _group_normalization(node: Node) -> Call:
    groups, epsilon = node.get("num_groups"), node.get("epsilon", 1e-5)
    repeats = node.shape[1] // node.tensor(1).numel()  # above 1 before operator set 21: one scale for each group
    if repeats == 1:
        return lambda data, scale, bias: functional.group_norm(data, groups, scale, bias, epsilon)
    return lambda data, scale, bias: functional.group_norm(
        data, groups, scale.repeat_interleave(repeats), bias.repeat_interleave(repeats), epsilon
    )


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
    shape = torch.broadcast_shapes(node.shape, tuple(node.integers(1)))
    return lambda data, _: data.expand(shape)


def _transpose(node: Node) -> Call:
    order = node.get("perm") or list(reversed(range(node.rank)))
    return lambda data: data.permute(order)


def _concat(node: Node) -> Call:
    axis = node.get("axis")
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: Node) -> Call:
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

    def call(data: Tensor, *_: Any) -> Tensor:
        part = data[forward]
        for axis, positions in backward:
            part = part.index_select(axis, positions)
        return part

    return call


def _gather(node: Node) -> Call:
    axis, indices = node.get("axis", 0) % node.rank, node.tensor(1)
    extent, shape = node.shape[axis], (*node.shape[:axis], *indices.shape, *node.shape[axis + 1 :])

    def flat(indices: Tensor) -> Tensor:
        return torch.where(indices < 0, indices + extent, indices).flatten()

    if node.constant[1]:
        positions = flat(indices)
        return lambda data, _: data.index_select(axis, positions).reshape(shape)
    return lambda data, indices: data.index_select(axis, flat(indices)).reshape(shape)


def _pad(node: Node) -> Call:
    pads, value = node.integers(1, "pads"), node.scalar(2, "value", 0.0)
    axes = node.integers(3) or list(range(node.rank))
    begins, ends = [0] * node.rank, [0] * node.rank
    for i, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[i], pads[i + len(axes)]
    ordered = windows.innermost_first(begins, ends)
    mode = node.get("mode", "constant")
    if mode == "constant":
        return lambda data, *_: functional.pad(data, ordered, value=value)
    spatial = 2 * (node.rank - 2)
    if mode not in ("reflect", "edge") or not 3 <= node.rank <= 5 or any(ordered[spatial:]):
        raise NotImplementedError(f"mode {mode!r} and pads {pads} over {node.rank} axes")
    name = {"reflect": "reflect", "edge": "replicate"}[mode]
    return lambda data, *_: functional.pad(data, ordered[:spatial], name)


def _resize(node: Node) -> Call:
    for name, usual in {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}.items():
        if node.get(name, usual) != usual:
            raise NotImplementedError(f"{name} {node.get(name)!r}")
    size, scale = list(node.shape), [1.0] * node.rank
    at = 1 if node.opset < 11 else 2
    scales = node.tensor(at).tolist() if node.has(at) else []
    sizes = node.integers(3)
    for i, axis in enumerate(node.get("axes") or range(node.rank)):
        scale[axis] = scales[i] if scales else sizes[i] / size[axis]
        size[axis] = math.floor(size[axis] * scales[i]) if scales else sizes[i]
    mode = node.get("mode", "nearest")
    move = node.get("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric")
    if mode == "nearest":
        return _resize_nearest(node, move, scale, size)
    aligned = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}.get(move)
    if mode != "linear" or aligned is None or not 3 <= node.rank <= 5 or tuple(size[:2]) != node.shape[:2]:
        raise NotImplementedError(f"mode {mode!r} with {move!r} to the shape {size}")
    name = {3: "linear", 4: "bilinear", 5: "trilinear"}[node.rank]
    target = {"scale_factor": scale[2:]} if scales and not aligned else {"size": size[2:]}
    return partial(functional.interpolate, mode=name, align_corners=aligned, **target)


def _resize_nearest(node: Node, move: str, scale: list[float], size: list[int]) -> Call:
    """By torch's own function where it picks the same elements, else by index along each axis."""
    rounding = node.get("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
    place = {
        "half_pixel": lambda i, s, new, old: (i + 0.5) / s - 0.5,
        "pytorch_half_pixel": lambda i, s, new, old: (i + 0.5) / s - 0.5 if new > 1 else 0.0,
        "asymmetric": lambda i, s, new, old: i / s,
        "align_corners": lambda i, s, new, old: i * (old - 1) / max(new - 1, 1),
    }.get(move)
    pick = {
        "round_prefer_floor": lambda x: math.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: math.floor(x + 0.5),
        "floor": math.floor,
        "ceil": math.ceil,
    }[rounding]
    if place is None:
        raise NotImplementedError(f"coordinate_transformation_mode {move!r}")
    picked = [
        [min(max(pick(place(i, s, new, old)), 0), old - 1) for i in range(new)]
        for s, new, old in zip(scale, size, node.shape, strict=True)
    ]
    natural = [[i * old // new for i in range(new)] for new, old in zip(size, node.shape, strict=True)]
    if picked == natural and 3 <= node.rank <= 5 and tuple(size[:2]) == node.shape[:2]:
        return partial(functional.interpolate, size=size[2:])
    chosen = [(axis, torch.tensor(index)) for axis, index in enumerate(picked) if index != list(range(len(index)))]
    return lambda data, *_: reduce(lambda part, pair: part.index_select(*pair), chosen, data)
