"""The core of a search that predicts before it asks: what was told, the models of it, and the search on the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs, Floats
from nas.operators import subset
from nas.operators.history import History
from nas.operators.protocol import Problem
from nas.operators.seen import Seen
from nas.operators.selection import Survivors, tournaments
from nas.pareto import dominance
from nas.streams import stream
from nas.surrogates import REGISTRY, forecast
from nas.surrogates.columns import Columns
from nas.surrogates.design import design
from nas.surrogates.forecast import Forecast
from nas.surrogates.threads import one_thread

#: The surrogates are chosen anew when the archive grew by this factor, and by so many at least.
GROWTH, STEP = 1.2, 10
#: Fewest evaluations that succeeded before anything is predicted.
LEAST = 10

Select = Callable[[Floats, Floats, int], Survivors]
Vary = Callable[[Archs, Archs, np.random.Generator], Archs]
Suggest = Callable[[int, frozenset[bytes]], Archs]
"""Of how many, and which keys must not come, `(n, d)`."""


@dataclass(frozen=True)
class Pool:
    """Networks that nobody evaluated yet, with their forecasts.

    Attributes:
        archs: `(n, d)`.
        costs: `(n, m)`.
        violations: `(n,)`.
    """

    archs: Archs
    costs: Floats
    violations: Floats

    def best(self, count: int, least: int, select: Select) -> Pool:
        """At most `count` of the front, and then of the next ones only as many as make `least`."""
        kept = select(self.costs, self.violations, max(count, least))
        size = min(max(int((kept.ranks == 0).sum()), least), len(kept.rows))
        return self.take(kept.rows[:size])

    def take(self, rows: NDArray[np.int64]) -> Pool:
        """Some of them, `(k,)`, in that order."""
        return Pool(self.archs[rows], self.costs[rows], self.violations[rows])


class Archive:
    """What was told, and the models of it.

    The surrogates are chosen when the archive grew by a fifth and fitted at every tell; both only if somebody asks, and
    both from what was told alone, so that a replay that asks for nothing comes to the same.

    Args:
        problem: what is searched.
        seed: of all randomness.
        number: sets strategies apart that have the same seed.
        initial: networks before the first model.
        surrogates: names to choose from, or one text with commas between them.
        folds: of the cross validation, at least 2.

    Raises:
        UsageError: a number is too small, or there are no names.
        UnknownName: no surrogate has one of the names.
    """

    def __init__(
        self, problem: Problem, *, seed: int, number: int, initial: int, surrogates: Sequence[str], folds: int
    ) -> None:
        names = tuple(surrogates.split(",")) if isinstance(surrogates, str) else tuple(surrogates)
        if initial < 1 or folds < 2 or not names:
            raise UsageError(
                "a search by surrogates needs initial >= 1, folds >= 2 and at least one surrogate, "
                f"got {initial}, {folds}, {names}"
            )
        for name in names:
            REGISTRY.get(name)
        self.problem = problem
        self._seed, self._number = seed, number
        self.seen = Seen(problem)
        self.history = History(problem)
        self._initial = initial
        self._names = names
        self._folds = folds
        self._milestone = 0
        self._first: Archs | None = None
        self._columns: Columns | None = None
        self._kinds: tuple[int, dict[int, str]] | None = None
        self._forecast: tuple[int, Forecast] | None = None
        self._pool: tuple[int, Pool] | None = None

    def tell(self, archs: Archs, costs: Costs, violations: Floats | None) -> None:
        """Remember rows."""
        self.history.add(archs, costs, violations)
        self.seen.add(self.history.archs[len(self.history) - len(archs) :])
        if len(self.history) >= max(GROWTH * self._milestone, self._milestone + STEP):
            self._milestone = len(self.history)

    def rng(self, purpose: int) -> np.random.Generator:
        """Randomness for one purpose, by what was told."""
        return stream(self._seed, "surrogates.archive", self._number, purpose, len(self.seen), self.history.tells)

    def ask(self, n: int, suggest: Suggest, pending: Archs | None = None) -> Archs:
        """Up to `n` networks: the rest of the initial design, then what is suggested, then random ones, all new.

        Args:
            n: how many.
            suggest: gives about as many networks as it is asked for, none of those keys; it may use `forecast`.
            pending: `(p, d)` that are out, or None.
        """
        taken = self.seen.out(pending)
        out = frozenset(taken)
        first = self._opening(n, taken)
        missing = n - len(first)
        if missing <= 0:
            return first
        found = first[:0]
        if self.history.succeeded.sum() >= LEAST:
            # Matrices are small: more threads only wait for each other, and change the last digits of sums.
            with one_thread():
                found = self.seen.first(suggest(missing, out), missing, taken)
        return np.concatenate([first, found, self.seen.unseen(missing - len(found), self.rng(0), taken)])

    @property
    def front(self) -> NDArray[np.int64]:
        """Indices `(k,)` of the rows that none dominates, or of those that violate least where none is feasible."""
        return np.flatnonzero(
            (dominance.ranks(self.history.costs, self.history.violations) == 0) & self.history.succeeded
        )

    def names(self) -> dict[int, str]:
        """The surrogate of each objective that is not known, by column."""
        if self._columns is None:
            self._columns = Columns.of(self.problem)
        if self._kinds is None or self._kinds[0] != self._milestone:
            rng = stream(self._seed, "surrogates.archive", self._number, 1, self._milestone)
            found = forecast.kinds(
                self.history, self._milestone, self._columns, rng, names=self._names, folds=self._folds
            )
            self._kinds = self._milestone, found
        return self._kinds[1]

    def forecast(self) -> Forecast:
        """Models of all that was told."""
        if self._forecast is None or self._forecast[0] != self.history.tells:
            names = self.names()
            assert self._columns is not None
            found = forecast.fit(self.history, self._columns, self.rng(2), names=names)
            self._forecast = self.history.tells, found
        return self._forecast[1]

    def fill(
        self, pool: Pool, count: int, population: int, select: Select, out: frozenset[bytes] = frozenset()
    ) -> Archs:
        """Up to `count` of the best of a pool: those that make the archive's front even, see `nas.operators.subset`.

        Gaps count along the known one of two objectives, or along the second; along all of any other number. None has a
        key of `out`.
        """
        if out:
            free = [key not in out for key in self.seen.keys(pool.archs)]
            pool = pool.take(np.flatnonzero(np.array(free, dtype=np.bool_)))
        candidates = pool.best(population, count, select)
        known = tuple(self.problem.known)
        axes = known if self.problem.objectives == 2 and len(known) == 1 else None
        rows = subset.choose(candidates.costs, self.history.costs[self.front], count, self.rng(4), axes=axes)
        return candidates.archs[rows]

    def evolve(self, first: Archs, select: Select, vary: Vary, *, population: int, generations: int) -> Pool:
        """Evolve networks on the models; all that were looked at and are new. Until the next tell, the same.

        The archive's front takes part with what it was told to cost.

        Args:
            first: `(n, d)`: the start beside the front; random ones make up the population.
            select: who survives.
            vary: children of parents, `(k, d)` each.
            population: survivors of a generation.
            generations: how many.
        """
        if self._pool is not None and self._pool[0] == self.history.tells:
            return self._pool[1]
        model, history, taken, rng = self.forecast(), self.history, set[bytes](), self.rng(3)
        kept = select(history.costs[self.front], history.violations[self.front], population)
        elders = self.front[kept.rows]
        new = self.seen.first(first, population, taken)
        lacking = max(population - len(elders) - len(new), 0)
        new = np.concatenate([new, self.seen.unseen(lacking, rng, taken, strict=True)])
        archs, costs, violations = history.archs[elders], history.costs[elders], history.violations[elders]
        born: list[Pool] = []
        for _ in range(generations + 1):
            born.append(Pool(new, model.costs(new), model.violations(new)))
            archs = np.concatenate([archs, new])
            costs = np.concatenate([costs, born[-1].costs])
            violations = np.concatenate([violations, born[-1].violations])
            kept = select(costs, violations, population)
            archs, costs, violations = archs[kept.rows], costs[kept.rows], violations[kept.rows]
            able = np.flatnonzero(np.isfinite(costs).all(axis=1))
            if len(able) == 0:
                break
            mothers, fathers = (
                archs[tournaments(kept.ranks, kept.crowding, able, 2 * population, rng)] for _ in range(2)
            )
            new = self.seen.first(vary(mothers, fathers, rng), population, taken)
        pool = Pool(
            np.concatenate([part.archs for part in born]),
            np.concatenate([part.costs for part in born]),
            np.concatenate([part.violations for part in born]),
        )
        self._pool = history.tells, pool
        return pool

    def _opening(self, count: int, taken: set[bytes]) -> Archs:
        """Up to `count` networks before the first model: the rest of the initial design, and random ones beyond it."""
        lacking = self._initial - len(self.seen)
        if lacking <= 0 and self.history.succeeded.sum() < LEAST:
            lacking = count
        if min(count, lacking) <= 0:
            return self.seen.unseen(0, self.rng(0), taken)
        if self._first is None:
            self._first = design(self.problem, self._initial, stream(self._seed, "surrogates.design", self._number))
        found = self.seen.first(self._first, min(count, lacking), taken)
        more = self.seen.unseen(min(count, lacking) - len(found), self.rng(0), taken)
        return np.concatenate([found, more])
