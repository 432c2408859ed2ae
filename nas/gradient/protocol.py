"""What a gradient strategy gets, and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.spaces.protocol import Space
from nas.weights.images import Images

if TYPE_CHECKING:
    from torch import Tensor


class DifferentiableCost(Protocol):
    """Expected cost of independent choices.

    At one-hot probabilities it equals the discrete prediction (1e-4 relative).
    """

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Per choice `(..., options)`; the result is `(...)`, in the cost's unit."""


@dataclass(frozen=True)
class GradientProblem:
    """A search over shared weights with a differentiable hardware objective.

    Attributes:
        space: of the search.
        supernet: gives the trained supernet; a strategy works on copies of it.
        data: images; weights see `train`, architectures see `valid`.
        cost: expected hardware cost.
        budget: most architectures to yield.
        seed: of the search.
        bound: upper bound on the cost from a constraint, in its unit, or None.
        skip: runs that an interrupted search has finished already, by number.
        progress: told `(what, done, total)`.
    """

    space: Space
    supernet: Callable[[], Any]
    data: Callable[[], Images]
    cost: DifferentiableCost
    budget: int
    seed: int
    bound: float | None = None
    skip: frozenset[int] = frozenset()
    progress: Callable[[str, int, int], None] = lambda what, done, total: None


@dataclass(frozen=True)
class Found:
    """What one run of a gradient strategy found.

    Attributes:
        run: its number; equal seeds and numbers find the same.
        archs: `(k, d)`, the most probable first.
        note: settings of the run, for people.
    """

    run: int
    archs: NDArray[np.int64]
    note: str


class MakeGradient(Protocol):
    """A module's `GRADIENT`."""

    def __call__(self, problem: GradientProblem, **settings: Any) -> Iterator[Found]:
        """Search; each run is yielded when it ends."""
