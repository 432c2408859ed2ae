"""What a kind of weights is: it makes a supernet of a space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from nas.spaces.protocol import Space


class MakeWeights(Protocol):
    """A module's `WEIGHTS`."""

    def __call__(self, space: Space, *, seed: int) -> Any:
        """A `nas.spaces.protocol.Supernet` with fresh weights, in training mode, on the CPU.

        It is an `nn.Module` whose `parameters` are what is trained, and whose `state_dict`, loaded into a fresh one,
        gives all networks the weights that they had. Parameters that are made when a network first needs them depend on
        the seed and on what they are for alone, not on the order in which networks are run.

        Args:
            space: whose networks.
            seed: of all first weights.

        Raises:
            UsageError: networks of the space cannot have such weights.
        """


_MIXABLE: set[Any] = set()
_Make = TypeVar("_Make", bound=MakeWeights)


def mixable(make: _Make) -> _Make:
    """Mark a kind whose networks can be mixed by gates wherever networks of the space can.

    With others, gradient strategies are refused.
    """
    _MIXABLE.add(make)
    return make


def is_mixable(make: Any) -> bool:
    """Whether a kind is marked by `mixable`."""
    return make in _MIXABLE


_FORMS: dict[Any, Callable[[Space], str]] = {}


def formed(form: Callable[[Space], str]) -> Callable[[_Make], _Make]:
    """Mark a kind whose form depends on the space: `form(space)` is a part of the identity of a run, or ""."""

    def mark(make: _Make) -> _Make:
        _FORMS[make] = form
        return make

    return mark


def form_of(make: Any, space: Space) -> str | None:
    """The form that a kind marked by `formed` has in a space; None of another.

    Raises:
        UsageError: networks of the space cannot have such weights.
    """
    return _FORMS[make](space) if make in _FORMS else None


_PLANS: dict[Any, dict[str, Any]] = {}


def trained_by(**plan: Any) -> Callable[[_Make], _Make]:
    """Mark a kind of weights by how a search trains it, as fields of `nas.weights.training.TrainingPlan`."""

    def mark(make: _Make) -> _Make:
        _PLANS[make] = plan
        return make

    return mark


def plan_of(make: Any) -> dict[str, Any]:
    """What a kind is marked with by `trained_by`."""
    return dict(_PLANS.get(make, {}))
