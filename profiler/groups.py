"""Values of many groups reduced at once: a store has thousands of small ones, and a call for each costs more."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Groups(Generic[K]):
    """Which group each of `n` values is in.

    Attributes:
        keys: of the `g` groups, in the order of their first values.
        codes: `(n,)`, the group of each value, in 0..g-1.
        sizes: `(g,)`, values in each, at least 1.
    """

    keys: tuple[K, ...]
    codes: NDArray[np.intp]
    sizes: NDArray[np.intp]

    @staticmethod
    def of(keys: Sequence[K]) -> Groups[K]:
        """Groups of equal keys."""
        number: dict[K, int] = {}
        codes = np.fromiter((number.setdefault(key, len(number)) for key in keys), np.intp, len(keys))
        return Groups(tuple(number), codes, np.bincount(codes, minlength=len(number)).astype(np.intp))

    def counts(self, which: NDArray[np.bool_]) -> NDArray[np.intp]:
        """How many values of each group are marked: `(n,)` -> `(g,)`."""
        return np.bincount(self.codes[which], minlength=len(self.keys)).astype(np.intp)

    def quantile(self, values: NDArray[np.float64], q: float) -> NDArray[np.float64]:
        """The quantile of each group, as `np.quantile` interpolates it: `(n,)` -> `(g,)`."""
        ordered = values[np.lexsort((values, self.codes))]
        starts = np.cumsum(self.sizes) - self.sizes
        position = q * (self.sizes - 1)
        below = np.floor(position).astype(np.intp)
        share = position - below
        low, high = ordered[starts + below], ordered[starts + np.minimum(below + 1, self.sizes - 1)]
        # From the nearer end, so that equal ends give exactly that value.
        between: NDArray[np.float64] = np.where(
            share < 0.5, low + (high - low) * share, high - (high - low) * (1.0 - share)
        )
        return between
