"""All options at once, each with a sigmoid of its own, so that they do not compete; a term drives gates to 0 or 1.

Source: Chu, Zhou, Zhang & Li, "Fair DARTS: eliminating unfair advantages in differentiable architecture search", ECCV
    2020, sections 4.1 and 4.2, equation 6. A gene of a space has one option here; the one with the largest gate is
    read off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.protocol import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows

#: Weight of the term, as in section 5.1 of the paper.
_ZERO_ONE = 10.0


def gates(logits: Rows, tau: float, generator: Any) -> Rows:
    """Gates of logits, `(options,)` each, in 0..1. Nothing is drawn."""
    return [(logit / tau).sigmoid() for logit in logits]


def scores(logits: Rows) -> Rows:
    """Logarithms of the gates at temperature 1, `(options,)` each: probabilities are the gates by their sums."""
    from torch.nn import functional

    return [functional.logsigmoid(logit) for logit in logits]


def regulariser(logits: Rows) -> Tensor:
    """The weighted mean of `-(gate - 1/2)^2`, a scalar, of logits `(options,)` each: least where gates are 0 or 1."""
    import torch

    return -_ZERO_ONE * ((torch.cat([logit.sigmoid() for logit in logits]) - 0.5) ** 2).mean()


def sampler() -> Sampler:
    """See `nas.gradient.parts.protocol.MakeSampler`."""
    return Sampler(gates, scores=scores, regulariser=regulariser)


SAMPLER = sampler
