"""Each bound that an expected cost breaks adds ten times the share by which it does.

A penalty of fixed slope: what wants to break the bound more than that, does. `lagrangian` raises its price instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.gradient.parts.bounds._gaps import gaps
from nas.gradient.parts.protocol import Bounds
from nas.gradient.protocol import Priced

if TYPE_CHECKING:
    from torch import Tensor

#: Weight of the share by which an expected cost breaks a bound.
_BREACH = 10.0


def penalty(priced: Sequence[Priced]) -> Bounds:
    """See `nas.gradient.parts.protocol.MakeBounds`."""

    def terms(costs: Sequence[Tensor]) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for price, cost in zip(priced, costs, strict=True):
            breaches = [_BREACH * gap.clamp(min=0) for gap in gaps(price, cost)]
            found.append(sum(breaches[1:], start=breaches[0]) if breaches else None)
        return found

    return Bounds(terms)


BOUNDS = penalty
