"""Soft labels of one network for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device_profiles.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Soft:
    """What a teacher believes.

    Attributes:
        shares: `(batch, ..., outputs)`, probabilities of classes or tokens, without a gradient.
        scored: `(batch, ...)`, 1 where the loss looks at the outputs, else 0: tokens that only fill up are not taught.
    """

    shares: Tensor
    scored: Tensor


def taught(outputs: Tensor, loss: Callable[[Tensor], Tensor]) -> Soft:
    """Soft labels of a teacher; nothing that learns from them has a gradient into it.

    Args:
        outputs: of the teacher, logits `(batch, ..., outputs)`.
        loss: of outputs like them, a scalar. Where its gradient is 0, it does not look.

    Raises:
        UsageError: outputs are single numbers, which are no logits of anything.
    """
    import torch

    if outputs.ndim < 2 or outputs.shape[-1] < 2:
        raise UsageError(
            f"outputs {tuple(outputs.shape)} tell no classes apart, so that no network can teach another one",
            hint="Use --set trainer=uniform.",
        )
    given = outputs.detach().requires_grad_()
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad(loss(given), given)
    return Soft(torch.softmax(given.detach(), dim=-1), (slopes != 0).any(dim=-1).to(outputs.dtype))


def distillation(outputs: Tensor, soft: Soft) -> Tensor:
    """Cross entropy of outputs with soft labels, the mean over what is scored; a scalar.

    Source: Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", 2015, section 2, at temperature 1.

    Args:
        outputs: logits `(batch, ..., outputs)`.
        soft: labels for them.
    """
    import torch

    losses = -(soft.shares * torch.log_softmax(outputs, dim=-1)).sum(dim=-1)
    total: Tensor = (losses * soft.scored).sum() / soft.scored.sum().clamp(min=1)
    return total
