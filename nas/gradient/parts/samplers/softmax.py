"""All options at once, weighted by a softmax.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, section 2.2, equation 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.protocol import Sampler

if TYPE_CHECKING:
    from nas.gradient.parts.protocol import Rows


def gates(logits: Rows, tau: float, generator: Any) -> Rows:
    """Gates of logits, `(options,)` each; the softmax at temperature `tau`. Nothing is drawn."""
    import torch

    return [torch.softmax(logit / tau, dim=0) for logit in logits]


def sampler() -> Sampler:
    """See `nas.gradient.parts.protocol.MakeSampler`."""
    return Sampler(gates)


SAMPLER = sampler
