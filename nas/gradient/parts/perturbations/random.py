"""Weights are trained under gates that are moved at random, so that they do not fit one architecture sharply.

Source: Chen & Hsieh, "Stabilizing differentiable architecture search via perturbation-based regularization", ICML 2020,
    section 4.2 (SDARTS-RS), equation 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nas.gradient.parts.perturbations._near import brought_back, drawn

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows


def random(gates: Rows, loss: Callable[[Rows], Tensor], radius: float, generator: Any) -> Rows:
    """See `nas.gradient.parts.protocol.Perturbation`; `(options,)` each."""
    return brought_back(gates, drawn(gates, radius, generator))


PERTURBATION = random
