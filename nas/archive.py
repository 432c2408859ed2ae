"""What a strategy has seen: no network is asked for twice, and the last unseen ones are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.strategies.protocol import Archs, Problem

#: Spaces up to this size can be enumerated when random draws find nothing new.
ENUMERABLE = 1_000_000
#: Draws of random genomes before a space is believed to be nearly exhausted.
DRAWS = 100


class Seen:
    """Networks that were told, by canonical form."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._keys: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self, archs: Archs) -> list[bytes]:
        """One key for each row; equal keys are the same network."""
        rows = np.ascontiguousarray(
            archs if self._problem.canonical is None else self._problem.canonical(archs), dtype=np.int64
        )
        raw, width = rows.tobytes(), rows.shape[1] * 8
        return [raw[i : i + width] for i in range(0, len(raw), width)]

    def add(self, archs: Archs) -> None:
        """Remember rows."""
        self._keys.update(self.keys(archs))

    def fresh(self, archs: Archs, taken: set[bytes]) -> NDArray[np.int64]:
        """Indices of rows that are valid, were not seen, and are not in `taken`, which they join.

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
        choices = np.array(self._problem.choices, dtype=np.int64)
        parts: list[Archs] = []
        missing = count
        for _ in range(DRAWS):
            if missing <= 0:
                break
            drawn = rng.integers(0, choices, size=(max(2 * missing, 8), len(choices)))
            kept = drawn[self.fresh(drawn, taken)]
            for row in kept[missing:]:
                taken.discard(self.keys(row[None])[0])
            parts.append(kept[:missing])
            missing -= len(parts[-1])
        size = 1
        for options in self._problem.choices:
            size *= options
        if missing > 0 and size <= ENUMERABLE:
            everything = np.stack(np.unravel_index(rng.permutation(size), self._problem.choices), axis=1).astype(
                np.int64
            )
            kept = everything[self.fresh(everything, taken)]
            parts.append(kept[:missing])
        return np.concatenate(parts) if parts else np.empty((0, len(choices)), dtype=np.int64)
