"""An augmented Lagrangian: each bound has a multiplier, which rises while it is broken and falls while it is not.

Source: Nocedal & Wright, "Numerical optimization", 2nd edition, 2006, section 17.4, equations 17.63 to 17.65, with one
    step of the architecture between two of the multipliers, which are therefore shorter than the penalty's weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.gradient.parts.bounds._gaps import gaps
from nas.gradient.parts.protocol import Bounds
from nas.gradient.protocol import Priced

if TYPE_CHECKING:
    from torch import Tensor

#: Weight of the squared share by which a bound is broken, and by how much of that share a multiplier moves at a step.
_PENALTY, _RISE = 10.0, 1.0


def lagrangian(priced: Sequence[Priced]) -> Bounds:
    """See `nas.gradient.parts.protocol.MakeBounds`; the note has the multipliers, in the order of costs and bounds."""
    multipliers = [[0.0] * ((price.bound is not None) + (price.floor is not None)) for price in priced]

    def terms(costs: Sequence[Tensor]) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for price, cost, mine in zip(priced, costs, multipliers, strict=True):
            pulls = [
                ((value + _PENALTY * gap).clamp(min=0) ** 2 - value**2) / (2 * _PENALTY)
                for value, gap in zip(mine, gaps(price, cost), strict=True)
            ]
            found.append(sum(pulls[1:], start=pulls[0]) if pulls else None)
        return found

    def settle(costs: Sequence[Tensor]) -> None:
        for price, cost, mine in zip(priced, costs, multipliers, strict=True):
            mine[:] = [max(0.0, v + _RISE * float(g)) for v, g in zip(mine, gaps(price, cost), strict=True)]

    def note() -> str:
        values = [f"{value:.3g}" for mine in multipliers for value in mine]
        return f"multiplier{'s' * (len(values) > 1)} {', '.join(values)}" if values else ""

    return Bounds(terms, settle, note)


BOUNDS = lagrangian
