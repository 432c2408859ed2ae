"""Gumbel noise, and gates that are one thing forward and another backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def concrete(logit: Tensor, tau: float, generator: Any) -> Tensor:
    """A draw of the concrete distribution, `(options,)`: the softmax of log-probabilities with Gumbel noise.

    Source: Maddison, Mnih & Teh, "The concrete distribution", ICLR 2017, equation 10; Jang, Gu & Poole, "Categorical
        reparameterization with Gumbel-softmax", ICLR 2017, equation 2.

    Args:
        logit: `(options,)`.
        tau: temperature, above 0.
        generator: torch's.
    """
    import torch

    uniform = torch.rand(logit.shape, generator=generator, dtype=logit.dtype).clamp(1e-9, 1 - 1e-7)
    return torch.softmax((torch.log_softmax(logit, dim=0) - torch.log(-torch.log(uniform))) / tau, dim=0)


def straight_through(forward: Tensor, backward: Tensor) -> Tensor:
    """`forward` exactly, with the gradient of `backward`; both like each other in shape, such as `(options,)`."""
    return forward + (backward - backward.detach())
