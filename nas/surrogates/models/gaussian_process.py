"""A Gaussian process with one length for all columns."""

from __future__ import annotations

import numpy as np

from nas.arrays import Floats
from predictors import gaussian_process
from predictors.gaussian_process import Process

#: Length scales, in the median distance of the points, and variances of the noise that are tried.
LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
NOISES = (1e-3, 1e-2, 0.1, 0.3)


def fit(x: Floats, y: Floats, rng: np.random.Generator) -> Process:
    """Fit by the largest evidence over a grid of lengths and noises (`predictors.gaussian_process`).

    Source: the paper of NSGANetV2 (Lu et al., ECCV 2020) uses one length for each gene (DACE); few lengths and no
        gradients make it fast and safe for few points.

    Args:
        x: `(n, f)`.
        y: `(n,)`, mean 0.
        rng: not used.
    """
    unit = float(np.median(gaussian_process.distances(x, x)[np.triu_indices(len(x), 1)]))
    lengths = [length * unit for length in LENGTHS]
    return gaussian_process.fit(x, y, lengths=lengths, noises=NOISES, smoothness="5/2", judge="evidence")


SURROGATE = fit
