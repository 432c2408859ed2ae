"""How many objectives a front really has: objectives that rank architectures alike are one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.arrays import Costs, Floats

#: From which absolute rank correlation on two objectives are said to be one.
ALIKE = 0.95
#: Architectures from which on a correlation says something.
ENOUGH = 10


def spearman(costs: Costs) -> Floats:
    """Rank correlation of each two objectives, `(m, m)`; NaN for an objective that is constant.

    Source: Spearman, "The proof and measurement of association between two things", American Journal of Psychology
        15, 1904; equal values share the mean of their ranks.

    Args:
        costs: `(n, m)`, finite.
    """
    from scipy.stats import rankdata

    ranks = np.asarray(rankdata(costs, axis=0), dtype=np.float64)
    centred = ranks - ranks.mean(axis=0) if len(ranks) else ranks
    sizes = np.sqrt((centred**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.clip(centred.T @ centred / np.outer(sizes, sizes), -1.0, 1.0))


def effective_dimension(front: Costs) -> float | None:
    """How many independent directions a front extends in: the participation ratio of its rank correlations.

    With the eigenvalues `l` of the correlation matrix, `sum(l)^2 / sum(l^2)`. Two objectives that trade off give 1, a
    line; `m` objectives that trade off evenly give `m - 1`. Clearly less than `m - 1` means that some objective could
    be left out. Constant objectives add nothing.

    Source: Deb & Saxena, "Searching for Pareto-optimal solutions through dimensionality reduction for certain
        large-dimensional multi-objective optimization problems", CEC 2006 (principal components of a front); Kramer &
        MacKinnon, "Localization: theory and experiment", Reports on Progress in Physics 56, 1993 (the ratio).

    Args:
        front: `(n, m)`, finite.

    Returns:
        From 1 to m; None with fewer than 3 points, or if all objectives are constant.
    """
    correlation = spearman(front)
    varies = np.isfinite(np.diag(correlation))
    if len(front) < 3 or not varies.any():
        return None
    values = np.linalg.eigvalsh(correlation[np.ix_(varies, varies)])
    return max(float(values.sum() ** 2 / (values**2).sum()), 1.0)


def alike(costs: Costs, names: Sequence[str], *, threshold: float = ALIKE) -> list[tuple[str, str, float]]:
    """Pairs of objectives that rank architectures alike, or in reverse, with their rank correlation.

    Ask it of everything that was evaluated, not of a front: of two objectives every front is ranked in reverse.

    Args:
        costs: `(n, m)`; rows that are not finite are left out.
        names: `m` names.
        threshold: absolute correlation above which a pair is named.

    Returns:
        The strongest first; none where fewer than `ENOUGH` rows are finite.
    """
    finite = costs[np.isfinite(costs).all(axis=1)]
    if len(finite) < ENOUGH:
        return []
    correlation = spearman(finite)
    found = [
        (names[i], names[j], float(correlation[i, j]))
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if abs(correlation[i, j]) > threshold
    ]
    return sorted(found, key=lambda pair: -abs(pair[2]))
