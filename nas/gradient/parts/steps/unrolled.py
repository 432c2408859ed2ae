"""Through one step of the weights, exactly: the step is a part of what is differentiated.

Source: as `second`, equation 6, with automatic differentiation in place of differences (Maclaurin, Duvenaud & Adams,
    "Gradient-based hyperparameter optimization through reversible learning", ICML 2015, for one step). Every operation
    of the network must have second derivatives; memory is that of three passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.gradient.parts.probing import gradients
from nas.gradient.parts.steps._inner import moved

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Rows, Turn


def unrolled(turn: Turn) -> Tensor:
    """See `nas.gradient.parts.protocol.Step`."""
    import torch
    from torch.func import functional_call

    class Mixed(torch.nn.Module):
        """A supernet whose call is its mixture."""

        def __init__(self, supernet: Any) -> None:
            super().__init__()
            self.supernet = supernet

        def forward(self, inputs: Tensor, gates: Rows) -> Tensor:
            outputs: Tensor = self.supernet.forward_mixed(inputs, gates)
            return outputs

    loss = turn.train_loss(turn.supernet.forward_mixed)
    mixed = Mixed(turn.supernet)
    named = dict(mixed.named_parameters())
    inner = torch.autograd.grad(loss, list(named.values()), create_graph=True, allow_unused=True)
    stepped = {name: moved(turn.weights, p, g) for (name, p), g in zip(named.items(), inner, strict=True)}
    # Of their own: the first pass is differentiated again, and must find its statistics as they were.
    state = stepped | {name: buffer.clone() for name, buffer in mixed.named_buffers()}
    total = turn.valid_loss(lambda inputs, gates: functional_call(mixed, state, (inputs, gates)))
    for logit, gradient in zip(turn.logits, gradients(total, turn.logits), strict=True):
        logit.grad = gradient
    return total


STEP = unrolled
