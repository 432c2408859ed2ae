"""Image networks of stages that are convolutions or attention."""

from nas.spaces.hybrid.space import SPACE

__all__ = ["SPACE"]
