"""Modules of attention, made only when torch is needed; sequences are `(1, length, width)`.

Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from nas.spaces._parts.slices import Groups

if TYPE_CHECKING:
    from torch import Tensor, nn


def attention(
    width: int, inner: int, heads: int, *, before: bool, bias: bool = True, causal: int | None = None
) -> nn.Module:
    """Self-attention with a residual.

    Args:
        width: of the sequence.
        inner: of queries, keys and values over all heads; a multiple of `heads`.
        heads: how many.
        before: whether the norm stands before the attention, instead of behind the sum.
        bias: whether linear layers and the norm have one.
        causal: the length, where no token reads those behind it.
    """
    core = _classes()["self"](width, inner, heads, bias, causal)
    block: nn.Module = _classes()["residual"](core, width, before, bias)
    return block


def cross_attention(width: int, memory: int, inner: int, heads: int) -> nn.Module:
    """Attention with a residual to one or more sequences of the width `memory`, one behind the other; norm at last."""
    core = _classes()["cross"](width, memory, inner, heads)
    block: nn.Module = _classes()["residual"](core, width, False, True)
    return block


def feed_forward(width: int, hidden: int, *, before: bool, activation: str, bias: bool = True) -> nn.Module:
    """Two linear layers with an activation of `torch.nn` between them, and a residual; see `attention`."""
    from torch import nn

    core = nn.Sequential(
        nn.Linear(width, hidden, bias=bias), getattr(nn, activation)(), nn.Linear(hidden, width, bias=bias)
    )
    block: nn.Module = _classes()["residual"](core, width, before, bias)
    return block


def by_heads(heads: int, prefix: str) -> Groups:
    """Which axes of self-attention's parameters are heads side by side, for `slices.front_slices`.

    Args:
        heads: of queries, of keys and of values, which are in one matrix one behind the other.
        prefix: of the names of parameters within a module: where its core is, with a dot behind.
    """
    return {
        f"{prefix}project.weight": (3 * heads, 1),
        f"{prefix}project.bias": (3 * heads,),
        f"{prefix}out.weight": (1, heads),
    }


@cache
def _classes() -> dict[str, Any]:
    import torch
    from torch import nn

    def split(x: Tensor, heads: int) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] // heads).transpose(1, 2)

    def mixed(query: Tensor, key: Tensor, value: Tensor, heads: int, hidden: Tensor | None = None) -> Tensor:
        """Values weighted by scores, heads side by side; nothing is read where `hidden` is True."""
        scale = (query.shape[2] // heads) ** -0.5
        scores = (split(query, heads) * scale) @ split(key, heads).transpose(2, 3)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        values = torch.softmax(scores, dim=-1) @ split(value, heads)
        return values.transpose(1, 2).reshape(query.shape)

    class SelfAttention(nn.Module):
        hidden: Tensor | None

        def __init__(self, width: int, inner: int, heads: int, bias: bool, causal: int | None) -> None:
            super().__init__()
            self.heads = heads
            self.project = nn.Linear(width, 3 * inner, bias=bias)
            self.out = nn.Linear(inner, width, bias=bias)
            hidden = None if causal is None else torch.ones(causal, causal, dtype=torch.bool).triu(1)
            self.register_buffer("hidden", hidden, persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            query, key, value = self.project(x).chunk(3, dim=2)
            found: Tensor = self.out(mixed(query, key, value, self.heads, self.hidden))
            return found

    class CrossAttention(nn.Module):
        def __init__(self, width: int, memory: int, inner: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.query = nn.Linear(width, inner)
            self.memory = nn.Linear(memory, 2 * inner)
            self.out = nn.Linear(inner, width)

        def forward(self, x: Tensor, *memories: Tensor) -> Tensor:
            memory = torch.cat(memories, dim=1) if len(memories) > 1 else memories[0]
            key, value = self.memory(memory).chunk(2, dim=2)
            found: Tensor = self.out(mixed(self.query(x), key, value, self.heads))
            return found

    class Residual(nn.Module):
        def __init__(self, core: nn.Module, width: int, before: bool, bias: bool) -> None:
            super().__init__()
            self.core = core
            self.before = before
            self.norm = nn.LayerNorm(width, bias=bias)

        def forward(self, x: Tensor, *others: Tensor) -> Tensor:
            found: Tensor = (
                x + self.core(self.norm(x), *others) if self.before else self.norm(x + self.core(x, *others))
            )
            return found

    return {"self": SelfAttention, "cross": CrossAttention, "residual": Residual}
