"""The cell space of NAS-Bench-201: six edges, five operators, one cell repeated in three stages."""

from nas.spaces.nasbench201.space import SPACE

__all__ = ["SPACE"]
