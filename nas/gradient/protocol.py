"""What a gradient strategy gets, and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.spaces.protocol import Space
from nas.weights.data.protocol import Data
from nas.weights.diverged import Diverged
from nas.weights.images import Images

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "DifferentiableCost",
    "Diverged",
    "Found",
    "GradientProblem",
    "MakeGradient",
    "Priced",
    "all_costs",
    "descends",
    "no_descent",
    "takes_all",
    "wanted_by",
    "wants",
]


class DifferentiableCost(Protocol):
    """Expected cost of independent choices.

    At one-hot probabilities it equals the discrete prediction (1e-4 relative).
    """

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Per choice `(..., options)`; the result is `(...)`, in the cost's unit."""


@dataclass(frozen=True)
class Priced:
    """A predicted objective with its bounds.

    Attributes:
        cost: expected hardware cost.
        bound: upper bound on it from constraints, in its unit, or None.
        floor: lower bound, likewise.
    """

    cost: DifferentiableCost
    bound: float | None = None
    floor: float | None = None


@dataclass(frozen=True)
class GradientProblem:
    """A search over shared weights with a differentiable hardware objective.

    Attributes:
        space: of the search.
        supernet: gives the trained supernet; a strategy works on copies of it.
        data: images or sequences; weights see `train`, architectures see `valid`.
        cost: expected hardware cost, of the first predicted objective.
        budget: most architectures to yield.
        seed: of the search.
        bound: upper bound on the cost from a constraint, in its unit, or None.
        floor: lower bound, likewise.
        more: further predicted objectives; only strategies that are marked by `all_costs` get them, or a floor.
        skip: runs that an interrupted search has finished already, by number.
        progress: told `(what, done, total)`.
    """

    space: Space
    supernet: Callable[[], Any]
    data: Callable[[], Images | Data]
    cost: DifferentiableCost
    budget: int
    seed: int
    bound: float | None = None
    floor: float | None = None
    more: tuple[Priced, ...] = ()
    skip: frozenset[int] = frozenset()
    progress: Callable[[str, int, int], None] = lambda what, done, total: None

    @property
    def priced(self) -> tuple[Priced, ...]:
        """All predicted objectives, the first of them first."""
        return (Priced(self.cost, self.bound, self.floor), *self.more)


@dataclass(frozen=True)
class Found:
    """What one run of a gradient strategy found.

    Attributes:
        run: its number; equal seeds and numbers find the same.
        archs: `(k, d)`, the most probable first.
        note: settings of the run, for people.
        weights: the supernet that the run ended with, by which what it found is judged; None for that of the search.
    """

    run: int
    archs: NDArray[np.int64]
    note: str
    weights: Any = None


class MakeGradient(Protocol):
    """A module's `GRADIENT`."""

    def __call__(self, problem: GradientProblem, **settings: Any) -> Iterator[Found]:
        """Search; each run is yielded when it ends."""


_ALL: set[Any] = set()
_SOLVERS: set[Any] = set()
_Make = TypeVar("_Make", bound=Callable[..., Iterator[Found]])


def all_costs(make: _Make) -> _Make:
    """Mark a strategy that takes all predicted objectives and bounds on either side (`GradientProblem.priced`).

    To others a search with several predicted objectives, or a lower bound on one, is refused.
    """
    _ALL.add(make)
    return make


def takes_all(make: Any) -> bool:
    """Whether a strategy is marked by `all_costs`."""
    return make in _ALL


def no_descent(make: _Make) -> _Make:
    """Mark a strategy that takes costs and losses as numbers, without their gradients.

    `nas.testing.check_gradient` then asks for no gradient. In its place bounds must hold for all that is found where
    they can, and a search without any number need not have yielded before it ends.
    """
    _SOLVERS.add(make)
    return make


def descends(make: Any) -> bool:
    """Whether a strategy descends costs; those that are marked by `no_descent` do not."""
    return make not in _SOLVERS


_WANTS: dict[Any, dict[str, Any]] = {}


def wants(**settings: Any) -> Callable[[_Make], _Make]:
    """Mark a strategy by settings of the shared weights that it is made for, such as `trainer="sandwich"`.

    A search takes them where the user gives none; two strategies of one search must not want different ones.
    """

    def mark(make: _Make) -> _Make:
        _WANTS[make] = settings
        return make

    return mark


def wanted_by(make: Any) -> dict[str, Any]:
    """What a strategy is marked with by `wants`."""
    return dict(_WANTS.get(make, {}))
