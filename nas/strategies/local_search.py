"""Local search: all neighbours of the best, then somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import ceil

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs
from nas.operators.history import History
from nas.operators.protocol import Problem, Shown
from nas.operators.seen import Seen
from nas.pareto import dominance
from nas.streams import stream

#: Neighbours that are looked at together.
_CHUNK = 256


class LocalSearch(Shown):
    """Pareto local search: neighbours of the non-dominated, in random order, and a new start where they are used up.

    A neighbour differs in one gene. With one objective this is a climb from the best so far; with more, every
    non-dominated architecture of the climb is a centre, and the least crowded ones have their turn first. When all
    neighbours of all centres were told, the climb is over and another begins at random architectures, with a front of
    its own.

    Source: White, Nolen & Savani, "Exploring the loss landscape in neural architecture search", UAI 2021, algorithm 1;
        for more objectives Paquete, Chiarandini & Stützle, "Pareto local optimum sets in the biobjective traveling
        salesman problem", in "Metaheuristics for multiobjective optimisation", Springer 2004.

    Args:
        problem: what is searched.
        seed: of all randomness.
        initial: random architectures at each start, at least 1.
        focus: share of the centres, the least crowded ones and one at least, whose neighbours come first, above 0 and
            up to 1; 1 is the plain algorithm, which prefers none.

    Raises:
        UsageError: a setting is out of its range.
    """

    def __init__(self, problem: Problem, *, seed: int, initial: int = 10, focus: float = 0.25) -> None:
        if initial < 1 or not 0 < focus <= 1:
            raise UsageError(
                f"local-search needs initial of at least 1 and focus above 0 and up to 1, got {initial} and {focus}"
            )
        self._problem = problem
        self._seed = seed
        self._initial = initial
        self._focus = focus
        self._seen = Seen(problem)
        self._history = History(problem)
        self._start = 0
        self._used_up: set[int] = set()

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Neighbours of the front of this climb; random architectures at its start, or if there are too few."""
        told = self._history
        rng = stream(self._seed, "strategies.ask", len(told), told.tells)
        taken = self._seen.out(pending)
        parts = [self._seen.unseen(min(n, max(self._initial - (len(told) - self._start), 0)), rng, taken)]
        missing = n - len(parts[0])
        if missing > 0:
            centres = np.array([one for one in self._centres() if one not in self._used_up], dtype=np.int64)
            centres = centres[np.argsort(-dominance.crowding_distance(told.costs[centres]), kind="stable")]
            few = ceil(self._focus * len(centres))
            near = (
                _neighbours(told.archs[rows], self._problem.choices, rng) for rows in (centres[:few], centres[few:])
            )
            for rows in chain.from_iterable(near):
                parts.append(self._seen.first(rows, missing, taken))
                missing -= len(parts[-1])
                if missing <= 0:
                    break
        parts.append(self._seen.unseen(missing, rng, taken))
        return np.concatenate(parts)

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Remember all of it, and see whether the climb is over."""
        self._history.add(archs, costs, violations)
        self._seen.add(np.asarray(archs, dtype=np.int64))
        centres = self._centres()
        if centres and len(self._history) - self._start >= self._initial and all(map(self._is_used_up, centres)):
            self._start = len(self._history)

    def _centres(self) -> list[int]:
        """Rows of the history that are non-dominated in this climb; without feasible ones, the least infeasible."""
        told, rows = self._history, np.arange(self._start, len(self._history))
        rows = rows[told.succeeded[rows]]
        return [int(one) for one in rows[dominance.ranks(told.costs[rows], told.violations[rows]) == 0]]

    def _is_used_up(self, row: int) -> bool:
        """Whether all neighbours of a row were told."""
        if row not in self._used_up:
            near = _neighbours(self._history.archs[[row]], self._problem.choices, None)
            if any(len(self._seen.fresh(rows, set())) for rows in near):
                return False
            self._used_up.add(row)
        return True


def _neighbours(centres: Archs, choices: tuple[int, ...], rng: np.random.Generator | None) -> Iterator[Archs]:
    """All that differ from a centre in one gene, in random order (or in none), some at a time."""
    others = np.array(choices, dtype=np.int64) - 1
    ends = np.cumsum(others)
    total = len(centres) * int(ends[-1])
    order = np.arange(total) if rng is None else rng.permutation(total)
    for begin in range(0, total, _CHUNK):
        centre, number = np.divmod(order[begin : begin + _CHUNK], ends[-1])
        gene = np.searchsorted(ends, number, side="right")
        step = 1 + number - (ends[gene] - others[gene])
        rows = centres[centre]
        place = np.arange(len(rows))
        rows[place, gene] = (rows[place, gene] + step) % (others[gene] + 1)
        yield rows


STRATEGY = LocalSearch
