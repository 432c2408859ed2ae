"""Bytes as tokens: as they are where the vocabulary has room, else the frequent ones, and one token for the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]
#: How many bytes there are.
BYTES = 256


@dataclass(frozen=True)
class Alphabet:
    """Which token stands for which byte.

    Attributes:
        table: `(256,)`, the token of each byte.
        tokens: how many there are, reserved and unused ones among them.
    """

    table: Tokens
    tokens: int

    def encode(self, text: bytes) -> Tokens:
        """Tokens `(n,)` of `n` bytes."""
        return np.asarray(self.table[np.frombuffer(text, dtype=np.uint8)])


def alphabet(text: bytes, vocabulary: int | None, *, reserved: int = 0) -> Alphabet:
    """An alphabet for a vocabulary.

    With room for all bytes, byte `b` is token `reserved + b`. With less, the most frequent bytes of `text` (the lower
    one of two that are equally so) are the tokens from `reserved + 1` on, and `reserved` is any other byte.

    Args:
        text: to learn from.
        vocabulary: tokens that the networks tell apart; room for all bytes if None.
        reserved: tokens 0, 1, ... that are no bytes.
    """
    if vocabulary is None or vocabulary >= reserved + BYTES:
        return Alphabet(np.arange(BYTES, dtype=np.int64) + reserved, vocabulary or reserved + BYTES)
    counts = np.bincount(np.frombuffer(text, dtype=np.uint8), minlength=BYTES)
    frequent = np.argsort(-counts, kind="stable")[: vocabulary - reserved - 1]
    table = np.full(BYTES, reserved, dtype=np.int64)
    table[frequent] = np.arange(reserved + 1, reserved + 1 + len(frequent))
    return Alphabet(table, vocabulary)
