"""All options at once, weighted by a draw of a Dirichlet distribution, whose pathwise gradient reaches its parameters.

Source: Chen, Wang, Cheng, Tang & Hsieh, "DrNAS: Dirichlet neural architecture search", ICLR 2021, sections 3.1 and 3.2:
    concentrations are `elu(logits) + 1`, and their divergence from the uniform distribution is added to the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.protocol import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows

#: Weight of the divergence, as in the reference implementation of the paper.
_DIVERGENCE = 1e-3
#: Least concentration: draws of smaller ones are 0 in many of their entries, where there is no gradient.
_LEAST = 1e-2


def concentration(logit: Tensor) -> Tensor:
    """Of one gene, `(options,)`, above 0."""
    from torch.nn import functional

    return functional.elu(logit) + 1 + _LEAST


def gates(logits: Rows, tau: float, generator: Any) -> Rows:
    """Gates of logits, `(options,)` each; there is no temperature. Drawn in double precision."""
    import torch
    from torch.distributions import Dirichlet

    with torch.random.fork_rng(devices=[]):  # torch's distributions draw from the generator of all
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return [Dirichlet(concentration(logit.double())).rsample().to(logit.dtype) for logit in logits]


def scores(logits: Rows) -> Rows:
    """Logarithms of the concentrations, `(options,)` each: probabilities are the distribution's means."""
    return [concentration(logit).log() for logit in logits]


def regulariser(logits: Rows) -> Tensor:
    """The weighted divergence from uniform distributions, a scalar, of logits `(options,)` each."""
    import torch
    from torch.distributions import Dirichlet, kl_divergence

    pairs = ((concentration(logit), torch.ones_like(logit)) for logit in logits)
    return _DIVERGENCE * torch.stack([kl_divergence(Dirichlet(mine), Dirichlet(flat)) for mine, flat in pairs]).sum()


def sampler() -> Sampler:
    """See `nas.gradient.parts.protocol.MakeSampler`."""
    return Sampler(gates, scores=scores, regulariser=regulariser)


SAMPLER = sampler
