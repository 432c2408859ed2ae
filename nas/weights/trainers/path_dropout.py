"""Options are dropped, ever more of them while training goes on; what is left of each gene is run together.

Source: Bender et al., "Understanding and simplifying one-shot architecture search", ICML 2018, section 3.

Differences: there, options are incoming edges and operators of a cell, which are added up; here those of a gene, and
what is left is averaged. Where all options of a gene are dropped, one is drawn, as nothing would reach what is behind.
Ghost batch norm is left out, and decay falls on all weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device_profiles.errors import UsageError
from nas.weights.trainers.protocol import Turn, mixes

if TYPE_CHECKING:
    from torch import Tensor

#: Probability, at the end, that all options of a gene are dropped.
ALL_DROPPED = 0.1


def path_dropout(turn: Turn) -> None:
    """Run a mixture of the options that are left, each of a gene with the same gate.

    Raises:
        UsageError: networks of the space, or their options, cannot be mixed by gates. As the first minibatch mixes
            all, this is told before anything is learned.
    """
    try:
        outputs = turn.supernet.forward_mixed(turn.inputs, gates(turn))
    except UsageError as error:
        raise refused(turn.space.name, str(error)) from error
    turn.loss(outputs).backward()  # type: ignore[no-untyped-call]


def gates(turn: Turn) -> list[Tensor]:
    """For each gene `(options,)`: 0 for what is dropped, and equal shares, which add up to 1, for what is left."""
    import torch

    found = []
    for options in turn.space.choices:
        left = turn.rng.random(options) >= rate(options, turn.step, turn.steps)
        if not left.any():
            left[turn.rng.integers(options)] = True
        found.append(torch.from_numpy((left / left.sum()).astype(np.float32)))
    return found


def rate(options: int, step: int, steps: int) -> float:
    """Probability that an option of a gene with so many is dropped: 0 in the first step, r^(1/k) in the last.

    Between, it rises by the same amount in each step. With r^(1/k) the chance that all k are dropped is r, whatever k.
    """
    return float(ALL_DROPPED ** (1 / options)) * step / max(steps - 1, 1)


def refused(space: str, why: str) -> UsageError:
    """That networks of a space cannot be trained so."""
    return UsageError(
        f"trainer path-dropout runs options of a gene together, which space {space!r} does not allow: {why}",
        hint="Use --set trainer=uniform.",
    )


TRAINER = mixes(path_dropout)
