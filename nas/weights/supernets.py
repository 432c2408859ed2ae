"""The supernet of a space: its own where it brings one, else one that is made of the blocks of its networks."""

from __future__ import annotations

from typing import Any

from device_profiles.errors import UsageError
from nas.spaces.protocol import Mixes, SharesWeights, Space
from nas.spaces.restricted import Restricted, narrowed
from nas.weights import mixing


def of(space: Space, *, seed: int = 0) -> Any:
    """A `nas.spaces.Supernet` with fresh weights.

    Args:
        space: any.
        seed: of the weights of one that is made of blocks; a space's own takes torch's random numbers.

    Raises:
        UsageError: the space says of no network what blocks it has.
    """
    if isinstance(space, SharesWeights):
        return space.to_supernet()
    if not hasattr(space, "assembly"):
        raise UsageError(f"networks of space {space.name!r} cannot share weights", hint="Search with a table instead.")
    if isinstance(space, Restricted) and isinstance(space.inner, Mixes):
        return narrowed(space, of(space.inner, seed=seed))
    from nas.weights.assembled import AssembledSupernet

    return AssembledSupernet(space, seed)


def form(space: Space) -> str:
    """How weights are shared, as a part of a run's identity: values of two forms are not compared.

    Of weights that are made of blocks, 1: each kind of block at a place has its own; 2: kinds that can are cut out of
    one block, and residuals begin faint.
    """
    return "" if isinstance(space, SharesWeights) else "weights 2"


def require_mixed(space: Space) -> None:
    """Refuse a space whose networks cannot be mixed by gates, as gradient strategies need it.

    Raises:
        UsageError: so it is.
    """
    if not isinstance(space, SharesWeights):
        mixing.of(space.inner if isinstance(space, Restricted) and isinstance(space.inner, Mixes) else space)
