"""How good a set of points is. Costs and fronts are lower-is-better.

Normalise them by fixed bounds first, or runs cannot be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Floats
from nas.pareto import dominance


def nondominated(costs: Floats) -> NDArray[np.bool_]:
    """Which points no other point dominates, `(n,)`; see `nas.pareto.dominance.nondominated`."""
    return dominance.nondominated(costs)


def hypervolume(costs: Floats, reference: Floats) -> float:
    """Volume that the points dominate, up to the reference.

    Source: Zitzler & Thiele, IEEE TEVC 3(4), 1999; computed by moocore (Guerreiro, Fonseca & Paquete, ACM CSUR 54(6),
        2021).

    Args:
        costs: `(n, m)`; rows that are not finite, or not better than the reference everywhere, count nothing.
        reference: `(m,)`.

    Returns:
        The volume; 0 without any point that counts.

    Raises:
        UsageError: the shapes do not fit, or the reference has a NaN.
    """
    points, bound = np.asarray(costs, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if points.ndim != 2 or bound.shape != points.shape[1:]:
        raise UsageError(f"costs must be (n, m) and the reference (m,), got shapes {points.shape} and {bound.shape}")
    if np.isnan(bound).any():
        raise UsageError(
            f"the reference must be numbers, got {bound.tolist()}", hint="Fix it before points are scored."
        )
    points = points[np.isfinite(points).all(axis=1) & (points < bound).all(axis=1)]
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(bound[0] - points.min())
    return float(_moocore().hypervolume(points, ref=bound))


def igd_plus(costs: Floats, front: Floats) -> float:
    """Mean distance from the points of the true front to what was found, counting only where that is worse.

    Source: Ishibuchi et al., "Modified distance calculation in generational distance and inverted generational
        distance", EMO 2015.

    Args:
        costs: `(n, m)`, what was found.
        front: `(k, m)`, the true front.

    Returns:
        At least 0; infinite if nothing was found.
    """
    points, target = _pair(costs, front)
    if len(points) == 0:
        return float("inf")
    return float(_moocore().igd_plus(points, ref=target))


def gd_plus(costs: Floats, front: Floats) -> float:
    """Mean distance from what was found and is not dominated to the true front, counting only where they are worse.

    Source: Ishibuchi et al., EMO 2015.

    Args:
        costs: `(n, m)`, what was found.
        front: `(k, m)`, the true front.

    Returns:
        At least 0; infinite if nothing was found.
    """
    points, target = _pair(costs, front)
    if len(points) == 0:
        return float("inf")
    points = points[dominance.nondominated(points)]
    gaps = [float(np.linalg.norm(np.maximum(point - target, 0.0), axis=1).min()) for point in points]
    return float(np.mean(gaps))


def igd(costs: Floats, front: Floats) -> float:
    """Mean Euclidean distance from the points of the true front to the nearest that was found.

    Unlike `igd_plus` it may prefer what is dominated; it is here to compare with what others publish.

    Source: Coello Coello & Reyes Sierra, "A study of the parallelization of a coevolutionary multi-objective
        evolutionary algorithm", MICAI 2004.

    Args:
        costs: `(n, m)`, what was found.
        front: `(k, m)`, the true front.

    Returns:
        At least 0; infinite if nothing was found.
    """
    points, target = _pair(costs, front)
    if len(points) == 0:
        return float("inf")
    return float(np.mean([np.linalg.norm(points - point, axis=1).min() for point in target]))


def gd(costs: Floats, front: Floats) -> float:
    """Mean Euclidean distance from what was found and is not dominated to the nearest point of the true front.

    Source: Van Veldhuizen & Lamont, "Evolutionary computation and convergence to a Pareto front", GP 1998; the plain
        mean (p = 1) of Schütze et al., "Using the averaged Hausdorff distance as a performance measure in evolutionary
        multiobjective optimization", IEEE TEVC 16(4), 2012.

    Args:
        costs: `(n, m)`, what was found.
        front: `(k, m)`, the true front.

    Returns:
        At least 0; infinite if nothing was found.
    """
    points, target = _pair(costs, front)
    if len(points) == 0:
        return float("inf")
    points = points[dominance.nondominated(points)]
    return float(np.mean([np.linalg.norm(target - point, axis=1).min() for point in points]))


def spacing(costs: Floats) -> float:
    """How unevenly what was found and is not dominated lies: the deviation of distances to the nearest neighbour.

    Distances are sums over objectives; the deviation is that of a sample, with n - 1.

    Source: Schott, "Fault tolerant design using single and multicriteria genetic algorithm optimization", MIT, 1995.

    Args:
        costs: `(n, m)`; rows that are not finite count nothing, equal rows are one.

    Returns:
        At least 0; 0 for even gaps, and for fewer than three points.

    Raises:
        UsageError: the costs are no matrix.
    """
    points = np.asarray(costs, dtype=np.float64)
    if points.ndim != 2:
        raise UsageError(f"costs must be (n, m), got shape {points.shape}")
    points = points[np.isfinite(points).all(axis=1)]
    points = np.unique(points[dominance.nondominated(points)], axis=0)
    if len(points) < 3:
        return 0.0
    gaps = np.abs(points[:, None] - points[None]).sum(axis=2)
    np.fill_diagonal(gaps, np.inf)
    return float(gaps.min(axis=1).std(ddof=1))


def r2(costs: Floats, weights: Floats, ideal: Floats) -> float:
    """Mean over weights of the least weighted Chebyshev distance to the ideal; lower is better.

    Source: Hansen & Jaszkiewicz, "Evaluating the quality of approximations to the non-dominated set", IMM-REP-1998-7;
        the unary form of Brockhoff, Wagner & Trautmann, "On the properties of the R2 indicator", GECCO 2012.

    Args:
        costs: `(n, m)`; rows that are not finite count nothing.
        weights: `(k, m)`, at least 0, such as `nas.pareto.directions.spread(m, k)`; the same for all that is compared.
        ideal: `(m,)`, at most the costs, likewise.

    Returns:
        At least 0; infinite if nothing was found.

    Raises:
        UsageError: the shapes do not fit, a weight is negative, or a number is not finite.
    """
    points, rays = np.asarray(costs, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    best = np.asarray(ideal, dtype=np.float64)
    if points.ndim != 2 or rays.ndim != 2 or rays.shape[1:] != points.shape[1:] or best.shape != points.shape[1:]:
        raise UsageError(
            f"costs must be (n, m), weights (k, m) and the ideal (m,), got {points.shape}, {rays.shape}, {best.shape}"
        )
    if len(rays) == 0 or not np.isfinite(rays).all() or rays.min() < 0 or not np.isfinite(best).all():
        raise UsageError("R2 needs at least one weight, weights of at least 0, and a finite ideal")
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        return float("inf")
    return float(np.mean([(ray * np.abs(points - best)).max(axis=1).min() for ray in rays]))


def coverage(costs: Floats, others: Floats) -> float:
    """Share of the other points that one of these weakly dominates, in 0..1.

    Source: Zitzler & Thiele, IEEE TEVC 3(4), 1999, section III (set coverage).
    """
    points, target = _pair(costs, others)
    return float(np.mean([bool((points <= point).all(axis=1).any()) for point in target]))


def distinct(costs: Floats) -> int:
    """Number of different non-dominated points of `(n, m)`."""
    points = np.asarray(costs, dtype=np.float64)
    return len(np.unique(points[dominance.nondominated(points)], axis=0))


def regret(costs: Floats, front: Floats, bounds: Floats) -> float:
    """How much worse the first cost of the best point within a bound on the second is than the best there is.

    The mean over bounds. Where nothing was found within a bound, the worst of the true front stands for it.

    Args:
        costs: `(n, 2)`, what was found.
        front: `(k, 2)`, the true front.
        bounds: `(b,)`, on the second cost; each is met by some point of the front.

    Raises:
        UsageError: there are not two objectives, or a bound that nothing meets.
    """
    points, target = _pair(costs, front)
    limits = np.asarray(bounds, dtype=np.float64)
    if target.shape[1] != 2 or len(limits) == 0 or limits.min() < target[:, 1].min():
        raise UsageError(
            f"regret needs two objectives and bounds that the front meets, got {target.shape} and {limits}"
        )
    worst = float(target[:, 0].max())
    found = [
        min(float(points[points[:, 1] <= limit, 0].min(initial=worst)), worst)
        - float(target[target[:, 1] <= limit, 0].min())
        for limit in limits
    ]
    return float(np.mean(found))


def additive_epsilon(costs: Floats, front: Floats) -> float:
    """Least amount by which the points must be improved everywhere to weakly dominate the true front.

    Source: Zitzler et al., "Performance assessment of multiobjective optimizers", IEEE TEVC 7(2), 2003.

    Args:
        costs: `(n, m)`, what was found.
        front: `(k, m)`, the true front.
    """
    points, target = _pair(costs, front)
    if len(points) == 0:
        return float("inf")
    return float(_moocore().epsilon_additive(points, ref=target))


def recall(costs: Floats, front: Floats, *, tolerance: float = 1e-9) -> float:
    """Share of the distinct points of the true front that were found.

    Args:
        costs: `(n, m)`, what was found.
        front: `(k, m)`, the true front.
        tolerance: relative to the largest value of each objective.

    Returns:
        A fraction in 0..1.
    """
    points, target = _pair(costs, front)
    distinct = np.unique(target, axis=0)
    if len(points) == 0:
        return 0.0
    allowed = tolerance * np.maximum(np.abs(distinct).max(axis=0), 1e-300)
    found = [bool((np.abs(points - point) <= allowed).all(axis=1).any()) for point in distinct]
    return float(np.mean(found))


def _pair(costs: Floats, front: Floats) -> tuple[Floats, Floats]:
    points, target = np.asarray(costs, dtype=np.float64), np.asarray(front, dtype=np.float64)
    if points.ndim != 2 or target.ndim != 2 or points.shape[1] != target.shape[1] or len(target) == 0:
        raise UsageError(
            f"costs must be (n, m) and the front (k, m) with k >= 1, got shapes {points.shape} and {target.shape}"
        )
    if not np.isfinite(target).all():
        raise UsageError("the true front has a NaN or an infinity", hint="Leave failed points out of it.")
    return points[np.isfinite(points).all(axis=1)], target


def _moocore() -> Any:
    import moocore

    return moocore
