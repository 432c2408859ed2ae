"""Each cost is added as its share above or below its bound, or above or below the median where it has none.

Source: Cai, Zhu & Han, "ProxylessNAS", ICLR 2019, section 3.3.1, equation 6, in the form of its reference
    implementation (`add#linear`): `lambda (E[cost] - reference) / reference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.gradient.parts.protocol import Reference

if TYPE_CHECKING:
    from torch import Tensor


def ratio(
    costs: Sequence[Tensor], references: Sequence[Reference], weight: float
) -> tuple[Tensor | float, list[Tensor | float]]:
    """See `nas.gradient.parts.protocol.Hardware`; costs are scalars."""
    share = weight / len(costs)
    wanted = [reference.median if reference.bound is None else reference.bound for reference in references]
    return 1.0, [share * (cost - goal) / goal for cost, goal in zip(costs, wanted, strict=True)]


HARDWARE = ratio
