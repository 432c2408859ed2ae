"""NSGA-II over categorical genes, without repeats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs
from nas.operators import selection, variation
from nas.operators.population import Population
from nas.operators.protocol import Problem, Shown


class Nsga2(Shown):
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
        self._population = Population(problem, seed=seed, size=population)
        self._crossover = crossover
        self._mutation = mutation if mutation is not None else 0.5 / len(problem.choices)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Children of the survivors, or random networks as long as there are too few."""
        return self._population.ask(n, self._children, pending)

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Survivors of the last ones and these."""
        self._population.tell(archs, costs, violations)

    def _children(self, count: int, able: NDArray[np.int64], rng: np.random.Generator) -> Archs:
        """Children of tournament winners; failures (all but `able`) do not take part."""
        best = self._population
        mothers, fathers = (
            best.archs[selection.tournaments(best.ranks, best.crowding, able, count, rng, size=self._tournament)]
            for _ in range(2)
        )
        crossed = variation.children(
            mothers, fathers, self._problem, rng, crossover=self._crossover, mutation=self._mutation
        )
        stepped = variation.one_step(mothers, self._problem, rng)
        return np.where((rng.random(count) < self._steps)[:, None], stepped, crossed)


STRATEGY = Nsga2
