"""One path forward; backward a gradient of second order, which plain straight-through is the first order of.

All options are run, those that were not drawn by faint gates: the estimate needs what every one of them would change.

Source: Liu, Dong, Liu, Yu & Gao, "Bridging discrete and backpropagation: straight-through and beyond", NeurIPS 2023,
    section 4 and algorithm 2. With the draw `D`, `p0 = softmax(logits)`, `p1 = (D + softmax(logits / tau)) / 2` and
    `J(q) = diag(q) - q q'`, a gradient `g` by the gates is `J(p1) 2 g - J(p0) g / 2` by the logits. At `tau` 1 its mean
    is the exact gradient wherever the loss is quadratic in the gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.protocol import FAINT, Sampler
from nas.gradient.parts.samplers._noise import straight_through

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows


def gate(logit: Tensor, drawn: Tensor, tau: float) -> Tensor:
    """The gate of a draw.

    Args:
        logit: `(options,)`.
        drawn: what the gate is forward, `(options,)`: about one-hot.
        tau: temperature, above 0.
    """
    import torch

    between = ((drawn + torch.softmax(logit / tau, dim=0)) / 2).detach()
    # J(between) logit, whose gradient is J(between) g since `between` is held.
    steep = between * (logit - (between * logit).sum())
    return straight_through(drawn, 2 * steep - torch.softmax(logit, dim=0) / 2)


def gates(logits: Rows, tau: float, generator: Any) -> Rows:
    """Gates of logits, `(options,)` each."""
    import torch

    found = []
    for logit in logits:
        drawn = torch.full_like(logit, FAINT)
        drawn[torch.multinomial(torch.softmax(logit.detach(), dim=0), 1, generator=generator)] = 1.0
        found.append(gate(logit, drawn, tau))
    return found


def sampler() -> Sampler:
    """See `nas.gradient.parts.protocol.MakeSampler`."""
    return Sampler(gates, one_path=True)


SAMPLER = sampler
