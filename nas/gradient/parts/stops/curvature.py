"""A run ends when the validation loss becomes sharp in the architecture; its result is of before it did.

Source: Zela et al., "Understanding and robustifying differentiable architecture search", ICLR 2020, section 4.3: the
    dominant eigenvalue of the Hessian of the validation loss by the architecture, averaged over five looks, has grown
    to more than 1 / 0.75 of what it was five looks before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nas.gradient.parts.probing import gradients
from nas.gradient.parts.protocol import Halt, Watch
from nas.spaces.protocol import Space

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows

#: Looks that are averaged and gone back, and the ratio, as in the paper.
_LOOKS, _RATIO = 5, 0.75
#: Of the power iteration: most rounds, and the relative change at which it ends.
_ROUNDS, _CHANGE = 20, 1e-3


def dominant_eigenvalue(loss: Tensor, logits: Rows) -> float:
    """The eigenvalue of largest size of the Hessian of a scalar, by power iteration.

    Args:
        loss: a scalar with second derivatives.
        logits: `(options,)` each.
    """
    import torch

    slopes = gradients(loss, logits, create_graph=True)
    generator = torch.Generator().manual_seed(0)
    vector = [torch.randn(logit.shape, generator=generator, dtype=logit.dtype) for logit in logits]
    value = 0.0
    for _ in range(_ROUNDS):
        norm = torch.stack([part.square().sum() for part in vector]).sum().sqrt()
        if not float(norm) > 0:
            return 0.0
        vector = [part / norm for part in vector]
        product = torch.stack([(s * v).sum() for s, v in zip(slopes, vector, strict=True)]).sum()
        image = gradients(product, logits, retain_graph=True)
        before, value = value, float(sum((v * i).sum() for v, i in zip(vector, image, strict=True)))
        vector = image
        if abs(value - before) <= _CHANGE * abs(value):
            break
    return value


def curvature(space: Space) -> Callable[[Watch], Halt | None]:
    """See `nas.gradient.parts.protocol.MakeStop`."""
    values: list[float] = []

    def look(watch: Watch) -> Halt | None:
        logits = [logit.detach().clone().requires_grad_() for logit in watch.logits]
        values.append(dominant_eigenvalue(watch.valid_loss(logits), logits))
        if len(values) < 2 * _LOOKS:
            return None
        now, then = (sum(part) / _LOOKS for part in (values[-_LOOKS:], values[-2 * _LOOKS : -_LOOKS]))
        if min(now, then) > 0 and then / now < _RATIO:
            return Halt(f"dominant eigenvalue {now:.3g} after {then:.3g}", back=_LOOKS)
        return None

    return look


STOP = curvature
