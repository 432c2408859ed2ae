"""Fronts of costs that are uncertain: what is surely on the front, and which orders are resolved.

Example:
    >>> import numpy as np
    >>> from nas.pareto import noise
    >>> archs, cost = np.array([[0], [1]]), np.array([[1.0], [1.1]])
    >>> seen = noise.from_intervals(archs, cost, cost - 0.2, cost + 0.2)
    >>> noise.membership(noise.draws(seen, np.random.default_rng(0))).round(1)
    array([0.7, 0.3])

All arrays are costs, lower is better. What is uncertain comes either as replicates or as 90 % intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs, Floats

#: Normal quantile of a two-sided 90 % interval.
Z90 = NormalDist().inv_cdf(0.95)
#: Replicates from which an architecture's own spread is used; with fewer, what all of them deviate by is pooled.
OWN = 5
#: Draws of the truth.
DRAWS = 1000


@dataclass(frozen=True)
class Replicates:
    """Architectures whose costs are known up to noise.

    Attributes:
        archs: `(n, d)`.
        mean: `(n, m)`.
        sd: `(n, m)`, standard error of the mean; 0 where a cost is exact.
        once: `(n, m)`, standard deviation of one further evaluation.
        freedom: `(n,)`, degrees of freedom of `sd`; infinite where it was given.
        costs: one `(r_i, m)` for each architecture, or () if intervals were given.
        paired: whether replicate `j` of all was made alike (one seed, the same images), so that differences are taken
            replicate by replicate.
    """

    archs: Archs
    mean: Floats
    sd: Floats
    once: Floats
    freedom: Floats
    costs: tuple[Floats, ...] = ()
    paired: bool = False

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def pooled(self) -> NDArray[np.bool_]:
        """`(n,)`: whose `sd` rests on what all architectures deviate by."""
        if not self.costs:
            return np.zeros(len(self.mean), dtype=np.bool_)
        return np.array([len(one) < OWN for one in self.costs])


def from_replicates(archs: Archs, costs: Sequence[Costs], *, paired: bool = False) -> Replicates:
    """From what evaluating each architecture one or several times gave.

    An architecture with fewer than `OWN` replicates has the standard deviation that all pool.

    Args:
        archs: `(n, d)`.
        costs: `n` matrices `(r_i, m)`, all finite, at least one row each.
        paired: see `Replicates`; all need equally many, at least two.

    Raises:
        UsageError: the shapes do not fit, a cost is not finite, or nothing was evaluated twice.
    """
    rows = tuple(np.array(one, dtype=np.float64) for one in costs)
    widths = {one.shape[1:] for one in rows}
    if len(rows) != len(archs) or len(widths) > 1 or any(one.ndim != 2 or len(one) == 0 for one in rows):
        raise UsageError(
            f"{len(archs)} architectures need as many matrices (replicates, objectives) of at least one row, "
            f"got shapes {[one.shape for one in rows]}"
        )
    counts = np.array([len(one) for one in rows])
    if not all(np.isfinite(one).all() for one in rows):
        raise UsageError("replicates must be finite", hint="Leave failed evaluations out.")
    if rows and (counts.max() < 2 or (paired and len(set(counts.tolist())) > 1)):
        raise UsageError(
            f"noise cannot be seen in {counts.tolist()} {'paired ' if paired else ''}replicates",
            hint="Evaluate at least one architecture twice; if paired, all equally often.",
        )
    objectives = rows[0].shape[1] if rows else 0
    mean = np.array([one.mean(axis=0) for one in rows]).reshape(len(rows), objectives)
    squares = np.array([((one - one.mean(axis=0)) ** 2).sum(axis=0) for one in rows]).reshape(len(rows), objectives)
    pooled = squares.sum(axis=0) / max(int((counts - 1).sum()), 1)
    own = counts >= OWN
    variance = np.where(own[:, None], squares / np.maximum(counts - 1, 1)[:, None], pooled)
    freedom = np.where(own, counts - 1, (counts - 1).sum()).astype(np.float64)
    once = np.sqrt(variance)
    return Replicates(np.array(archs), mean, once / np.sqrt(counts)[:, None], once, freedom, rows, paired)


def from_intervals(archs: Archs, value: Costs, low: Costs, high: Costs) -> Replicates:
    """From values with 90 % intervals, taken as normal with the interval's width; errors count as independent.

    Where errors go together (two predictions by one model, two accuracies on the same images) differences are known
    better than this says. A further evaluation counts as exact as what is known.

    Args:
        archs: `(n, d)`.
        value: `(n, m)`, finite.
        low: `(n, m)`; where it or `high` is NaN the value is exact.
        high: `(n, m)`.

    Raises:
        UsageError: the shapes do not fit, a value is not finite, or a low end lies above its high end.
    """
    mean, ends = np.array(value, dtype=np.float64), np.array([low, high], dtype=np.float64)
    if mean.ndim != 2 or len(mean) != len(archs) or ends.shape != (2, *mean.shape) or not np.isfinite(mean).all():
        raise UsageError(
            f"{len(archs)} architectures need finite values (n, m) with low and high alike, got {mean.shape} and "
            f"{ends.shape[1:]}"
        )
    width = np.nan_to_num(ends[1] - ends[0], nan=0.0)
    if (width < 0).any():
        raise UsageError(f"an interval's low end lies above its high end, by up to {-width.min():g}")
    sd = width / (2 * Z90)
    return Replicates(np.array(archs), mean, sd, sd, np.full(len(mean), np.inf))


def interval(replicates: Replicates, *, confidence: float = 0.9) -> tuple[Floats, Floats]:
    """Ends of the confidence intervals of the means, each `(n, m)`: t intervals, normal ones where `sd` was given.

    Args:
        replicates: `n` architectures.
        confidence: of each interval, above 0 and below 1.
    """
    half = replicates.sd * _quantile(0.5 + confidence / 2, replicates.freedom[:, None])
    return replicates.mean - half, replicates.mean + half


def draws(replicates: Replicates, rng: np.random.Generator, count: int = DRAWS) -> Floats:
    """Means as they might be, `(count, n, m)`: by bootstrap of replicates, or normal within intervals.

    The bootstrap draws whole replicates, so that costs that err together stay together; paired ones are drawn for all
    architectures at once. Deviations are widened by `sqrt(r / (r - 1))`, without which few replicates look too sure.

    Source: Efron & Tibshirani, "An introduction to the bootstrap", 1993, chapters 6 and 8.

    Args:
        replicates: `n` architectures.
        rng: randomness.
        count: of draws.
    """
    if not replicates.costs:
        return np.asarray(replicates.mean + replicates.sd * rng.standard_normal((count, *replicates.mean.shape)))
    deviations = [
        (one - one.mean(axis=0)) * math.sqrt(len(one) / (len(one) - 1)) for one in replicates.costs if len(one) > 1
    ]
    result = np.empty((count, *replicates.mean.shape))
    if replicates.paired:
        size = len(deviations[0])
        times = rng.multinomial(size, np.full(size, 1 / size), size=count) / size
        for index, own in enumerate(deviations):
            result[:, index] = replicates.mean[index] + times @ own
        return result
    pooled = np.concatenate(deviations)
    for index, one in enumerate(replicates.costs):
        size = len(one)
        mine = (one - one.mean(axis=0)) * math.sqrt(size / (size - 1)) if size >= OWN else pooled
        result[:, index] = replicates.mean[index] + mine[rng.integers(0, len(mine), size=(count, size))].mean(axis=1)
    return result


def belongs(drawn: Floats, rows: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
    """Whether no other architecture dominates these in each draw, `(draws, k)`.

    Args:
        drawn: `(draws, n, m)`.
        rows: `(k,)`, of whom; all `n` if None.
    """
    wanted = np.arange(drawn.shape[1]) if rows is None else rows
    least, most = drawn.min(axis=0), drawn.max(axis=0)
    result = np.ones((len(drawn), len(wanted)), dtype=np.bool_)
    for place, row in enumerate(wanted):
        rivals = np.flatnonzero((least <= most[row]).all(axis=1))
        rivals = rivals[rivals != row]
        worse = np.zeros((len(drawn), len(rivals)), dtype=np.bool_)
        better = np.zeros_like(worse)
        for column in range(drawn.shape[2]):
            mine, others = drawn[:, row, column, None], drawn[:, rivals, column]
            worse |= others > mine
            better |= others < mine
        result[:, place] = ~(better & ~worse).any(axis=1)
    return result


def membership(drawn: Floats, rows: NDArray[np.int64] | None = None) -> Floats:
    """Probability that an architecture is on the front, `(k,)`: the share of draws in which nothing dominates it.

    What was chosen because it looked good is on average a little worse than it looked; this is not corrected for.

    Source: Teich, "Pareto-front exploration with uncertain objectives", EMO 2001 (probabilistic dominance).

    Args:
        drawn: `(draws, n, m)`, see `draws`.
        rows: `(k,)`, of whom; all `n` if None.
    """
    return np.asarray(belongs(drawn, rows).mean(axis=0))


def differences(
    replicates: Replicates, first: NDArray[np.int64], second: NDArray[np.int64], *, confidence: float = 0.9
) -> tuple[Floats, Floats, Floats]:
    """Costs of `second` minus those of `first` with confidence intervals: value, low, high, each `(k, m)`.

    Paired replicates by the t interval of their differences; others by Welch's, or where both have the pooled
    deviation by that of the pooled t test; intervals by the normal one.

    Source: Welch, "The generalization of Student's problem when several different population variances are involved",
        Biometrika 34, 1947.

    Args:
        replicates: `n` architectures.
        first: `(k,)` rows.
        second: `(k,)` rows.
        confidence: of each interval, above 0 and below 1; that of all of them together is less.

    Raises:
        UsageError: `confidence` is not within 0..1.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must be above 0 and below 1, got {confidence}")
    value = replicates.mean[second] - replicates.mean[first]
    if replicates.paired:
        costs = np.array(replicates.costs)
        apart = costs[second] - costs[first]
        count = apart.shape[1]
        error, freedom = apart.std(axis=1, ddof=1) / math.sqrt(count), np.full(value.shape, count - 1.0)
    else:
        mine, others = replicates.sd[first] ** 2, replicates.sd[second] ** 2
        error = np.sqrt(mine + others)
        whole = np.where(error > 0, mine + others, 1.0)
        degrees = replicates.freedom[first, None], replicates.freedom[second, None]
        with np.errstate(divide="ignore"):
            freedom = 1.0 / ((mine / whole) ** 2 / degrees[0] + (others / whole) ** 2 / degrees[1])
        both = replicates.pooled[first] & replicates.pooled[second]
        freedom = np.where(both[:, None], degrees[0], freedom)
    half = error * _quantile(0.5 + confidence / 2, freedom)
    return value, value - half, value + half


