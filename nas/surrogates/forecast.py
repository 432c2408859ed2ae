"""All objectives of a problem from what was told: known ones as they are, the others predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs, Floats
from nas.operators.history import History
from nas.operators.protocol import Problem
from nas.surrogates import choice
from nas.surrogates.choice import Scaled
from nas.surrogates.columns import Columns

#: The column, in `Forecast.models`, of how much a network violates.
VIOLATION = -1


@dataclass(frozen=True)
class Forecast:
    """What a network will cost.

    Attributes:
        columns: of genomes.
        models: of the objectives that are not known, by column, and of the violation where there is any.
        tolerance: predicted violations up to it are 0.
    """

    columns: Columns
    models: Mapping[int, Scaled]
    tolerance: float

    def costs(self, archs: Archs) -> Floats:
        """`(n, d)` to `(n, m)`."""
        problem = self.columns.problem
        x = self.columns.encode(archs)
        found = np.empty((len(archs), problem.objectives))
        for column in range(problem.objectives):
            found[:, column] = (
                problem.cost(column, archs) if column in problem.known else self.models[column].predict(x)
            )
        return found

    def violations(self, archs: Archs) -> Floats:
        """`(n, d)` to `(n,)`, 0 where feasible."""
        if VIOLATION not in self.models:
            return np.zeros(len(archs))
        amounts = self.models[VIOLATION].predict(self.columns.encode(archs))
        return np.where(amounts <= self.tolerance, 0.0, amounts)


def kinds(
    history: History, rows: int, columns: Columns, rng: np.random.Generator, *, names: Sequence[str], folds: int
) -> dict[int, str]:
    """The surrogate of each objective that is not known, chosen by cross validation over the first `rows` told."""
    return {
        column: choice.choose(x, y, rng, names=names, folds=folds)
        for column, (x, y) in _lessons(history, rows, columns).items()
        if column != VIOLATION
    }


def fit(history: History, columns: Columns, rng: np.random.Generator, *, names: Mapping[int, str]) -> Forecast:
    """Models of all that was told: of the objectives by the surrogates of those names, of violations by a process."""
    models = {
        column: choice.fit(names.get(column, "gaussian-process"), x, y, rng)
        for column, (x, y) in _lessons(history, len(history), columns).items()
    }
    amounts = _amounts(history, len(history))
    positive = amounts[amounts > 0]
    return Forecast(columns, models, 0.5 * float(positive.min()) if 0 < len(positive) < len(amounts) else 0.0)


def _lessons(history: History, rows: int, columns: Columns) -> dict[int, tuple[Floats, Floats]]:
    """What each model learns from: `(n, f)` and `(n,)`. Failures say nothing of costs, and violate."""
    archs, costs = history.archs[:rows], history.costs[:rows]
    succeeded: NDArray[np.bool_] = history.succeeded[:rows]
    x = columns.encode(archs)
    problem: Problem = columns.problem
    found = {
        column: (x[succeeded], costs[succeeded, column])
        for column in range(problem.objectives)
        if column not in problem.known
    }
    amounts = _amounts(history, rows)
    if (amounts > 0).any():
        found[VIOLATION] = (x, amounts)
    return found


def _amounts(history: History, rows: int) -> Floats:
    """Violations `(rows,)`, finite; what failed, or violates beyond measure, violates more than all others."""
    amounts = history.violations[:rows].copy()
    beyond = ~history.succeeded[:rows] | ~np.isfinite(amounts)
    worst = float(amounts[~beyond].max(initial=0.0))
    amounts[beyond] = 2 * worst if worst > 0 else 1.0
    return amounts
