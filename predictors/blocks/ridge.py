"""Ridge regression with an intercept on sparse rows, its penalty by leaving each row out once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fit(rows: Any, values: Floats, penalties: Sequence[float]) -> tuple[Floats, float]:
    """Coefficients and intercept, which is not penalised.

    Source: Hoerl and Kennard, "Ridge regression", Technometrics 12(1), 1970; the penalty by leaving one row out,
        Golub, Heath and Wahba, Technometrics 21(2), 1979.

    Args:
        rows: a sparse matrix, `(n, p)`.
        values: `(n,)`.
        penalties: that are tried.

    Returns:
        `(p,)`, and the intercept.
    """
    count = len(values)
    center = np.asarray(rows.mean(axis=0)).reshape(-1)
    mean = float(values.mean())
    left = values - mean
    if rows.shape[1] < count:
        gram = (rows.T @ rows).toarray() - count * np.outer(center, center)
        spreads, vectors = _decomposed(gram)
        directions = (rows @ vectors - center @ vectors) / np.sqrt(spreads)
    else:
        along = np.asarray(rows @ center)
        gram = (rows @ rows.T).toarray() - along[:, None] - along[None, :] + center @ center
        spreads, directions = _decomposed(gram)
    told = directions.T @ left
    squares = directions**2

    def wrong(penalty: float) -> float:
        """Mean square of errors on rows that are left out."""
        kept = spreads / (spreads + penalty)
        errors = (left - directions @ (kept * told)) / (1.0 - 1.0 / count - squares @ kept)
        return float(np.mean(errors**2))

    best = min(penalties, key=wrong)
    coefficients = np.asarray(rows.T @ (directions @ (told / (spreads + best))))
    return coefficients, mean - float(center @ coefficients)


def _decomposed(gram: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues above rounding, and their vectors in columns."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return values[kept], vectors[:, kept]
