"""The supernet of a space, by the kind of its weights."""

from __future__ import annotations

from typing import Any

from device_profiles.errors import UsageError
from nas.spaces.protocol import Mixes, SharesWeights, Space
from nas.spaces.restricted import Restricted
from nas.weights import kinds, mixing
from nas.weights.kinds import entangled

#: The kind where none is named, and the one where operators are parts of each other.
SHARED, ENTANGLED = "shared", "entangled"


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
    return kinds.REGISTRY.get(kind)(space, seed=seed)


def form(space: Space, kind: str = SHARED) -> str:
    """How networks come by their weights, as a part of a run's identity: values of two forms are not compared.

    Of weights that are shared block by block, 1: each kind of block at a place has its own; 2: kinds that can are cut
    out of one block in `chain` and `mobilenetv3`, and residuals begin faint; 3: so they are in all spaces that have
    such kinds. There, entangled weights are the same.

    Raises:
        UsageError: no operator of the space is a part of another, and the kind is `entangled`.
    """
    if kind == ENTANGLED:
        entangled.require(space)
        kind = kind if isinstance(space, SharesWeights) else SHARED
    if kind != SHARED:
        return f"weights {kind} 1"
    return "" if isinstance(space, SharesWeights) else "weights 3"


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
