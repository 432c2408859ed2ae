"""The macro space of NSGA-Net: phases whose nodes are joined at will, between fixed reductions."""

from nas.spaces.nsganet_macro.space import SPACE

__all__ = ["SPACE"]
