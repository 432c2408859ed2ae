"""Predicted costs as sums over genes, and how far they are off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.arrays import Archs, Floats
from nas.gradient.parts.costs import one_hot
from nas.gradient.protocol import DifferentiableCost, GradientProblem
from nas.streams import stream

#: Samples of the space that a sum is fitted to: at least so many, and so many for each option. One in so many is held
#: out to tell the error.
_LEAST, _EACH, _HELD = 512, 4, 4


@dataclass(frozen=True)
class Affine:
    """A cost as a sum over genes.

    Attributes:
        parts: for each gene `(options,)`, in the cost's unit; the constant is in the first.
        error: root mean square of the relative error on samples that were held out while it was taken.
    """

    parts: tuple[Floats, ...]
    error: float

    def predict(self, archs: Archs) -> Floats:
        """The sum for `(n, d)` architectures, `(n,)`, in the cost's unit."""
        rows = [part[archs[:, gene]] for gene, part in enumerate(self.parts)]
        return np.asarray(np.sum(rows, axis=0), dtype=np.float64)


def affine(problem: GradientProblem, cost: DifferentiableCost, around: Archs) -> Affine:
    """Fit a sum over genes by least squares.

    Args:
        problem: the space and the seed.
        cost: what it is to be near to.
        around: `(n, d)`, architectures to fit beside the samples: neighbours of the references.
    """
    space = problem.space
    count = min(max(_LEAST, _EACH * sum(space.choices)), space.size)
    drawn = space.sample(count, stream(problem.seed, "blockwise.samples"))
    fitted, held = np.concatenate([drawn[count // _HELD :], around]), drawn[: count // _HELD]
    error = 0.0
    if len(held):
        true = one_hot(cost, held, space.choices)
        off = Affine(_fit(space.choices, fitted, one_hot(cost, fitted, space.choices)), 0.0).predict(held) - true
        error = float(np.sqrt(np.mean((off / np.maximum(np.abs(true), 1e-300)) ** 2)))
    rows = np.concatenate([drawn, around])
    return Affine(_fit(space.choices, rows, one_hot(cost, rows, space.choices)), error)


def _fit(choices: tuple[int, ...], archs: Archs, values: Floats) -> tuple[Floats, ...]:
    """Least squares of the smallest norm around the mean: `(options,)` for each gene; they add up to the values."""
    starts = np.cumsum((0, *choices))[:-1]
    design = np.zeros((len(archs), sum(choices)))
    design[np.arange(len(archs))[:, None], archs + starts] = 1.0
    mean = float(values.mean())
    effects = np.linalg.lstsq(design, values - mean, rcond=None)[0]
    parts = np.split(effects, starts[1:])
    parts[0] = parts[0] + mean
    return tuple(parts)
