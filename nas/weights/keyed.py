"""A space as the key of a cache."""

from __future__ import annotations

from nas.spaces.protocol import Space


class Keyed:
    """A space, equal to others of its kind and spec."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.key = (type(space), space.spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)
