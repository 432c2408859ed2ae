"""All options at once, weighted by a draw of the concrete distribution, which becomes one-hot as it cools.

Source: Xie, Zheng, Liu & Lin, "SNAS: stochastic neural architecture search", ICLR 2019, section 2.3; Wu et al.,
    "FBNet", CVPR 2019, section 3.3, equation 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.protocol import Sampler
from nas.gradient.parts.samplers._noise import concrete

if TYPE_CHECKING:
    from nas.gradient.parts.protocol import Rows


def gates(logits: Rows, tau: float, generator: Any) -> Rows:
    """Gates of logits, `(options,)` each; see `concrete`."""
    return [concrete(logit, tau, generator) for logit in logits]


def sampler() -> Sampler:
    """See `nas.gradient.parts.protocol.MakeSampler`."""
    return Sampler(gates)


SAMPLER = sampler