def surely_dominates(replicates: Replicates, *, confidence: float = 0.9) -> NDArray[np.bool_]:
    """Whether architecture `i` dominates `j` as far as noise lets one say, `(n, n)`.

    It does if the confidence interval of no difference reaches the side on which `i` is worse, and one lies wholly on
    the side on which it is better. Intervals are widened for their number: one side of each errs with `(1 - confidence)
    / (n (n - 1) m)`, so that with probability `confidence` none of all claims is wrong, if noise is normal.

    Source: Dunn, "Multiple comparisons among means", J. American Statistical Association 56, 1961 (Bonferroni).

    Args:
        replicates: `n` architectures.
        confidence: that no claim is wrong, above 0 and below 1.

    Raises:
        UsageError: `confidence` is not within 0..1.
    """
    count = len(replicates)
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must be above 0 and below 1, got {confidence}")
    claims = max(count * (count - 1) * replicates.mean.shape[1], 2)
    confidence = 1.0 - 2.0 * (1.0 - confidence) / claims
    i, j = (grid.ravel() for grid in np.indices((count, count)))
    _, low, _ = differences(replicates, i, j, confidence=confidence)
    return np.asarray(((low >= 0).all(axis=1) & (low > 0).any(axis=1)).reshape(count, count))


@dataclass(frozen=True)
class Neighbours:
    """Two architectures next to each other along an objective.

    Attributes:
        first: row of that with the lower cost.
        second: row of the other.
        value: `(m,)`, costs of the second minus those of the first.
        low: `(m,)`, lower end of its interval.
        high: `(m,)`, upper end.
    """

    first: int
    second: int
    value: Floats
    low: Floats
    high: Floats

    @property
    def resolved(self) -> NDArray[np.bool_]:
        """`(m,)`: whether this pair's interval says which of them is lower, or both are exactly equal.

        Each interval stands for itself: of many pairs that are equal in truth, a share of `1 - confidence` is told
        apart by chance.
        """
        return resolved(self.low, self.high)


