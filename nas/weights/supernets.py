"""The supernet of a space, by the kind of its weights."""

from __future__ import annotations

from typing import Any

from device_profiles.errors import UsageError
from nas.spaces.protocol import Mixes, SharesWeights, Space
from nas.spaces.restricted import Restricted
from nas.weights import kinds, mixing
from nas.weights.devices import laid_out

#: The kind where none is named.
SHARED = "shared"


def of(space: Space, *, seed: int = 0, kind: str = SHARED) -> Any:
    """A `nas.spaces.Supernet` with fresh weights.

    Args:
        space: any.
        seed: of the first weights; a space's own supernet takes torch's random numbers.
        kind: one of `nas.weights.kinds`.

    Raises:
        UsageError: networks of the space cannot have such weights.
        UnknownName: there is no such kind.
    """
    return laid_out(kinds.REGISTRY.get(kind)(space, seed=seed))


def form(space: Space, kind: str = SHARED) -> str:
    """How networks come by their weights, as a part of a run's identity: values of two forms are not compared.

    Raises:
        UsageError: networks of the space cannot have such weights.
    """
    found = kinds.form_of(kinds.REGISTRY.get(kind), space)
    return f"weights {kind} 1" if found is None else found


def require_mixed(space: Space, kind: str = SHARED) -> None:
    """Refuse networks that cannot be mixed by gates, as gradient strategies need it.

    Raises:
        UsageError: so it is.
    """
    if not kinds.is_mixable(kinds.REGISTRY.get(kind)):
        raise UsageError(
            f"networks with weights of kind {kind!r} cannot be mixed by gates",
            hint=f"Leave out --set weights={kind}, or use a strategy that runs one network at a time.",
        )
    if not isinstance(space, SharesWeights):
        mixing.of(space.inner if isinstance(space, Restricted) and isinstance(space.inner, Mixes) else space)
