"""Dominance and what follows from it. All arrays are costs, lower is better.

Fronts and ranks of finite points are moocore's; failed points and bounds are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Floats


def nondominated(costs: Floats) -> NDArray[np.bool_]:
    """Which points no other point dominates.

    `a` dominates `b` if it is nowhere worse and somewhere better; equal points do not dominate each other.

    Source: Deb et al., IEEE TEVC 6(2), 2002, section II; computed by moocore.

    Args:
        costs: `(n, m)`; rows with a NaN or an infinity are never non-dominated, and dominate nothing.

    Returns:
        `(n,)`.

    Raises:
        UsageError: `costs` is not two-dimensional.
    """
    costs = _matrix(costs)
    finite = np.isfinite(costs).all(axis=1)
    result = np.zeros(len(costs), dtype=np.bool_)
    rows = np.flatnonzero(finite)
    if len(rows) == 0:
        return result
    result[rows] = _moocore().is_nondominated(costs[rows], keep_weakly=True)
    return result


def ranks(costs: Floats, violations: Floats | None = None) -> NDArray[np.int64]:
    """Non-dominated sorting: 0 for the front, 1 for the front of the rest, and so on.

    Feasible points come before infeasible ones, which are ranked by how much they violate; failed points (NaN,
    infinity) come last.

    Source: Deb et al., IEEE TEVC 6(2), 2002, sections III-A and VI (constraint domination); sorted by moocore.

    Args:
        costs: `(n, m)`.
        violations: `(n,)`, at least 0, or None; NaN is the worst of all.

    Returns:
        `(n,)`.
    """
    costs = _matrix(costs)
    result = np.full(len(costs), -1, dtype=np.int64)
    finite = np.isfinite(costs).all(axis=1)
    amount = np.zeros(len(costs)) if violations is None else np.nan_to_num(violations, nan=np.inf, posinf=np.inf)
    rows = np.flatnonzero(finite & (amount <= 0))
    level = 0
    if len(rows):
        found = _moocore().pareto_rank(costs[rows])
        result[rows] = found
        level = int(found.max()) + 1
    infeasible = np.flatnonzero(finite & (amount > 0))
    if len(infeasible):
        _, order = np.unique(amount[infeasible], return_inverse=True)
        result[infeasible] = level + order.reshape(-1)
        level += int(order.max()) + 1
    result[~finite] = level
    return result


def crowding_distance(costs: Floats) -> Floats:
    """Crowding distance of points on one front.

    Source: Deb et al., IEEE TEVC 6(2), 2002, section III-B. Of equal points all but the first get 0, so that copies do
        not crowd.

    Args:
        costs: `(n, m)`, all finite.

    Returns:
        `(n,)`; the ends of each objective are infinite; a constant objective adds 0.

    Raises:
        UsageError: `costs` is not two-dimensional, or has a NaN or an infinity.
    """
    costs = _matrix(costs)
    if not np.isfinite(costs).all():
        raise UsageError("crowding distance needs finite costs, without NaN")
    result = np.zeros(len(costs))
    if len(costs) == 0:
        return result
    _, first = np.unique(costs, axis=0, return_index=True)
    points = costs[first]
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        if spread > 0:
            distance[order[[0, -1]]] = np.inf
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    if len(points) <= 2:
        distance[:] = np.inf
    result[first] = distance
    return result


def weighted_sum(costs: Floats, weights: Floats, ideal: Floats, nadir: Floats) -> Floats:
    """Linear scalarisation of normalised costs, `(n,)`; it finds only points on the convex hull.

    Source: Miettinen, "Nonlinear multiobjective optimization", 1999, section 3.1.
    """
    return np.asarray(_normalised(costs, ideal, nadir) @ np.asarray(weights, dtype=np.float64))


def chebyshev(costs: Floats, weights: Floats, ideal: Floats, nadir: Floats, *, rho: float = 0.05) -> Floats:
    """Augmented Chebyshev scalarisation of normalised costs, `(n,)`; it reaches points off the convex hull too.

    Source: Steuer & Choo, Mathematical Programming 26, 1983; `rho` as in ParEGO (Knowles, IEEE TEVC 10(1), 2006).
    """
    weighted = _normalised(costs, ideal, nadir) * np.asarray(weights, dtype=np.float64)
    return np.asarray(weighted.max(axis=1) + rho * weighted.sum(axis=1))


def _normalised(costs: Floats, ideal: Floats, nadir: Floats) -> Floats:
    ideal, nadir = np.asarray(ideal, dtype=np.float64), np.asarray(nadir, dtype=np.float64)
    return np.asarray((_matrix(costs) - ideal) / np.where(nadir > ideal, nadir - ideal, 1.0))


def _matrix(costs: Floats) -> Floats:
    matrix = np.asarray(costs, dtype=np.float64)
    if matrix.ndim != 2:
        raise UsageError(f"costs must be a matrix (n, m), got shape {matrix.shape}")
    return matrix


def _moocore() -> Any:
    import moocore

    return moocore