def resolved(low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Whether intervals of differences say which is lower, or that both are exactly equal; of any shape."""
    return np.asarray((low > 0) | (high < 0) | (low == high))


def neighbours(
    replicates: Replicates,
    rows: NDArray[np.int64] | None = None,
    *,
    objective: int = 0,
    confidence: float = 0.9,
) -> list[Neighbours]:
    """Neighbouring pairs along an objective, each with the interval of its difference in every objective.

    Args:
        replicates: `n` architectures.
        rows: `(k,)`, those of the front; all if None.
        objective: along which one they stand.
        confidence: of each interval by itself; that of all of them together is less.
    """
    wanted = np.arange(len(replicates)) if rows is None else np.asarray(rows)
    line = wanted[np.argsort(replicates.mean[wanted, objective], kind="stable")]
    first, second = line[:-1], line[1:]
    parts = differences(replicates, first, second, confidence=confidence)
    return [
        Neighbours(int(one), int(two), *(part[place] for part in parts))
        for place, (one, two) in enumerate(zip(first, second, strict=True))
    ]


def _quantile(level: float, freedom: Floats) -> Floats:
    """Quantile of Student's t, or of the normal where the degrees of freedom are infinite."""
    if np.isinf(freedom).all():
        return np.full(freedom.shape, NormalDist().inv_cdf(level))
    from scipy.stats import norm, t

    finite = np.where(np.isinf(freedom), 1.0, freedom)
    return np.asarray(np.where(np.isinf(freedom), norm.ppf(level), t.ppf(level, finite)))
