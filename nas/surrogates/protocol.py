"""What a surrogate is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nas.arrays import Floats


class Surrogate(Protocol):
    """A fitted model of one cost."""

    def predict(self, x: Floats) -> Floats:
        """Costs `(n,)` at `(n, f)`."""


class Fit(Protocol):
    """`SURROGATE` of a surrogate's module.

    It may rely on what `nas.surrogates.choice.fit` sees to: at least 4 rows, no two of them equal, no constant column,
    `y` of mean 0 and variance 1. All that is random comes from `rng`.
    """

    def __call__(self, x: Floats, y: Floats, rng: np.random.Generator) -> Surrogate:
        """Fit costs `(n,)` at `(n, f)`."""
