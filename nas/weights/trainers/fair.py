"""Every option of every gene once for each minibatch: strict fairness.

Source: Chu, Zhang & Xu, "FairNAS: rethinking evaluation fairness of weight sharing neural architecture search", ICCV
    2021, section 3.2 and algorithm 1. There all genes have equally many options.
"""

from __future__ import annotations

import numpy as np

from nas.arrays import Archs
from nas.spaces.protocol import Space
from nas.weights.trainers.protocol import Turn

#: Draws of a round, until all its networks have a function.
_TRIES = 100


def fair(turn: Turn) -> None:
    """Run as many networks as the largest gene has options; the weights are changed once by the sum of gradients.

    So a minibatch takes as many passes.
    """
    for arch in drawn(turn.space, turn.rng):
        turn.loss(turn.supernet.forward_path(turn.inputs, arch)).backward()  # type: ignore[no-untyped-call]


def drawn(space: Space, rng: np.random.Generator) -> Archs:
    """Networks of one round, `(n, d)`, `n` the most options that a gene has.

    A gene with `n` options has each of them in one network; one with fewer has none of them more than once oftener than
    another. Networks without a function are left out, if other draws do not help.
    """
    size = max(space.choices)
    for _ in range(_TRIES):
        columns = [
            np.concatenate([rng.permutation(options) for _ in range(-(-size // options))])[:size]
            for options in space.choices
        ]
        rows = np.stack(columns, axis=1).astype(np.int64)
        valid = space.is_valid(rows)
        if valid.all():
            break
    return rows[valid]


TRAINER = fair
