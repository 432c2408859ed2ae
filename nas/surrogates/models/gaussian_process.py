"""A Gaussian process with one length for all columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.arrays import Floats

#: Length scales, in the median distance of the points, and variances of the noise that are tried.
LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
NOISES = (1e-3, 1e-2, 0.1, 0.3)


@dataclass(frozen=True)
class Process:
    """The posterior mean, with a Matern-5/2 kernel.

    Attributes:
        points: `(n, f)`.
        weights: `(n,)`.
        length: of the kernel.
        noise: variance of the noise, as a share of the signal's.
        evidence: log marginal likelihood.
    """

    points: Floats
    weights: Floats
    length: float
    noise: float
    evidence: float

    def predict(self, x: Floats) -> Floats:
        """Costs `(n,)` at `(n, f)`; far from all points they go to 0."""
        return np.asarray(_matern(_distances(x, self.points) / self.length) @ self.weights)


def fit(x: Floats, y: Floats, rng: np.random.Generator) -> Process:
    """Fit by the largest evidence over a grid of lengths and noises; the signal's variance is the best for each.

    Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, algorithm 2.1 and section 5.4.1. The
        paper of NSGANetV2 (Lu et al., ECCV 2020) uses one length for each gene (DACE); few lengths and no gradients
        make it fast and safe for few points.

    Args:
        x: `(n, f)`.
        y: `(n,)`, mean 0.
        rng: not used.
    """
    distance = _distances(x, x)
    unit = float(np.median(distance[np.triu_indices(len(x), 1)]))
    best: Process | None = None
    for length in LENGTHS:
        values, vectors = np.linalg.eigh(_matern(distance / (length * unit)))
        turned = vectors.T @ y
        for noise in NOISES:
            spectrum = np.maximum(values, 0.0) + noise
            signal = float(turned @ (turned / spectrum)) / len(y)
            evidence = -0.5 * (len(y) * np.log(2 * np.pi * signal) + np.log(spectrum).sum() + len(y))
            if best is None or evidence > best.evidence:
                best = Process(x, vectors @ (turned / spectrum), length * unit, noise, float(evidence))
    assert best is not None
    return best


def _distances(left: Floats, right: Floats) -> Floats:
    square = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def _matern(distance: Floats) -> Floats:
    scaled = np.sqrt(5.0) * distance
    return np.asarray((1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled))


SURROGATE = fit
