"""Whole networks as labelled graphs: each layer has a kind, a width, and reads any of the layers before it."""

from nas.spaces.nasbot.space import SPACE

__all__ = ["SPACE"]
