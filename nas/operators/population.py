"""A population: the best that a strategy was told, and children of it that nobody has seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs, Costs, Floats
from nas.operators import selection
from nas.operators.history import checked
from nas.operators.protocol import Problem
from nas.operators.seen import Seen
from nas.operators.selection import Survivors
from nas.streams import stream

Select = Callable[[Costs, Floats], Survivors]
"""Who survives, of costs `(n, m)` and violations `(n,)`."""


class Population:
    """What evolutionary strategies of one shape share: survivors, and what to ask for next.

    Its state follows from the seed and from what was told.

    Attributes:
        archs: `(k, d)`, better ranks first.
        costs: `(k, m)`, not finite where an evaluation failed.
        violations: `(k,)`.
        ranks: `(k,)`.
        crowding: `(k,)`.

    Args:
        problem: what is searched.
        seed: of all randomness.
        size: survivors.
    """

    def __init__(self, problem: Problem, *, seed: int, size: int) -> None:
        self._problem = problem
        self._seed = seed
        self._size = size
        self._seen = Seen(problem)
        self._tells = 0
        self.archs: Archs = np.empty((0, len(problem.choices)), dtype=np.int64)
        self.costs: Costs = np.empty((0, problem.objectives))
        self.violations: Floats = np.empty(0)
        self.ranks: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.crowding: Floats = np.empty(0)

    @property
    def seen(self) -> int:
        """How many networks were told."""
        return len(self._seen)

    @property
    def able(self) -> NDArray[np.int64]:
        """Places of those that did not fail, `(k,)`."""
        return np.flatnonzero(np.isfinite(self.costs).all(axis=1))

    def rng(self, *purpose: int) -> np.random.Generator:
        """Randomness of now."""
        return stream(self._seed, "strategies.ask", len(self._seen), self._tells, *purpose)

    def ask(
        self,
        n: int,
        children: Callable[[int, NDArray[np.int64], np.random.Generator], Archs],
        pending: Archs | None = None,
    ) -> Archs:
        """Random networks as long as there are too few, then children.

        Args:
            n: how many.
            children: of `(count, able, rng)`, `(count, d)`; called only where some are able.
            pending: `(p, d)` that are out, or None.
        """
        rng, able = self.rng(), self.able
        taken = self._seen.out(pending)
        first = self._seen.unseen(min(n, max(self._size - len(self._seen), 0)), rng, taken)
        make = (lambda count: children(count, able, rng)) if len(able) else None
        return np.concatenate([first, self._seen.offspring(n - len(first), rng, taken, make)])

    def tell(self, archs: Archs, costs: Costs, violations: Floats | None, select: Select | None = None) -> None:
        """Survivors of the last ones and these, by rank and crowding if not told otherwise."""
        rows, values, amounts = checked(self._problem, archs, costs, violations)
        self._seen.add(rows)
        self._tells += 1
        rows = np.concatenate([self.archs, rows])
        values = np.concatenate([self.costs, values])
        amounts = np.concatenate([self.violations, amounts])
        kept = selection.survivors(values, amounts, self._size) if select is None else select(values, amounts)
        self.archs, self.costs, self.violations = rows[kept.rows], values[kept.rows], amounts[kept.rows]
        self.ranks, self.crowding = kept.ranks, kept.crowding
