"""NSGA-II over categorical genes, without repeats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas import selection, variation
from nas.archive import Seen
from nas.history import checked
from nas.strategies.protocol import Archs, Costs, Problem


class Nsga2:
    """Non-dominated sorting genetic algorithm.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEVC 6(2), 2002, section
        III. Generations are
    not waited for: survivors are chosen at every tell among the last survivors and what was told, so that any batch
    size works.

    Args:
        problem: what is searched.
        seed: of all randomness.
        population: survivors, at least 4; until so many were told, networks are random.
        crossover: probability that a pair is crossed.
        mutation: probability that a gene of a crossed child is changed, or None for half a gene a child,
            `1 / (2 genes)`: what crossover makes of few categories is already new, and no network is asked for twice.
        steps: share of children that are their mother with exactly one gene changed, in 0..1.
        tournament: contestants for each parent, at least 1; the paper has 2, and more waste less of few evaluations.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        population: int = 16,
        crossover: float = 0.9,
        mutation: float | None = None,
        steps: float = 0.5,
        tournament: int = 5,
    ) -> None:
        shares = (crossover, steps, 1.0 if mutation is None else mutation)
        if population < 4 or tournament < 1 or not all(0 <= share <= 1 for share in shares) or mutation == 0:
            raise UsageError(
                "nsga2 needs population >= 4, tournament >= 1, crossover and steps in 0..1, mutation above 0 up to 1, "
                f"got {population}, {tournament}, {crossover}, {steps}, {mutation}"
            )
        self._steps = steps
        self._tournament = tournament
        self._problem = problem
        self._seed = seed
        self._size = population
        self._crossover = crossover
        self._mutation = mutation if mutation is not None else 0.5 / len(problem.choices)
        self._seen = Seen(problem)
        self._tells = 0
        self._archs: Archs = np.empty((0, len(problem.choices)), dtype=np.int64)
        self._costs: Costs = np.empty((0, problem.objectives))
        self._violations: NDArray[np.float64] = np.empty(0)
        self._ranks: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._crowding: NDArray[np.float64] = np.empty(0)

    def ask(self, n: int) -> Archs:
        """Children of the survivors, or random networks as long as there are too few."""
        rng = np.random.default_rng([self._seed, len(self._seen), self._tells])
        taken: set[bytes] = set()
        first = self._seen.unseen(min(n, max(self._size - len(self._seen), 0)), rng, taken)
        able = np.flatnonzero(np.isfinite(self._costs).all(axis=1))
        make = (lambda count: self._children(count, able, rng)) if len(able) else None
        return np.concatenate([first, self._seen.offspring(n - len(first), rng, taken, make)])

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Survivors of the last ones and these."""
        rows, values, amounts = checked(self._problem, archs, costs, violations)
        self._seen.add(rows)
        self._tells += 1
        everyone = np.concatenate([self._archs, rows])
        values = np.concatenate([self._costs, values])
        amounts = np.concatenate([self._violations, amounts])
        kept = selection.survivors(values, amounts, self._size)
        self._archs, self._costs, self._violations = everyone[kept.rows], values[kept.rows], amounts[kept.rows]
        self._ranks, self._crowding = kept.ranks, kept.crowding

    def _children(self, count: int, able: NDArray[np.int64], rng: np.random.Generator) -> Archs:
        """Children of tournament winners; failures (all but `able`) do not take part."""
        mothers, fathers = (
            self._archs[selection.tournaments(self._ranks, self._crowding, able, count, rng, size=self._tournament)]
            for _ in range(2)
        )
        crossed = variation.children(
            mothers, fathers, self._problem, rng, crossover=self._crossover, mutation=self._mutation
        )
        stepped = variation.one_step(mothers, self._problem, rng)
        return np.where((rng.random(count) < self._steps)[:, None], stepped, crossed)


STRATEGY = Nsga2
