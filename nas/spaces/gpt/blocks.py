"""Modules of decoder-only transformers that are not attention, made only when torch is needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def embedding(vocabulary: int, width: int, length: int) -> nn.Module:
    """Tokens `(1, length)` as vectors `(1, length, width)`, with a learned one added for each place."""
    block: nn.Module = _classes()["embedding"](vocabulary, width, length)
    return block


def head(width: int, vocabulary: int, bias: bool) -> nn.Module:
    """The last norm, and logits of each next token."""
    from torch import nn

    return nn.Sequential(nn.LayerNorm(width, bias=bias), nn.Linear(width, vocabulary, bias=False))


@cache
def _classes() -> dict[str, Any]:
    import torch
    from torch import nn

    class Embedding(nn.Module):
        def __init__(self, vocabulary: int, width: int, length: int) -> None:
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.places = nn.Parameter(torch.empty(length, width))
            for table in (self.tokens.weight, self.places):
                nn.init.normal_(table, std=0.02)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.tokens(x) + self.places
            return found

    return {"embedding": Embedding}
