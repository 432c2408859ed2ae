"""How many of the networks that were judged so far no other one dominates, told while a search runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from nas.objectives import Constraint, Objective, violations
from nas.pareto.dominance import nondominated
from nas.study.study import costs_of
from nas.study.trial import Result

#: Seconds between two counts: a search by table judges thousands in one.
EVERY_S = 1.0


class Growth:
    """The front as it grows.

    Args:
        objectives: of the search.
        constraints: of the search; what breaks one is on no front.
        tell: `(what, networks on the front, networks that were judged)`.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        tell: Callable[[str, int, int], None],
    ) -> None:
        self._objectives, self._constraints, self._tell = tuple(objectives), tuple(constraints), tell
        self._costs = np.empty((0, len(objectives)))
        self._waiting: list[Result] = []
        self._judged = 0
        self._counted_s = -EVERY_S

    def add(self, results: Sequence[Result]) -> None:
        """Take what was judged, values by objective; tell how many are on the front if that was not done just now."""
        self._waiting.extend(results)
        self._judged += len(results)
        now = time.monotonic()
        if self._waiting and now - self._counted_s >= EVERY_S:
            self._counted_s = now
            count = self._count()
            if count < self._judged:  # where all are, the work would look done
                self._tell("on the front", count, self._judged)

    def _count(self) -> int:
        results, self._waiting = self._waiting, []
        values = {one.name: np.array([result[one.name][0] for result in results]) for one in self._objectives}
        excess = violations(self._constraints, values)
        kept = np.ones(len(results), dtype=bool) if excess is None else excess <= 0
        costs = np.concatenate([self._costs, costs_of(results, self._objectives)[kept]])
        self._costs = costs[nondominated(costs)]
        return len(self._costs)
