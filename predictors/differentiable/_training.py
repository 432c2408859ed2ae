"""Fits a small network to what main effects leave, and stops where unseen rows stop getting better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from predictors.differentiable._descent import Batch, Descent
from predictors.differentiable.protocol import Floats
from predictors.differentiable.surface import Network

if TYPE_CHECKING:
    from torch import Tensor

#: Steps between two looks at the held-out rows, and looks without a new best after which training ends.
EVERY = 100
PATIENCE = 12
#: The network is kept where it takes at least this share off the held-out error of what it is added to.
LEAST_GAIN = 0.02
#: Steps after which a training may be given up: what it then has learned is at most halved by all others.
HOPE = 500
_RATE = 4e-3
#: Of weights, for each unit of the rate.
DECAY = 1e-4


@dataclass(frozen=True)
class Learned:
    """What a training gives.

    Attributes:
        network: of the step with the least held-out error.
        side: `(q, h)`, the first layer's weights of what is known beside the architecture.
        steps: that step; 0 if no step was better than no network.
        error: its held-out error.
    """

    network: Network
    side: Floats
    steps: int
    error: float

    def given(self, known: Floats) -> Network:
        """The network for one `(q,)` of what is known beside the architecture: folded into the first bias."""
        first, *rest = self.network.weights
        return Network(self.network.entry, (first + known @ self.side, *rest))


def raw(parameters: list[Tensor], rows: Tensor, side: Tensor) -> Tensor:
    """The network's output, `(b,)`."""
    from torch.nn.functional import embedding_bag, silu

    entry, beside, first, layer, second, last, bias = parameters
    entered = embedding_bag(rows, entry, mode="sum") + side @ beside + first
    return silu(silu(entered) @ layer + second) @ last + bias[0]


def train(
    shape: tuple[int, int, int],
    each: int,
    draw: Callable[[np.random.Generator], Batch],
    score: Callable[[list[Tensor]], float] | None,
    *,
    start: float,
    steps: int,
    seed: int,
    give_up: float = np.inf,
    decay: float = DECAY,
) -> Learned:
    """Fit by AdamW on the Huber loss of the relative error, the rate falling along a cosine.

    The last layer begins at 0, so that step 0 is no network at all: what comes out is never worse on the rows that
    `score` holds out.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    Args:
        shape: facts, values beside the architecture, hidden units.
        each: facts that an architecture has.
        draw: gives the next batch.
        score: held-out error of parameters; None to go through all steps and keep the last.
        start: held-out error without a network.
        steps: most steps.
        seed: of weights and batches.
        give_up: held-out error above which nothing is hoped for after `HOPE` steps.
        decay: of weights, for each unit of the rate.
    """
    import torch

    width, beside, hidden = shape
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    sizes = ((width, hidden), (beside, hidden), (hidden,), (hidden, hidden), (hidden,), (hidden,), (1,))
    scales = (each**-0.5, max(beside, 1) ** -0.5, 0.0, hidden**-0.5, 0.0, 0.0, 0.0)
    descent = Descent.of(
        [(torch.randn(size, generator=generator) * scale).numpy() for size, scale in zip(sizes, scales, strict=True)]
    )
    parameters = [torch.from_numpy(array) for array in descent.parameters]
    best, best_step, since = start, 0, 0
    kept = [p.clone() for p in parameters]
    for step in range(1, steps + 1):
        batch = draw(rng)
        rate = _RATE * 0.5 * (1.0 + np.cos(np.pi * (step - 1) / steps))
        descent.step(batch, rate, decay)
        if score is None or (step % EVERY and step != steps):
            continue
        with torch.inference_mode():
            error = score(parameters)
        since += 1
        if error < best:
            best, best_step, since = error, step, 0
            kept = [p.clone() for p in parameters]
        if since >= PATIENCE or (step >= HOPE and best > give_up):
            break
    if score is None:
        best, best_step, kept = float("nan"), steps, parameters
    entry, side, *weights = (p.double().numpy() for p in kept)
    return Learned(Network(entry, tuple(weights)), side, best_step, best)
