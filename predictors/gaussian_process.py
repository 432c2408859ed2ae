"""The posterior mean of a Gaussian process: its length and noise are those of a few that fit best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: How rough a Matern kernel's functions are: once and twice differentiable.
Smoothness = Literal["3/2", "5/2"]
#: What decides for a length and a noise: the probability of the values, or the mean error of each left out.
Judge = Literal["evidence", "leave-one-out"]


@dataclass(frozen=True)
class Process:
    """A posterior mean with a Matern kernel; far from all points it goes to 0.

    Attributes:
        points: `(n, f)`.
        weights: `(n,)`.
        length: of the kernel.
        noise: variance of the noise, as a share of the signal's.
        smoothness: of the kernel.
        score: log marginal likelihood, or minus the mean absolute error of points left out.
    """

    points: Floats
    weights: Floats
    length: float
    noise: float
    smoothness: Smoothness
    score: float

    def predict(self, x: Floats) -> Floats:
        """Values `(m,)` at `(m, f)`."""
        return np.asarray(matern(distances(x, self.points), self.length, self.smoothness) @ self.weights)


def fit(
    x: Floats,
    y: Floats,
    *,
    lengths: Sequence[float],
    noises: Sequence[float],
    smoothness: Smoothness,
    judge: Judge,
) -> Process:
    """Fit every length and noise, and keep the best; the signal's variance is the likeliest for each.

    Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, algorithm 2.1, and sections 4.2.1
        (kernels), 5.4.1 (evidence) and 5.4.2 (leave one out).

    Args:
        x: `(n, f)`.
        y: `(n,)`, mean 0.
        lengths: of the kernel.
        noises: as shares of the signal's variance.
        smoothness: of the kernel.
        judge: what is best.
    """
    distance = distances(x, x)
    best: Process | None = None
    for length in lengths:
        values, vectors = np.linalg.eigh(matern(distance, length, smoothness))
        turned = vectors.T @ y
        for noise in noises:
            spectrum = np.maximum(values, 0.0) + noise
            weights = vectors @ (turned / spectrum)
            if judge == "evidence":
                signal = float(turned @ (turned / spectrum)) / len(y)
                score = -0.5 * (len(y) * np.log(2 * np.pi * signal) + np.log(spectrum).sum() + len(y))
            else:
                score = -np.mean(np.abs(weights / (vectors**2 @ (1.0 / spectrum))))
            if best is None or score > best.score:
                best = Process(x, weights, length, noise, smoothness, float(score))
    assert best is not None, "there is a length and a noise"
    return best


def distances(left: Floats, right: Floats) -> Floats:
    """Euclidean distances `(n, m)` of points `(n, f)` and `(m, f)`."""
    square = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def matern(distance: Floats, length: float, smoothness: Smoothness) -> Floats:
    """Correlations at distances, of the same shape."""
    if smoothness == "3/2":
        scaled = np.sqrt(3.0) * distance / length
        return np.asarray((1.0 + scaled) * np.exp(-scaled))
    scaled = np.sqrt(5.0) * distance / length
    return np.asarray((1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled))
