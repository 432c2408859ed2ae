"""By which share a cost is beyond a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.gradient.protocol import Priced

if TYPE_CHECKING:
    from torch import Tensor


def gaps(price: Priced, cost: Tensor) -> list[Tensor]:
    """For each bound, the upper one first, by which share of it a cost (a scalar) is beyond it; below 0 within."""
    found = [] if price.bound is None else [(cost - price.bound) / price.bound]
    return found if price.floor is None else [*found, (price.floor - cost) / max(abs(price.floor), 1e-12)]
