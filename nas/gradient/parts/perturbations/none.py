"""Weights are trained under the gates of the architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows


def none(gates: Rows, loss: Callable[[Rows], Tensor], radius: float, generator: Any) -> Rows:
    """See `nas.gradient.parts.protocol.Perturbation`; `(options,)` each, as given."""
    return gates


PERTURBATION = none
