"""Each cost is added, counted from the lowest in distances of the median from it.

Source: a weighted sum of normalised objectives, as in Cai, Zhu & Han, "ProxylessNAS", ICLR 2019, section 3.3.1,
    equation 6; the scale is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.gradient.parts.protocol import Reference

if TYPE_CHECKING:
    from torch import Tensor


def weighted_sum(
    costs: Sequence[Tensor], references: Sequence[Reference], weight: float
) -> tuple[Tensor | float, list[Tensor | float]]:
    """See `nas.gradient.parts.protocol.Hardware`; costs are scalars."""
    share = weight / len(costs)
    return 1.0, [share * (c - r.lowest) / (r.median - r.lowest) for c, r in zip(costs, references, strict=True)]


HARDWARE = weighted_sum
