"""What a strategy has seen: no network is asked for twice, and the last unseen ones are found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs
from nas.operators.listed import Listed
from nas.operators.protocol import Problem

#: Spaces up to this size can be enumerated when random draws find nothing new.
ENUMERABLE = 1_000_000
#: Rows of a list that are looked at together.
_CHUNK = 1_024
#: Draws of random genomes before a space is believed to be nearly exhausted.
DRAWS = 100


class Seen:
    """Networks that were told, by canonical form."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._keys: set[bytes] = set()
        self._places: dict[bytes, list[int]] = {}
        if problem.listed is not None:
            for place, key in enumerate(self.keys(problem.listed.rows)):
                self._places.setdefault(key, []).append(place)

    def __len__(self) -> int:
        return len(self._keys)

    def knows(self, key: bytes) -> bool:
        """Whether a network of this key was told."""
        return key in self._keys

    def keys(self, archs: Archs) -> list[bytes]:
        """One key for each row of `(n, d)`; equal keys are the same network."""
        rows = np.ascontiguousarray(
            archs if self._problem.canonical is None else self._problem.canonical(archs), dtype=np.int64
        )
        raw, width = rows.tobytes(), rows.shape[1] * 8
        return [raw[i : i + width] for i in range(0, len(raw), width)]

    def add(self, archs: Archs) -> None:
        """Remember rows, `(n, d)`."""
        self._keys.update(self.keys(archs))

    def fresh(self, archs: Archs, taken: set[bytes]) -> NDArray[np.int64]:
        """Indices `(k,)` of rows that are valid, were not seen, and are not in `taken`, which they join.

        The first of equal rows wins.
        """
        if len(archs) == 0:
            return np.empty(0, dtype=np.int64)
        valid = np.ones(len(archs), dtype=np.bool_) if self._problem.valid is None else self._problem.valid(archs)
        found = []
        for index, key in enumerate(self.keys(archs)):
            if valid[index] and key not in self._keys and key not in taken:
                taken.add(key)
                found.append(index)
        return np.array(found, dtype=np.int64)

    def unseen(self, count: int, rng: np.random.Generator, taken: set[bytes]) -> Archs:
        """Up to `count` random networks that were not seen, `(<=count, d)`.

        They join `taken`. Fewer mean that there are no more.
        """
        if self._problem.listed is not None:
            return self._unseen_rows(self._problem.listed, count, rng, taken)
        choices = np.array(self._problem.choices, dtype=np.int64)
        parts: list[Archs] = []
        missing = count
        for _ in range(DRAWS):
            if missing <= 0:
                break
            drawn = rng.integers(0, choices, size=(max(2 * missing, 8), len(choices)))
            parts.append(self.first(drawn, missing, taken))
            missing -= len(parts[-1])
        size = 1
        for options in self._problem.choices:
            size *= options
        if missing > 0 and size <= ENUMERABLE:
            everything = np.stack(np.unravel_index(rng.permutation(size), self._problem.choices), axis=1).astype(
                np.int64
            )
            parts.append(self.first(everything, missing, taken))
        return np.concatenate(parts) if parts else np.empty((0, len(choices)), dtype=np.int64)

    def offspring(
        self, count: int, rng: np.random.Generator, taken: set[bytes], make: Callable[[int], Archs] | None
    ) -> Archs:
        """Up to `count` networks that were not seen, `(<=count, d)`: children, then random ones where those run out.

        Args:
            count: how many.
            rng: of the random ones.
            taken: keys that must not come; those that come join it.
            make: gives about as many genomes as it is asked for; drawn from until 100 times were not enough. None
                where there are no parents.
        """
        parts: list[Archs] = []
        missing = count
        for _ in range(DRAWS if make is not None else 0):
            if missing <= 0:
                break
            assert make is not None
            children = make(max(missing + missing // 2, 4))
            parts.append(self.first(children, missing, taken))
            missing -= len(parts[-1])
        if missing > 0:
            parts.append(self.unseen(missing, rng, taken))
        return np.concatenate(parts) if parts else np.empty((0, len(self._problem.choices)), dtype=np.int64)

    def first(self, archs: Archs, count: int, taken: set[bytes]) -> Archs:
        """The first `count` rows of `(n, d)` that are valid, new and distinct; they join `taken`.

        Where genomes are listed, those that are not in the list stand for the nearest new ones that are.
        """
        if self._problem.listed is not None:
            archs = self._in_list(self._problem.listed, archs, taken)
        kept = archs[self.fresh(archs, taken)]
        for key in self.keys(kept[count:]) if len(kept) > count else ():
            taken.discard(key)
        return kept[:count]

    def _unseen_rows(self, listed: Listed, count: int, rng: np.random.Generator, taken: set[bytes]) -> Archs:
        """As `unseen`, of a list."""
        rows, parts, missing = listed.rows[rng.permutation(len(listed))], [listed.rows[:0]], count
        for start in range(0, len(rows), _CHUNK):
            if missing <= 0:
                break
            parts.append(self.first(rows[start : start + _CHUNK], missing, taken))
            missing -= len(parts[-1])
        return np.concatenate(parts)

    def _in_list(self, listed: Listed, archs: Archs, taken: set[bytes]) -> Archs:
        """Rows `(n, d)`, of which those that are not listed become the nearest listed one that is new."""
        outside = ~listed.has(archs)
        if not outside.any():
            return archs
        new = np.ones(len(listed), dtype=np.bool_)
        for key in (*self._keys, *taken):
            new[self._places.get(key, [])] = False
        among = np.flatnonzero(new)
        if len(among) == 0:
            return archs[~outside]
        found = np.array(archs, dtype=np.int64)
        found[outside] = listed.nearest(found[outside], among)
        return found
