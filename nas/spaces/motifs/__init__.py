"""Cells in three levels: primitives make motifs, motifs make the cell, and the cell makes the network."""

from nas.spaces.motifs.space import SPACE

__all__ = ["SPACE"]
