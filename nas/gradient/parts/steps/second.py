"""Through one step of the weights, with the product of a Hessian and a vector by finite differences.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, section 2.3, equations 6 to 8. The
    step is that of the optimiser, with momentum and weight decay; the gradient of the whole is
    `dL_valid(w')/da - rate * d2L_train(w)/da dw . dL_valid(w')/dw'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.gradient.parts.probing import gradients
from nas.gradient.parts.steps._inner import moved, rate_of

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Turn

#: Distance at which differences are taken, as a norm over all weights (section 2.3, footnote 2), and the norm of a
#: gradient below which there is nothing to take them along.
_DISTANCE, _NOTHING = 0.01, 1e-12


def second(turn: Turn) -> Tensor:
    """See `nas.gradient.parts.protocol.Step`; four passes and as many backward."""
    import torch

    forward = turn.supernet.forward_mixed
    loss = turn.train_loss(forward)
    parameters = list(turn.supernet.parameters())
    inner = torch.autograd.grad(loss, parameters, allow_unused=True)
    before = [parameter.detach().clone() for parameter in parameters]

    def put(values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)

    try:
        with torch.no_grad():
            stepped = [moved(turn.weights, p, g) for p, g in zip(parameters, inner, strict=True)]
        put(stepped)
        total = turn.valid_loss(forward)
        outer = gradients(total, [*turn.logits, *parameters])
        direct, along = outer[: len(turn.logits)], outer[len(turn.logits) :]
        # Weights without a training gradient were not moved: nothing comes back through them.
        along = [torch.zeros_like(v) if g is None else v for v, g in zip(along, inner, strict=True)]
        norm = float(torch.stack([v.square().sum() for v in along]).sum().sqrt())
        through = [torch.zeros_like(logit) for logit in turn.logits]
        if norm > _NOTHING:
            radius = _DISTANCE / norm
            for sign in (1, -1):
                put([b + sign * radius * v for b, v in zip(before, along, strict=True)])
                for total_so_far, g in zip(through, gradients(turn.train_loss(forward), turn.logits), strict=True):
                    total_so_far.add_(g, alpha=sign / (2 * radius))
    finally:
        put(before)
    for logit, one, other in zip(turn.logits, direct, through, strict=True):
        logit.grad = one - rate_of(turn.weights) * other
    return total


STEP = second
