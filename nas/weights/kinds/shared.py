"""Weights that networks of a space share: the space's own supernet where it brings one, else one of its blocks."""

from __future__ import annotations

from typing import Any

from device_profiles.errors import UsageError
from nas.spaces.protocol import Mixes, SharesWeights, Space
from nas.spaces.restricted import Restricted, narrowed
from nas.weights.kinds.protocol import formed, mixable


def form(space: Space) -> str:
    """Of weights that are shared block by block.

    1: each kind of block at a place has its own; 2: kinds that can are cut out of one block in `chain` and
    `mobilenetv3`, and residuals begin faint; 3: so they are in all spaces that have such kinds.
    """
    return "" if isinstance(space, SharesWeights) else "weights 3"


@mixable
@formed(form)
def shared(space: Space, *, seed: int = 0) -> Any:
    """A supernet of the space; one that the space brings itself takes torch's random numbers in place of the seed.

    Raises:
        UsageError: the space says of no network what blocks it has.
    """
    if isinstance(space, SharesWeights):
        return space.to_supernet()
    if not hasattr(space, "assembly"):
        raise UsageError(f"networks of space {space.name!r} cannot share weights", hint="Search with a table instead.")
    if isinstance(space, Restricted) and isinstance(space.inner, Mixes):
        return narrowed(space, shared(space.inner, seed=seed))
    from nas.weights.assembled import AssembledSupernet

    return AssembledSupernet(space, seed)


WEIGHTS = shared
