"""The additive surface of a table: what each option of each gene costs by itself, whatever the others are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from predictors.differentiable.protocol import Archs, Floats
from predictors.encoding import CostTable

if TYPE_CHECKING:
    from predictors.differentiable._features import Features

#: Strengths of the ridge penalty that are tried, relative to the mean eigenvalue of the design.
PENALTIES = tuple(10.0**exponent for exponent in (-8, -6, -5, -4, -3, -2, -1, 0, 1))
#: Rows of the design that are held at once.
_CHUNK = 16_384


def offsets(choices: tuple[int, ...]) -> Archs:
    """`(d,)`: where each gene's options begin when the options of all genes stand side by side."""
    return np.concatenate([[0], np.cumsum(choices)[:-1]]).astype(np.int64)


def one_hot(choices: tuple[int, ...], archs: Archs) -> Floats:
    """`(n, options of all genes)`, of `(n, d)` architectures."""
    found = np.zeros((len(archs), sum(choices)))
    found[np.arange(len(archs))[:, None], archs + offsets(choices)] = 1.0
    return found


def counted(rows: Archs, size: int, dtype: Any = np.float64) -> NDArray[Any]:
    """`(n, size)`: how often each row of a table is among those of an architecture, `(n, each)`."""
    flat = (rows + size * np.arange(len(rows))[:, None]).reshape(-1)
    return np.bincount(flat, minlength=len(rows) * size).reshape(len(rows), size).astype(dtype)


def level(choices: tuple[int, ...]) -> Floats:
    """`(options of all genes,)`: the one-hot row of the average architecture."""
    return np.repeat(1.0 / np.array(choices), choices)


def fit(features: Features, archs: Archs, values: Floats, floor: float, power: float = 1.0) -> Floats:
    """Main effects by ridge regression on the error relative to a power of the value; the intercept is not penalised.

    Source: Hoerl and Kennard, "Ridge regression", Technometrics 12(1), 1970; the penalty by generalised
    cross-validation, Golub, Heath and Wahba, Technometrics 21(2), 1979, equation 2.3.

    Args:
        features: what is known of an architecture.
        archs: `(n, d)`, n >= 2.
        values: `(n,)`, above 0.
        floor: the least value that a relative error is taken of.
        power: 1 for the relative error, 0 for the absolute one.

    Returns:
        `(1 + facts,)`: a constant, then what each fact adds. Of genes, the mean over all architectures, then effects
        that add up to 0 for each gene.
    """
    weights = np.maximum(values, floor) ** (-2.0 * power)
    weights /= weights.mean()
    count, width = len(values), features.size
    total = weights.sum()
    sums, gram, moment = np.zeros(width), np.zeros((width, width)), np.zeros(width)
    for start in range(0, count, _CHUNK):
        rows = counted(features.rows(archs[start : start + _CHUNK]), width)
        weighted = rows * weights[start : start + _CHUNK, None]
        sums += weighted.sum(axis=0)
        gram += weighted.T @ rows
        moment += weighted.T @ values[start : start + _CHUNK]
    mean = float(weights @ values / total)
    gram -= np.outer(sums, sums) / total
    moment -= sums * mean
    spread = float(weights @ (values - mean) ** 2)
    eigenvalues, vectors = np.linalg.eigh(gram)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    along = vectors.T @ moment
    best, coefficients = np.inf, np.zeros(width)
    for penalty in PENALTIES:
        shrunk = eigenvalues + penalty * max(float(eigenvalues.mean()), 1e-12)
        freedom = (1.0 + float((eigenvalues / shrunk).sum())) / count
        if freedom > 0.95:
            continue
        left = spread - float((2 * along**2 / shrunk - eigenvalues * along**2 / shrunk**2).sum())
        score = max(left, 0.0) / (1.0 - freedom) ** 2
        if score < best * (1 - 1e-9):
            best, coefficients = score, vectors @ (along / shrunk)
    intercept = mean - float(sums @ coefficients) / total
    return features.centred(np.concatenate([[intercept], coefficients]))


def table(choices: tuple[int, ...], effects: Floats) -> CostTable:
    """Effects `(1 + options of all genes,)` as a table with one part for each gene; the intercept is in the first."""
    parts = np.split(effects[1:], np.cumsum(choices)[:-1])
    parts[0] = parts[0] + effects[0]
    return CostTable(choices, tuple((gene,) for gene in range(len(choices))), tuple(parts))
