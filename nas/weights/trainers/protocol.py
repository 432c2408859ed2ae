"""What a trainer of shared weights is: it is given a minibatch, and adds gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from nas.spaces.protocol import Space, Supernet

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Turn:
    """One minibatch.

    Attributes:
        supernet: in training mode; its gradients are zero at the start.
        space: of its networks.
        inputs: `(batch, ...)`, on the device of the weights.
        loss: of outputs for these inputs, a scalar.
        step: number of the minibatch, from 0.
        steps: of the whole training.
        rng: of this minibatch; all that is random is drawn from it.
    """

    supernet: Supernet
    space: Space
    inputs: Any
    loss: Callable[[Any], Tensor]
    step: int
    steps: int
    rng: np.random.Generator


class SupernetTrainer(Protocol):
    """A module's `TRAINER`.

    It keeps nothing from one minibatch to the next, so that a training that was interrupted goes on as it would have.
    Learning rate, clipping, momentum and checkpoints are the loop's.
    """

    def __call__(self, turn: Turn) -> None:
        """Run paths of the supernet on the minibatch, and add the gradients of their losses."""


_MIXES: set[Any] = set()
_Trainer = TypeVar("_Trainer", bound=Callable[[Turn], None])


def mixes(trainer: _Trainer) -> _Trainer:
    """Mark a trainer that runs options of a gene together, by `Supernet.forward_mixed`.

    A search refuses it, before anything is written, where networks of the space cannot be mixed by gates.
    """
    _MIXES.add(trainer)
    return trainer


def needs_mixed(trainer: Any) -> bool:
    """Whether a trainer is marked by `mixes`."""
    return trainer in _MIXES
