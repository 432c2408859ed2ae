"""One path by Gumbel noise; the gradient of the softmax reaches all logits through the gate that is 1.

Source: Dong & Yang, "Searching for a robust neural architecture in four GPU hours", CVPR 2019, sections 3.2-3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.protocol import Sampler
from nas.gradient.parts.samplers._noise import concrete

if TYPE_CHECKING:
    from nas.gradient.parts.protocol import Rows


def gumbel_gates(logits: Rows, tau: float, generator: Any) -> Rows:
    """One sampled option per gene as straight-through gates: one-hot forward, the gradient of the softmax backward.

    Args:
        logits: per gene `(options,)`.
        tau: temperature, above 0.
        generator: torch's random generator.
    """
    import torch

    gates = []
    for logit in logits:
        soft = concrete(logit, tau, generator)
        hard = torch.zeros_like(soft)
        hard[int(soft.argmax())] = 1.0
        gates.append(hard + soft - soft.detach())
    return gates


def sampler() -> Sampler:
    """See `nas.gradient.parts.protocol.MakeSampler`."""
    return Sampler(gumbel_gates, one_path=True)


SAMPLER = sampler
