"""Spaces that this process made, and no name can make: known by their spec, as those that ship are."""

from __future__ import annotations

from device_profiles.errors import UsageError
from nas.spaces.protocol import Space
from nas.spaces.registry import REGISTRY
from nas.spaces.restricted import Restricted

#: What specs of spaces from modules begin with.
MODULE = "module"

_KEPT: dict[str, Space] = {}


def keep(space: Space) -> None:
    """Let `nas.spaces.load` know a space by its spec in this process."""
    whole = space.inner if isinstance(space, Restricted) else space
    _KEPT[whole.spec] = whole


def find(base: str) -> Space | None:
    """The space whose spec, without restrictions, it is; None where a name makes it.

    Raises:
        UsageError: it is a space of a module, which nobody made in this process.
    """
    if base in _KEPT and base.partition(":")[0] not in REGISTRY.names():
        return _KEPT[base]
    if base.partition(":")[0] == MODULE:
        raise UsageError(
            f"{base} is the space of a torch module: no name makes it",
            hint="Call nas.spaces.from_module(factory, input_shape) in this process first, with the factory as it was.",
        )
    return None
