"""Decoder-only transformers whose width, depth, and heads and feed-forward of each layer are choices."""

from nas.spaces.gpt.space import SPACE

__all__ = ["SPACE"]
