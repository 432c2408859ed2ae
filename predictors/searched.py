"""Spaces by their specs, for predictors that must ask a space for its networks; whoever has spaces says so here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from device_profiles.errors import HwnasError, UsageError

if TYPE_CHECKING:
    from predictors.blocks.places import SampledSpace

_LOADERS: list[Callable[[str], SampledSpace]] = []
_KNOWN: dict[str, SampledSpace] = {}


def register(load: Callable[[str], SampledSpace]) -> None:
    """Let spaces be made of specs; `nas.spaces` does so when it is imported.

    Args:
        load: makes a space, or raises an `HwnasError`.
    """
    _LOADERS.append(load)


def remember(spec: str, space: SampledSpace) -> None:
    """Know a space by its spec in this process, such as one of the user's own."""
    _KNOWN[spec] = space


def find(spec: str) -> SampledSpace:
    """The space of a spec.

    Raises:
        UsageError: nobody knows it.
    """
    why = "no package of spaces was imported"
    if spec in _KNOWN:
        return _KNOWN[spec]
    for load in _LOADERS:
        try:
            return _KNOWN.setdefault(spec, load(spec))
        except HwnasError as error:
            why = error.message
    raise UsageError(
        f"this predictor asks the space {spec} for its networks, and nobody knows it: {why}",
        hint="import nas; or, for a space of your own, predictors.searched.remember(space.spec, space).",
    )
