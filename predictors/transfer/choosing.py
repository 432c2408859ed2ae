"""Which architectures to measure: those that take most uncertainty out of the whole pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.transfer.genes import Floats, Genes
from predictors.transfer.mixture import Places, kernels


@dataclass(frozen=True)
class Belief:
    """A kernel to choose by.

    Attributes:
        weight: how much it counts, above 0.
        variances: `(7,)`, of the kernel's parts.
        noise: variance of a measurement's noise relative to the squared level.
    """

    weight: float
    variances: Floats
    noise: float


def greedy(
    candidates: Places, genes: Genes, *, beliefs: Sequence[Belief], n: int, measured: Places | None = None
) -> NDArray[np.int64]:
    """Indices of `n` candidates, each the one that lessens the summed posterior variance of all candidates most.

    Under several beliefs it is the weighed mean of the shares of variance that each sees taken away.

    Source: Seo et al., "Gaussian process regression: active data selection and test point rejection", IJCNN 2000,
        section 3 (after Cohn, 1996).

    Args:
        candidates: at least `n`, all different.
        genes: the space.
        beliefs: at least one.
        n: how many.
        measured: what was measured before.
    """
    parts = kernels(candidates, candidates, genes)
    covariances = [np.tensordot(belief.variances, parts, axes=1) for belief in beliefs]
    if measured is not None:
        across, own = kernels(candidates, measured, genes), kernels(measured, measured, genes)
        for belief, covariance in zip(beliefs, covariances, strict=True):
            between = np.tensordot(belief.variances, across, axes=1)
            noise = np.diag(belief.noise * measured.level**2)
            solved = np.linalg.solve(np.tensordot(belief.variances, own, axes=1) + noise, between.T)
            np.subtract(covariance, between @ solved, out=covariance)
    totals = [max(float(np.trace(covariance)), 1e-12) for covariance in covariances]
    chosen: list[int] = []
    for _ in range(n):
        gain = np.zeros(len(candidates))
        spread = []
        for belief, covariance, total in zip(beliefs, covariances, totals, strict=True):
            spread.append(np.maximum(np.diag(covariance), 0.0) + belief.noise * candidates.level**2)
            gain += belief.weight / total * np.einsum("ij,ij->j", covariance, covariance) / spread[-1]
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        chosen.append(best)
        for covariance, own_spread in zip(covariances, spread, strict=True):
            column = covariance[:, best].copy()
            np.subtract(covariance, np.outer(column, column / own_spread[best]), out=covariance)
    return np.array(chosen, dtype=np.int64)
