"""What `auto` believes: a surrogate for each dear objective, and one for whether networks are feasible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.operators import selection
from nas.operators.history import History
from nas.strategies.auto.inputs import Inputs
from nas.surrogates import acquisition, exact_process
from nas.surrogates.acquisition import Scale
from nas.surrogates.exact_process import Fitted

Ints = NDArray[np.int64]

#: A surrogate is fitted to at most so many observations, the best by rank.
_MOST = 600
#: Dear costs above this quantile are alike, where there are no features: what is that bad need not be told apart.
_CLIP = 0.9


@dataclass(frozen=True)
class Belief:
    """A surrogate and what it is of.

    Attributes:
        column: of the costs; -1 for feasibility.
        scale: of the costs; None for feasibility, whose targets are signs.
        fitted: kernel and hyper-parameters.
        rows: of the history that it was fitted to, ascending.
    """

    column: int
    scale: Scale | None
    fitted: Fitted
    rows: Ints

    def observed(self, history: History, fitted_to: int, stop: int) -> Ints:
        """Rows before `stop` that it knows of: those that it was fitted to, and all later ones that it can use."""
        return np.concatenate([self.rows, self.usable(history, fitted_to, stop)])

    def usable(self, history: History, start: int, stop: int) -> Ints:
        """Rows from `start` to `stop` that it can use: failures say nothing of costs."""
        rows = np.arange(start, stop)
        return rows if self.scale is None else rows[history.succeeded[start:stop]]

    def targets(self, history: History, rows: Ints) -> Floats:
        """Standardised logarithms of costs, or signs of feasibility, `(k,)`."""
        return signs(history, rows) if self.scale is None else self.scale.forward(history.costs[rows, self.column])


def fit(history: History, count: int, inputs: Inputs, dear: Sequence[int]) -> list[Belief]:
    """Beliefs after the first `count` rows; none if fewer than three of them succeeded.

    Args:
        history: what was told.
        count: rows to fit to.
        inputs: columns and kernels.
        dear: columns of the costs that are not known.
    """
    costs, amounts = history.costs[:count], history.violations[:count]
    able = np.flatnonzero(history.succeeded[:count])
    if len(able) < 3:
        return []
    rows = able if len(able) <= _MOST else able[selection.survivors(costs[able], amounts[able], _MOST).rows]
    rows = np.sort(rows)
    columns = inputs(history.archs[rows])
    clip = _CLIP if inputs.problem.features is None else 1.0
    beliefs = []
    for column in dear:
        scale = acquisition.scale_of(costs[rows, column], clip=clip)
        fitted = exact_process.best(inputs.kernels, columns, scale.forward(costs[rows, column]))
        beliefs.append(Belief(column, scale, fitted, rows))
    if len(able) < count or (amounts > 0).any():
        rows = np.arange(max(count - _MOST, 0), count)
        fitted = exact_process.fit(inputs.kernels[0], inputs(history.archs[rows]), signs(history, rows))
        beliefs.append(Belief(-1, None, fitted, rows))
    return beliefs


def signs(history: History, rows: Ints) -> Floats:
    """`(n,)`: -1 for feasible rows, up to 1 for others by the rank of their violation, 1 for failures."""
    amounts = np.where(history.succeeded, np.nan_to_num(history.violations, nan=np.inf), np.inf)[rows]
    order = np.unique(amounts[amounts > 0])
    return np.where(amounts > 0, (np.searchsorted(order, amounts) + 1.0) / max(len(order), 1), -1.0)
