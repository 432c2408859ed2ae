"""How often rows have what is numbered: sparse matrices of whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """A sparse matrix, row by row.

    Attributes:
        starts: `(n + 1,)`, where each row begins in the other two.
        numbers: `(k,)`, of what a row has.
        counts: `(k,)`, how often, as float64: they are multiplied by costs.
    """

    starts: NDArray[np.int64]
    numbers: NDArray[np.int32]
    counts: Floats

    def __len__(self) -> int:
        return len(self.starts) - 1

    @staticmethod
    def of(rows: Sequence[Mapping[int, int]]) -> Counts:
        """From rows as mappings from numbers to counts."""
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        numbers = np.fromiter((number for row in rows for number in row), dtype=np.int32, count=int(starts[-1]))
        counts = np.fromiter((count for row in rows for count in row.values()), dtype=np.float64, count=len(numbers))
        return Counts(starts, numbers, counts)

    @staticmethod
    def joined(parts: Sequence[Counts]) -> Counts:
        """Rows of several, one after the other."""
        lengths = np.concatenate([np.diff(part.starts) for part in parts])
        return Counts(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )

    def rows(self, first: int, last: int) -> Counts:
        """Rows from one number up to another."""
        starts = self.starts[first : last + 1]
        inside = slice(int(starts[0]), int(starts[-1]))
        return Counts(starts - starts[0], self.numbers[inside], self.counts[inside])

    def row(self, number: int) -> dict[int, int]:
        """One row as a mapping."""
        here = slice(int(self.starts[number]), int(self.starts[number + 1]))
        return dict(zip(self.numbers[here].tolist(), self.counts[here].astype(np.int64).tolist(), strict=True))

    def times(self, values: Floats) -> Floats:
        """Sums over each row of counts times values: `(n,)` of `(m,)`, `(n, q)` of `(m, q)`."""
        return np.asarray(self.matrix(self.counts, len(values)) @ values)

    def matrix(self, entries: Floats, width: int) -> Any:
        """A `scipy.sparse.csr_matrix`, `(n, width)`, with entries `(k,)` in place of counts."""
        from scipy.sparse import csr_matrix

        return csr_matrix((entries, self.numbers, self.starts), shape=(len(self), width))
