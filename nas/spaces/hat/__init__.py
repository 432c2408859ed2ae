"""HAT's space: transformers of an encoder and a decoder, whose layers differ in width, heads and what they read."""

from nas.spaces.hat.space import SPACE

__all__ = ["SPACE"]
