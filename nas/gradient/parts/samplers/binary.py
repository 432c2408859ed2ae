"""Two paths are drawn, one of them is active, and the two are told which of them was better.

The path that is not active is run by a faint gate: the gradient of its gate is what it would change.

Source: Cai, Zhu & Han, "ProxylessNAS: direct neural architecture search on target task and hardware", ICLR 2019,
    sections 3.2 and 3.2.1, equation 4. The probabilities of the options that were not drawn stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.protocol import FAINT, Sampler
from nas.gradient.parts.samplers._noise import straight_through

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows


def pair_gate(logit: Tensor, pair: Tensor, generator: Any) -> Tensor:
    """The gate of one gene, `(options,)`: 1 for one of the pair, faint for the other, 0 for the rest.

    Args:
        logit: `(options,)`.
        pair: the drawn options, `(2,)`, or `(1,)` of a gene with one.
        generator: torch's.
    """
    import torch

    shares = torch.softmax(logit[pair], dim=0)
    drawn = torch.full_like(shares, FAINT)
    drawn[torch.multinomial(shares.detach(), 1, generator=generator)] = 1.0
    return torch.zeros_like(logit).index_put((pair,), straight_through(drawn, shares))


def sampler() -> Sampler:
    """See `nas.gradient.parts.protocol.MakeSampler`; it remembers the pairs that it drew last."""
    pairs: list[Tensor] = []

    def gates(logits: Rows, tau: float, generator: Any) -> Rows:
        import torch

        pairs.clear()
        for logit in logits:
            chances = torch.softmax(logit.detach(), dim=0)
            pairs.append(torch.multinomial(chances, min(2, len(chances)), generator=generator))
        return [pair_gate(logit, pair, generator) for logit, pair in zip(logits, pairs, strict=True)]

    def settle(before: Rows, after: Rows) -> None:
        import torch

        with torch.no_grad():
            for old, new, pair in zip(before, after, pairs, strict=True):
                shift = torch.logsumexp(old[pair], dim=0) - torch.logsumexp(new[pair], dim=0)
                new.copy_(old.index_put((pair,), new[pair] + shift))

    return Sampler(gates, one_path=True, settle=settle)


SAMPLER = sampler
