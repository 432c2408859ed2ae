"""Weights of operators that are parts of each other, where the space has such.

Where blocks are cut out of wider ones that is what `shared` weights are already; a space with a supernet of its own may
have another one for it.

Source: Sukthanker, Krishnakumar, Safari & Hutter, "Weight-entanglement meets gradient-based neural architecture
    search", 2023.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from device_profiles.errors import UsageError
from nas.spaces.protocol import Entangles, SharesWeights, Space
from nas.spaces.restricted import Restricted, narrowed
from nas.weights.kinds.protocol import formed, mixable
from nas.weights.kinds.shared import form as form_of_shared
from nas.weights.kinds.shared import shared

#: Networks whose blocks are looked at.
_LOOKED_AT = 20


def form(space: Space) -> str:
    """Where blocks are cut out of wider ones, that of shared weights.

    Raises:
        UsageError: no operator of the space is a part of another.
    """
    require(space)
    return "weights entangled 1" if isinstance(space, SharesWeights) else form_of_shared(space)


@mixable
@formed(form)
def entangled(space: Space, *, seed: int = 0) -> Any:
    """A supernet of the space; one that the space brings itself takes torch's random numbers in place of the seed.

    Raises:
        UsageError: no operator of the space is a part of another.
    """
    require(space)
    whole = _whole(space)
    if not isinstance(whole, Entangles):
        return shared(space, seed=seed)
    made = whole.to_entangled()
    return narrowed(space, made) if isinstance(space, Restricted) else made


def slices(space: Space) -> bool:
    """Whether weights of some blocks are cut out of those of wider ones, as 20 networks show."""
    if isinstance(space, SharesWeights) or not hasattr(space, "assembly"):
        return False
    archs = space.sample(_LOOKED_AT, np.random.default_rng(0))
    return any(block.cut for arch in archs for block in space.assembly(arch).blocks)


def require(space: Space) -> None:
    """Refuse a space of which no operator is a part of another.

    Raises:
        UsageError: so it is.
    """
    if not isinstance(_whole(space), Entangles) and not slices(space):
        raise UsageError(
            f"networks of space {space.name!r} have no weights that are parts of each other",
            hint="Leave out --set weights=entangled.",
        )


def _whole(space: Space) -> Any:
    return space.inner if isinstance(space, Restricted) else space


WEIGHTS = entangled
