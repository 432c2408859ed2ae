"""Which surrogate predicts best, by cross validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas import surrogates
from nas.arrays import Floats
from nas.surrogates.protocol import Surrogate

#: Fewest rows for anything but the mean.
LEAST = 4


@dataclass(frozen=True)
class Score:
    """How a surrogate ranks what it did not see.

    Attributes:
        name: of the surrogate.
        mean: of Kendall's tau over the folds, -1..1.
        deviation: of it.
    """

    name: str
    mean: float
    deviation: float

    @property
    def value(self) -> float:
        """What is compared: `mean - deviation`."""
        return self.mean - self.deviation


@dataclass(frozen=True)
class Scaled:
    """A surrogate of normal scores, in the costs' own unit.

    Attributes:
        inner: the model, None where all costs are the same or rows are too few.
        columns: `(f,)`: those that differ.
        normal: `(k,)`, scores, ascending.
        costs: `(k,)`, the costs that have them.
    """

    inner: Surrogate | None
    columns: NDArray[np.bool_]
    normal: Floats
    costs: Floats

    def predict(self, x: Floats) -> Floats:
        """Costs `(n,)` at `(n, f)`; beyond the best and the worst cost, on along the outer tenth."""
        if self.inner is None:
            return np.full(len(x), self.costs.mean())
        scores = self.inner.predict(x[:, self.columns])
        tenth = -(-len(self.costs) // 10)
        found = np.interp(scores, self.normal, self.costs)
        for end, inside, beyond in ((0, tenth, scores < self.normal[0]), (-1, -1 - tenth, scores > self.normal[-1])):
            slope = (self.costs[inside] - self.costs[end]) / (self.normal[inside] - self.normal[end])
            found = np.where(beyond, self.costs[end] + slope * (scores - self.normal[end]), found)
        return np.asarray(found)


def fit(name: str, x: Floats, y: Floats, rng: np.random.Generator) -> Scaled:
    """Fit the surrogate of that name to the normal scores of the costs.

    What counts is the order: a few networks that failed to train would otherwise set the scale. Equal rows of `x`
    become one with the mean of their costs.

    Source: normal scores: Conover, "Practical nonparametric statistics", 1999, section 5.10; as a transformation of
        costs: Salinas, Shen & Perrone, "A quantile-based approach for hyperparameter transfer learning", ICML 2020.

    Args:
        name: a registered name.
        x: `(n, f)`, finite, n at least 1.
        y: `(n,)`, finite.
        rng: randomness.

    Raises:
        UnknownName: no surrogate has the name.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    make = surrogates.REGISTRY.get(name)
    points, place = np.unique(x, axis=0, return_inverse=True)
    place = place.reshape(-1)
    values = np.bincount(place, weights=y) / np.bincount(place)
    columns = np.asarray(np.ptp(points, axis=0) > 0)
    if len(points) < LEAST or not np.ptp(values) > 0:
        return Scaled(None, columns, np.zeros(len(values)), values)
    normal = ndtri((rankdata(values) - 0.5) / len(values))
    costs, first = np.unique(values, return_index=True)
    center, scale = float(normal.mean()), float(normal.std())
    normal = (normal - center) / scale
    return Scaled(make(points[:, columns], normal, rng), columns, normal[first], costs)


def scores(
    x: Floats, y: Floats, rng: np.random.Generator, *, names: Sequence[str], folds: int = 5
) -> tuple[Score, ...]:
    """Kendall's tau of each surrogate over the same folds; 0 with fewer rows than two a fold.

    Args:
        x: `(n, f)`.
        y: `(n,)`.
        rng: deals the rows to the folds, then goes to the surrogates.
        names: registered names.
        folds: at least 2.
    """
    from scipy.stats import kendalltau

    if len(x) < 2 * folds:
        return tuple(Score(name, 0.0, 0.0) for name in names)
    _, place = np.unique(x, axis=0, return_inverse=True)
    place = place.reshape(-1)
    # Copies of a row stay in one fold: what is tested was not seen.
    fold = (rng.permutation(place.max() + 1) % folds)[place]
    found = []
    for name in names:
        taus = []
        for number in range(folds):
            test = fold == number
            if test.sum() < 2 or not np.ptp(y[test]) > 0:
                continue
            tau = kendalltau(fit(name, x[~test], y[~test], rng).predict(x[test]), y[test]).statistic
            taus.append(float(tau) if np.isfinite(tau) else 0.0)
        found.append(Score(name, float(np.mean(taus)), float(np.std(taus))) if taus else Score(name, 0.0, 0.0))
    return tuple(found)


def choose(x: Floats, y: Floats, rng: np.random.Generator, *, names: Sequence[str], folds: int = 5) -> str:
    """The name of the surrogate with the largest mean less deviation of Kendall's tau; the first of equals.

    Source: Lu et al., "NSGANetV2", ECCV 2020, section 3.2 (adaptive switching), with 10 folds.

    Args:
        x: `(n, f)`.
        y: `(n,)`.
        rng: randomness.
        names: registered names, at least one.
        folds: of the cross validation, at least 2.
    """
    if len(names) == 1:
        return names[0]
    return max(scores(x, y, rng, names=names, folds=folds), key=lambda score: score.value).name
