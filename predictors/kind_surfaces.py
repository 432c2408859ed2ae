"""A smooth surface for each kind of kernel: a Gaussian process over the logs of its sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors import gaussian_process
from predictors.features import smooth_columns
from predictors.models.protocol import Floats

#: Fewest kernels of a kind for a surface of its own.
LEAST = 5
#: Length scales, in standard deviations of the columns, and shares of noise that are tried.
LENGTHS = (1.0, 2.0, 4.0, 8.0)
NOISES = (0.003, 0.02, 0.1)
#: Columns that hardly differ are not blown up.
_LEAST_SCALE = 0.3


@dataclass(frozen=True)
class Surface:
    """The posterior mean of a Gaussian process with a Matern-3/2 kernel, chosen by leave-one-out errors.

    Attributes:
        points: `(n, columns)`, standardised.
        weights: `(n,)`.
        center: `(columns,)`.
        scale: `(columns,)`; infinite for columns that do not differ.
        length: of the kernel.
    """

    points: Floats
    weights: Floats
    center: Floats
    scale: Floats
    length: float

    @staticmethod
    def fit(columns: Floats, values: Floats) -> Surface:
        """Fit `(n,)` values at `(n, columns)`."""
        center, deviation = columns.mean(axis=0), columns.std(axis=0)
        scale = np.where(deviation > 1e-6, np.maximum(deviation, _LEAST_SCALE), np.inf)
        points = (columns - center) / scale
        found = gaussian_process.fit(
            points, values, lengths=LENGTHS, noises=NOISES, smoothness="3/2", judge="leave-one-out"
        )
        return Surface(points, found.weights, center, scale, found.length)

    def predict(self, columns: Floats) -> Floats:
        """Values at `(m, columns)`, `(m,)`; far from all points they go to 0."""
        points = (columns - self.center) / self.scale
        distances = gaussian_process.distances(points, self.points)
        return np.asarray(gaussian_process.matern(distances, self.length, "3/2") @ self.weights)


def fit(columns: Floats, values: Floats, kinds: Sequence[str]) -> dict[str, Surface]:
    """A surface for each kind with enough kernels.

    Args:
        columns: `(k, ...)`, as `features.features` gives them.
        values: `(k,)`, logs.
        kinds: of each kernel.
    """
    smooth, names = smooth_columns(columns), np.array(kinds)
    return {
        str(kind): Surface.fit(smooth[names == kind], values[names == kind])
        for kind in np.unique(names)
        if (names == kind).sum() >= LEAST
    }


def predict(surfaces: Mapping[str, Surface], columns: Floats, kinds: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
    """Values `(k,)`, and whether the kind has a surface, `(k,)`; 0 where it has none."""
    smooth, names = smooth_columns(columns), np.array(kinds)
    values, known = np.zeros(len(names)), np.zeros(len(names), dtype=np.bool_)
    for kind in set(kinds) & surfaces.keys():
        rows = names == kind
        values[rows], known[rows] = surfaces[kind].predict(smooth[rows]), True
    return values, known
