"""Weights are trained under gates that are moved to where the training loss is largest, by projected gradient ascent.

Source: Chen & Hsieh, "Stabilizing differentiable architecture search via perturbation-based regularization", ICML 2020,
    section 4.3 (SDARTS-ADV), equation 7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nas.gradient.parts.perturbations._near import brought_back, drawn, within
from nas.gradient.parts.probing import gradients

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows

#: Steps of the ascent, as in section 5.1 of the paper; each is two radii long by so many.
_STEPS = 7


def adversarial(gates: Rows, loss: Callable[[Rows], Tensor], radius: float, generator: Any) -> Rows:
    """See `nas.gradient.parts.protocol.Perturbation`; `(options,)` each, with a random start."""
    moves = within(gates, drawn(gates, radius, generator), radius)
    for _ in range(_STEPS):
        moves = [move.detach().requires_grad_() for move in moves]
        slopes = gradients(loss(brought_back(gates, moves)), moves)
        pairs = zip(moves, slopes, strict=True)
        moves = within(gates, [move.detach() + 2 * radius / _STEPS * slope.sign() for move, slope in pairs], radius)
    return brought_back(gates, moves)


PERTURBATION = adversarial
