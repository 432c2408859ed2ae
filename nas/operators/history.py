"""What a strategy was told, in order, as growing matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs, Floats
from nas.operators.protocol import Problem
from predictors.genes import whole


def checked(problem: Problem, archs: Archs, costs: Costs, violations: Floats | None) -> tuple[Archs, Costs, Floats]:
    """Copies of what was told, with 0 for violations that were not.

    Args:
        problem: whose genes and objectives the shapes must fit.
        archs: `(n, d)`.
        costs: `(n, m)`.
        violations: `(n,)` or None.

    Returns:
        The three as int64 `(n, d)`, float64 `(n, m)` and float64 `(n,)`.

    Raises:
        UsageError: a shape does not fit, or a gene is no whole number.
    """
    rows, values = np.array(whole(archs)), np.array(costs, dtype=np.float64)
    amounts = np.zeros(len(rows)) if violations is None else np.array(violations, dtype=np.float64)
    wanted = ((len(rows), len(problem.choices)), (len(rows), problem.objectives), (len(rows),))
    if (rows.shape, values.shape, amounts.shape) != wanted:
        raise UsageError(
            f"told were archs {rows.shape}, costs {values.shape} and violations {amounts.shape}; "
            f"for {len(rows)} architectures they must be {wanted[0]}, {wanted[1]} and {wanted[2]}"
        )
    return rows, values, amounts


class History:
    """All rows that were told, the first of them first.

    Attributes:
        problem: of the search.
        tells: how often something was told.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.tells = 0
        self._count = 0
        self._archs: Archs = np.empty((64, len(problem.choices)), dtype=np.int64)
        self._costs: Costs = np.empty((64, problem.objectives))
        self._violations: Floats = np.empty(64)

    def __len__(self) -> int:
        return self._count

    @property
    def archs(self) -> Archs:
        """`(n, d)`; a view."""
        return self._archs[: self._count]

    @property
    def costs(self) -> Costs:
        """`(n, m)`, not finite where an evaluation failed; a view."""
        return self._costs[: self._count]

    @property
    def violations(self) -> Floats:
        """`(n,)`, 0 where feasible; a view."""
        return self._violations[: self._count]

    @property
    def succeeded(self) -> NDArray[np.bool_]:
        """`(n,)`: which rows have finite costs."""
        return np.asarray(np.isfinite(self.costs).all(axis=1))

    def add(self, archs: Archs, costs: Costs, violations: Floats | None = None) -> None:
        """Append rows; see `checked` for their shapes."""
        rows, values, amounts = checked(self.problem, archs, costs, violations)
        self.tells += 1
        needed = self._count + len(rows)
        if needed > len(self._archs):
            room = max(needed, 2 * len(self._archs))
            self._archs = _grown(self._archs, room)
            self._costs = _grown(self._costs, room)
            self._violations = _grown(self._violations, room)
        self._archs[self._count : needed] = rows
        self._costs[self._count : needed] = values
        self._violations[self._count : needed] = amounts
        self._count = needed


def _grown(array: Any, room: int) -> Any:
    grown = np.empty((room, *array.shape[1:]), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
