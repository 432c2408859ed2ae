"""Operators that work element by element."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node, first, folded, numbers, same
from profiler.runtimes._torch.tensors import element_type

#: The constants of self-normalising networks, as ONNX writes them in fp32.
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _pow(node: Node) -> Call:
    base, power = node.tensor(0), node.tensor(1)
    if base.is_floating_point() and node.constant[1] and power.dim() == 0:
        exponent = power.item()
        return lambda data, _: torch.pow(data, exponent)
    return lambda data, power: torch.pow(data, power).to(data.dtype)


def _clip(node: Node) -> Call:
    low, high = node.scalar(1, "min"), node.scalar(2, "max")
    return first if low is None and high is None else lambda data, *_: torch.clamp(data, low, high)


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


def _selu(node: Node) -> Call:
    alpha, gamma = node.get("alpha", _SELU_ALPHA), node.get("gamma", _SELU_GAMMA)
    if math.isclose(alpha, _SELU_ALPHA, rel_tol=1e-6) and math.isclose(gamma, _SELU_GAMMA, rel_tol=1e-6):
        return torch.selu
    return lambda data: functional.elu(data, alpha) * gamma


def _swish(node: Node) -> Call:
    alpha = node.get("alpha", 1.0)
    return functional.silu if alpha == 1.0 else lambda data: data * torch.sigmoid(data * alpha)


def _shrink(node: Node) -> Call:
    bias, bound = node.get("bias", 0.0), node.get("lambd", 0.5)
    if not bias:
        return partial(functional.hardshrink, lambd=bound)
    if bias == bound:
        return partial(functional.softshrink, lambd=bound)

    def call(data: Tensor) -> Tensor:
        zero = torch.zeros_like(data)
        return torch.where(data < -bound, data + bias, torch.where(data > bound, data - bias, zero))

    return call


def _is_inf(node: Node) -> Call:
    negative, positive = bool(node.get("detect_negative", 1)), bool(node.get("detect_positive", 1))
    if negative and positive:
        return torch.isinf
    if negative or positive:
        return torch.isneginf if negative else torch.isposinf
    return partial(torch.zeros_like, dtype=torch.bool)


def _div(node: Node) -> Call:
    return partial(torch.div, rounding_mode=None if node.tensor(0).is_floating_point() else "trunc")


def _mod(node: Node) -> Call:
    return torch.fmod if node.get("fmod", 0) else torch.remainder


def _bit_shift(node: Node) -> Call:
    left = node.get("direction") == "LEFT"
    return torch.bitwise_left_shift if left else torch.bitwise_right_shift


def _mean(*tensors: Tensor) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total / len(tensors)


def _cast(node: Node) -> Call:
    target = element_type(node.get("to"))
    return lambda data: data.to(target)


def _cast_like(_: Node) -> Call:
    return Tensor.type_as


def _dropout(node: Node) -> Call:
    """Nothing is dropped in inference; the mask, where it is read, keeps all."""
    if node.scalar(2, default=False) and node.scalar(1, default=0.5):
        raise NotImplementedError("training_mode, which draws at random")
    if node.wanted == 1:
        return first
    return lambda data, *_: (data, torch.ones_like(data, dtype=torch.bool))


_FUNCTIONS: dict[str, Call] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Add": torch.add, "And": torch.logical_and,
    "Asin": torch.asin, "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh,
    "BitwiseAnd": torch.bitwise_and, "BitwiseNot": torch.bitwise_not, "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor, "Ceil": torch.ceil, "Cos": torch.cos, "Cosh": torch.cosh, "Equal": torch.eq,
    "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor, "Greater": torch.gt, "GreaterOrEqual": torch.ge,
    "HardSwish": functional.hardswish, "Identity": first, "IsNaN": torch.isnan, "Less": torch.lt,
    "LessOrEqual": torch.le, "Log": torch.log, "Mean": _mean, "Mish": functional.mish, "Mul": torch.mul,
    "Neg": torch.neg, "Not": torch.logical_not, "Or": torch.logical_or, "Reciprocal": torch.reciprocal,
    "Relu": torch.relu, "Round": torch.round, "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin,
    "Sinh": torch.sinh, "Softplus": functional.softplus, "Softsign": functional.softsign, "Sqrt": torch.sqrt,
    "Sub": torch.sub, "Tan": torch.tan, "Tanh": torch.tanh, "Where": torch.where, "Xor": torch.logical_xor,
}  # fmt: skip

BUILDERS: dict[str, Builder] = {
    **{name: same(function) for name, function in _FUNCTIONS.items()},
    "BitShift": _bit_shift,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": numbers(functional.celu, alpha=("alpha", 1.0)),
    "Clip": _clip,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": numbers(functional.elu, alpha=("alpha", 1.0)),
    "Gelu": numbers(functional.gelu, approximate=("approximate", "none")),
    "HardSigmoid": _hard_sigmoid,
    "IsInf": _is_inf,
    "LeakyRelu": numbers(functional.leaky_relu, negative_slope=("alpha", 0.01)),
    "Max": folded(torch.maximum),
    "Min": folded(torch.minimum),
    "Mod": _mod,
    "PRelu": _prelu,
    "Pow": _pow,
    "Selu": _selu,
    "Shrink": _shrink,
    "Sum": folded(torch.add),
    "Swish": _swish,
    "ThresholdedRelu": lambda node: partial(functional.threshold, threshold=node.get("alpha", 1.0), value=0.0),
}
