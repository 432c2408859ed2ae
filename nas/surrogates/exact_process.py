"""Exact Gaussian processes: hyper-parameters by maximum a posteriori, predictions for a fixed set of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.surrogates import covariances
from nas.surrogates.covariances import Kernel

#: Log-normal priors: centre of the noise's variance, and the deviation of all logarithms.
_NOISE, _WIDTH = 1e-2, 1.0
#: Logarithms of hyper-parameters stay so near to the centres of their priors.
_FARTHEST = 8.0
#: Added to the diagonal, for the Cholesky factor's sake.
_JITTER = 1e-8
#: Steps of the optimiser; further ones change the evidence by less than the choice of kernel does.
_STEPS = 40


@dataclass(frozen=True)
class Fitted:
    """A kernel with its hyper-parameters.

    Attributes:
        kernel: the covariance.
        log_parameters: `(size,)`.
        noise: variance of the noise.
        evidence: log of the marginal likelihood times the prior, at the maximum.
    """

    kernel: Kernel
    log_parameters: Floats
    noise: float
    evidence: float


def fit(kernel: Kernel, inputs: Floats, targets: Floats) -> Fitted:
    """Hyper-parameters of the largest posterior density.

    Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, section 5.4.1.

    Args:
        kernel: the covariance.
        inputs: `(n, p)`.
        targets: `(n,)`, of mean 0 and variance 1.
    """
    from scipy import optimize

    tensors = [covariances.distances(part, inputs) for part in kernel.parts]
    centre = np.concatenate([*(part.centre for part in kernel.parts), [np.log(_NOISE)]])

    def loss(parameters: Floats) -> tuple[float, Floats]:
        value, slope = _negative_evidence(kernel, parameters, tensors, targets)
        off = (parameters - centre) / _WIDTH
        return value + 0.5 * float(off @ off), slope + off / _WIDTH

    bounds = [(middle - _FARTHEST, middle + _FARTHEST) for middle in centre]
    found = optimize.minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
    return Fitted(kernel, found.x[:-1], float(np.exp(found.x[-1])), -float(found.fun))


def best(choices: Sequence[Kernel], inputs: Floats, targets: Floats) -> Fitted:
    """The fitted kernel of the largest evidence, for inputs `(n, f)` and targets `(n,)`."""
    found = [fit(kernel, inputs, targets) for kernel in choices]
    return max(found, key=lambda fitted: fitted.evidence)


def _negative_evidence(
    kernel: Kernel, parameters: Floats, tensors: Sequence[Floats], targets: Floats
) -> tuple[float, Floats]:
    """Negative log marginal likelihood and its gradient by the log hyper-parameters and the log noise."""
    linalg = _linalg()
    covariance, weighted = covariances.evaluated(kernel, parameters[:-1], tensors)
    noise = float(np.exp(parameters[-1]))
    covariance[np.diag_indices(len(targets))] += noise + _JITTER
    try:
        factor = linalg.cholesky(covariance, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return 1e10, np.zeros(len(parameters))
    solved = linalg.cho_solve((factor, True), targets, check_finite=False)
    lower, _ = linalg.lapack.dpotri(factor, lower=1)
    inverse = np.tril(lower) + np.tril(lower, -1).T
    value = 0.5 * targets @ solved + np.log(np.diag(factor)).sum() + 0.5 * len(targets) * np.log(2 * np.pi)
    outer = 0.5 * (inverse - np.outer(solved, solved))
    slope = covariances.gradient(kernel, parameters[:-1], tensors, weighted, outer)
    return float(value), np.append(slope, noise * np.trace(outer))


class Posterior:
    """What a fitted process believes of a fixed set of candidates, as observations are added.

    With the Cholesky factor `L` of the observations' covariance it keeps `L^-1 K(observations, candidates)`, to which
    an observation adds one row: O(n) for each candidate.

    Args:
        fitted: kernel and hyper-parameters.
        candidates: `(N, p)`.
        capacity: observations that there is room for.
    """

    def __init__(self, fitted: Fitted, candidates: Floats, capacity: int) -> None:
        self._fitted = fitted
        self._candidates = candidates
        self._inputs = np.empty((capacity, candidates.shape[1]))
        self._factor = np.zeros((capacity, capacity))
        self._rows = np.empty((capacity, len(candidates)))
        self._count = 0
        self._variance = np.full(len(candidates), fitted.kernel.variance(fitted.log_parameters))

    def __len__(self) -> int:
        return self._count

    def observe(self, inputs: Floats) -> None:
        """Add observations' places `(k, p)`; their targets come with `mean`."""
        start, stop = self._count, self._count + len(inputs)
        if stop > len(self._inputs):
            self._grow(max(stop, 2 * len(self._inputs)))
        linalg, fitted, before = _linalg(), self._fitted, self._inputs[:start]
        self._inputs[start:stop] = inputs
        across = fitted.kernel.between(fitted.log_parameters, before, inputs)
        within = fitted.kernel.between(fitted.log_parameters, inputs, inputs)
        within[np.diag_indices(len(inputs))] += fitted.noise + _JITTER
        factor = self._factor[:start, :start]
        whitened = linalg.solve_triangular(factor, across, lower=True, check_finite=False) if start else across
        corner = linalg.cholesky(within - whitened.T @ whitened, lower=True, check_finite=False)
        rows = fitted.kernel.between(fitted.log_parameters, inputs, self._candidates)
        rows = linalg.solve_triangular(corner, rows - whitened.T @ self._rows[:start], lower=True, check_finite=False)
        self._factor[start:stop, :start] = whitened.T
        self._factor[start:stop, start:stop] = corner
        self._rows[start:stop] = rows
        self._variance -= (rows * rows).sum(axis=0)
        self._count = stop

    def mean(self, targets: Floats) -> Floats:
        """Mean of each candidate `(N,)` for targets `(n,)` of all observations so far."""
        count = self._count
        whitened = _linalg().solve_triangular(self._factor[:count, :count], targets, lower=True, check_finite=False)
        return np.asarray(whitened @ self._rows[:count])

    @property
    def deviation(self) -> Floats:
        """Standard deviation of each candidate, without noise, `(N,)`."""
        return np.asarray(np.sqrt(np.maximum(self._variance, 1e-10)))

    def imagine(self, candidate: int) -> None:
        """Shrink the deviations as if a candidate were observed at its mean, which leaves all means as they are."""
        fitted, count = self._fitted, self._count
        if count == len(self._inputs):
            self._grow(2 * count)
        place = self._candidates[candidate : candidate + 1]
        column = self._rows[:count, candidate].copy()
        rest = fitted.kernel.variance(fitted.log_parameters) + fitted.noise + _JITTER - float(column @ column)
        corner = float(np.sqrt(max(rest, 1e-10)))
        covariance = fitted.kernel.between(fitted.log_parameters, place, self._candidates)[0]
        row = (covariance - column @ self._rows[:count]) / corner
        self._inputs[count] = place[0]
        self._factor[count, :count], self._factor[count, count] = column, corner
        self._rows[count] = row
        self._variance -= row * row
        self._count += 1

    def of(self, candidates: NDArray[np.int64]) -> Posterior:
        """A copy for some of the candidates, `(k,)`."""
        count = self._count
        found = Posterior(self._fitted, self._candidates[candidates], max(2 * count, 64))
        found._inputs[:count] = self._inputs[:count]
        found._factor[:count, :count] = self._factor[:count, :count]
        found._rows[:count] = self._rows[:count, candidates]
        found._variance = self._variance[candidates]
        found._count = count
        return found

    def _grow(self, room: int) -> None:
        count = self._count
        inputs, factor, rows = self._inputs, self._factor, self._rows
        self._inputs = np.empty((room, inputs.shape[1]))
        self._factor = np.zeros((room, room))
        self._rows = np.empty((room, rows.shape[1]))
        self._inputs[:count], self._rows[:count] = inputs[:count], rows[:count]
        self._factor[:count, :count] = factor[:count, :count]


def _linalg() -> Any:
    from scipy import linalg

    return linalg
