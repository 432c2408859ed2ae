"""Normalisations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node

_EPSILON = 1e-5


def _batch_normalization(node: Node) -> Call:
    node.refuse(training_mode=0, spatial=1)
    if node.wanted > 1:
        raise NotImplementedError("the statistics of training")
    epsilon = node.get("epsilon", _EPSILON)
    return lambda data, scale, bias, mean, spread: functional.batch_norm(data, mean, spread, scale, bias, eps=epsilon)


def _layer_normalization(node: Node) -> Call:
    shape, epsilon = node.shape[node.axis(-1) :], node.get("epsilon", _EPSILON)
    if node.wanted > 1:
        return lambda data, scale, bias=None: torch.native_layer_norm(
            data, shape, scale.expand(shape), None if bias is None else bias.expand(shape), epsilon
        )
    fitting = all(not node.has(i) or tuple(node.tensor(i).shape) == shape for i in (1, 2))
    if fitting:
        return lambda data, scale, bias=None: functional.layer_norm(data, shape, scale, bias, epsilon)

    def call(data: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        result = functional.layer_norm(data, shape, None, None, epsilon) * scale
        return result if bias is None else result + bias

    return call


def _rms_normalization(node: Node) -> Call:
    shape, epsilon = node.shape[node.axis(-1) :], node.get("epsilon", _EPSILON)
    if tuple(node.tensor(1).shape) == shape:
        return lambda data, scale: functional.rms_norm(data, shape, scale, epsilon)
    return lambda data, scale: functional.rms_norm(data, shape, None, epsilon) * scale


def _instance_normalization(node: Node) -> Call:
    epsilon = node.get("epsilon", _EPSILON)
    return lambda data, scale, bias: functional.instance_norm(data, weight=scale, bias=bias, eps=epsilon)


def _group_normalization(node: Node) -> Call:
    groups, epsilon = node.get("num_groups"), node.get("epsilon", _EPSILON)
    repeats = node.shape[1] // node.tensor(1).numel()  # above 1 before operator set 21: one scale for each group

    def call(data: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if repeats > 1:
            scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
        return functional.group_norm(data, groups, scale, bias, epsilon)

    return call


def _local_response(node: Node) -> Call:
    size, alpha, beta, bias = node.get("size"), node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    if size % 2:
        return lambda data: functional.local_response_norm(data, size, alpha, beta, bias)
    # An even window reaches one further to the front in torch and to the back in ONNX.
    return lambda data: functional.local_response_norm(data.flip(1), size, alpha, beta, bias).flip(1)


def _lp_normalization(node: Node) -> Call:
    axis, order = node.axis(-1), float(node.get("p", 2))
    return lambda data: functional.normalize(data, p=order, dim=axis)


def _mean_variance(node: Node) -> Call:
    axes = list(node.get("axes") or (0, 2, 3))

    def call(data: Tensor) -> Tensor:
        variance, mean = torch.var_mean(data, dim=axes, correction=0, keepdim=True)
        return (data - mean) / (variance.sqrt() + 1e-9)

    return call


BUILDERS: dict[str, Builder] = {
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LRN": _local_response,
    "LayerNormalization": _layer_normalization,
    "LpNormalization": _lp_normalization,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms_normalization,
}
