"""The weights are held: the gradient of the validation loss by the architecture alone.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, section 2.3, with `xi = 0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.gradient.parts.probing import gradients

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Turn


def first(turn: Turn) -> Tensor:
    """See `nas.gradient.parts.protocol.Step`."""
    loss = turn.valid_loss(turn.supernet.forward_mixed)
    for logit, gradient in zip(turn.logits, gradients(loss, turn.logits), strict=True):
        logit.grad = gradient
    return loss


STEP = first
