"""Products of matrices and tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node, same


def _gemm(node: Node) -> Call:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    turn_left, turn_right = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    floating = node.tensor(0).is_floating_point()
    linear_bias = not node.has(2) or node.tensor(2).dim() == 1
    if turn_right and not turn_left and alpha == beta == 1.0 and linear_bias and floating:
        return functional.linear
    if not floating:  # integers are scaled by integers
        if alpha != int(alpha) or beta != int(beta):
            raise NotImplementedError(f"integers scaled by {alpha} and {beta}")
        alpha, beta = int(alpha), int(beta)

    def call(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        left, right = left.t() if turn_left else left, right.t() if turn_right else right
        return torch.mm(left, right) * alpha if bias is None else torch.addmm(bias, left, right, beta=beta, alpha=alpha)

    return call


def _einsum(node: Node) -> Call:
    equation = node.get("equation").replace(" ", "")
    return lambda *tensors: torch.einsum(equation, *tensors)


def _attention(node: Node) -> Call:
    """Attention over keys and values that come in whole: no cache, no cap on the scores."""
    node.refuse(softcap=0.0, qk_matmul_output_mode=0)
    if node.wanted > 1 or any(node.has(position) for position in range(4, len(node.inputs))):
        raise NotImplementedError("a cache of keys and values")
    causal, scale = bool(node.get("is_causal", 0)), node.get("scale")
    query, key = node.tensor(0), node.tensor(1)
    if causal and (node.has(3) or query.shape[-2] != key.shape[-2]):
        raise NotImplementedError("is_causal beside a mask, or with other lengths of queries and keys")
    heads = (node.get("q_num_heads"), node.get("kv_num_heads"))
    grouped = (query.shape[1] if query.dim() == 4 else heads[0]) != (key.shape[1] if key.dim() == 4 else heads[1])

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
        )

    if query.dim() == 4:
        return attend
    if None in heads:
        raise ValueError("no q_num_heads or kv_num_heads beside data with 3 axes")

    def split(data: Tensor, count: int) -> Tensor:
        return data.reshape(*data.shape[:2], count, -1).transpose(1, 2)

    def call(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        tensors = split(query, heads[0]), split(key, heads[1]), split(value, heads[1])
        return attend(*tensors, mask).transpose(1, 2).flatten(2)

    return call


BUILDERS: dict[str, Builder] = {
    "Attention": _attention,
    "Det": same(torch.linalg.det),
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": same(torch.matmul),
}
