"""One path is drawn and judged; its probability rises if its loss is below the mean of those before.

No gradient passes through the network, so what it runs need not be differentiable by gates.

Source: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine
    Learning 8, 1992; as in Cai, Zhu & Han, "ProxylessNAS", ICLR 2019, section 3.3.2 and appendix. There the reward is
    accuracy times a power of latency; here it is the loss, and costs enter it as for all samplers, by their exact mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.protocol import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows

#: Share of the mean of losses that is kept at each step.
_KEPT = 0.9


def gates(logits: Rows, tau: float, generator: Any) -> Rows:
    """One-hot gates, `(options,)` each, drawn by the softmax of logits."""
    import torch

    found = []
    for logit in logits:
        chosen = torch.multinomial(torch.softmax(logit.detach(), dim=0), 1, generator=generator)
        found.append(torch.zeros_like(logit).index_fill(0, chosen, 1.0))
    return found


def sampler() -> Sampler:
    """See `nas.gradient.parts.protocol.MakeSampler`; it remembers the mean of losses."""
    mean: list[float] = []

    def credit(loss: Tensor, drawn: Rows, logits: Rows) -> Tensor:
        import torch

        value = loss.detach()
        if not bool(torch.isfinite(value)):
            return value
        pairs = zip(logits, drawn, strict=True)
        chance = torch.stack([torch.log_softmax(logit, dim=0)[int(gate.argmax())] for logit, gate in pairs]).sum()
        baseline = mean[0] if mean else float(value)
        mean[:] = [_KEPT * baseline + (1 - _KEPT) * float(value)]
        return value + (value - baseline) * (chance - chance.detach())

    return Sampler(gates, one_path=True, credit=credit)


SAMPLER = sampler
