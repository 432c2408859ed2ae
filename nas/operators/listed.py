"""Genomes of which there is a list: a table has values of these and of no others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs
from nas.streams import stream

#: Genomes whose nearest rows are looked for at once, so that the matrix of all pairs stays small.
_TOGETHER = 128


@dataclass(frozen=True, eq=False)
class Listed:
    """The only genomes that there are, where they are not all of a space.

    Attributes:
        rows: `(k, d)`, all different. Where several are equally near the first one wins, so their order should say
            nothing of what they cost.
        choices: options per gene.
    """

    rows: Archs
    choices: tuple[int, ...]

    @staticmethod
    def of(rows: Archs, choices: tuple[int, ...], seed: int) -> Listed:
        """A list of `(k, d)` rows in a random order of its own, whatever order they were given in."""
        distinct = np.unique(np.asarray(rows, dtype=np.int64).reshape(-1, len(choices)), axis=0)
        return Listed(stream(seed, "operators.listed").permutation(distinct), choices)

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, archs: Archs) -> NDArray[np.bool_]:
        """Which of `(n, d)` are in the list, `(n,)`."""
        rows = np.ascontiguousarray(archs, dtype=np.int64)
        return np.array([row.tobytes() in self._keys for row in rows], dtype=np.bool_)

    def nearest(self, archs: Archs, among: NDArray[np.int64]) -> Archs:
        """For each of `(n, d)` the row that has most genes in common with it, `(n, d)`.

        Args:
            archs: genomes.
            among: places `(k,)` of the rows that may be taken, at least one.
        """
        rows, found = self._indicators(self.rows[among]).T, []
        for start in range(0, len(archs), _TOGETHER):
            common = self._indicators(archs[start : start + _TOGETHER]) @ rows
            found.append(self.rows[among[np.argmax(common, axis=1)]])
        return np.concatenate(found) if found else archs

    def _indicators(self, archs: Archs) -> NDArray[np.float32]:
        """A column for each option of each gene, `(n, sum(choices))`: the product of two is how many genes agree."""
        return np.concatenate(
            [archs[:, gene, None] == np.arange(options) for gene, options in enumerate(self.choices)], axis=1
        ).astype(np.float32)

    @cached_property
    def _keys(self) -> frozenset[bytes]:
        return frozenset(row.tobytes() for row in np.ascontiguousarray(self.rows, dtype=np.int64))
