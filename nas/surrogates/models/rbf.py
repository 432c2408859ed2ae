"""Radial basis functions: cubic, with a linear tail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.arrays import Floats

#: Added to the diagonal: costs of trained networks are noisy.
SMOOTHING = 0.1
#: Directions in which the points differ less than this share of the widest are none.
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Rbf:
    """A cubic interpolant, slightly smoothed.

    Attributes:
        center: `(f,)`.
        axes: `(f, r)`, orthonormal: the directions in which the points differ.
        interpolant: of scipy, over `(n, r)`.
    """

    center: Floats
    axes: Floats
    interpolant: Any

    def predict(self, x: Floats) -> Floats:
        """Costs `(n,)` at `(n, f)`."""
        return np.asarray(self.interpolant((x - self.center) @ self.axes), dtype=np.float64)


def fit(x: Floats, y: Floats, rng: np.random.Generator) -> Rbf:
    """Fit a cubic radial basis function with a linear tail.

    Columns of options are not independent (those of a gene sum to 1), and points may be fewer than columns, so that a
    linear tail is not unique. It is on the points' own principal axes, at most half as many as points: with more, the
    tail alone passes through all points, and predicts badly between them.

    Source: Powell, "The theory of radial basis function approximation in 1990", 1992; as a surrogate in NSGANetV2 (Lu
        et al., ECCV 2020, section 3.2). The paper interpolates; the smoothing is ours.

    Args:
        x: `(n, f)`, rows distinct.
        y: `(n,)`.
        rng: not used.
    """
    from scipy.interpolate import RBFInterpolator

    center = x.mean(axis=0)
    _, spread, axes = np.linalg.svd(x - center, full_matrices=False)
    kept = axes[: min(int((spread > _LEAST_SPREAD * spread[0]).sum()), len(x) // 2)].T
    return Rbf(center, kept, RBFInterpolator((x - center) @ kept, y, kernel="cubic", degree=1, smoothing=SMOOTHING))


SURROGATE = fit
