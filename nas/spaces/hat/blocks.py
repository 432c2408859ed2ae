"""Modules of HAT's transformers that are not attention, made only when torch is needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def embedding(row: int, vocabulary: int, width: int, length: int) -> nn.Module:
    """Tokens of one row of the input `(1, 2, length)` as vectors `(1, length, width)`, with sines of their places.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, sections 3.4 and 3.5.
    """
    block: nn.Module = _classes()["embedding"](row, vocabulary, width, length)
    return block


def head(width: int, vocabulary: int) -> nn.Module:
    """Logits of each token."""
    from torch import nn

    return nn.Linear(width, vocabulary, bias=False)


@cache
def _classes() -> dict[str, Any]:
    import torch
    from torch import nn

    class Embedding(nn.Module):
        def __init__(self, row: int, vocabulary: int, width: int, length: int) -> None:
            super().__init__()
            self.row = row
            self.factor = width**0.5
            self.tokens = nn.Embedding(vocabulary, width)
            nn.init.normal_(self.tokens.weight, std=width**-0.5)
            angles = torch.arange(length)[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
            self.register_buffer("places", torch.cat([angles.sin(), angles.cos()], dim=1), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.tokens(x[:, self.row]) * self.factor + self.places
            return found

    return {"embedding": Embedding}
