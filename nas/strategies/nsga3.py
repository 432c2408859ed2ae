"""NSGA-III: survival by reference directions, for more objectives than crowding can spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs
from nas.operators import selection, variation
from nas.operators.niching import Niches
from nas.operators.population import Population
from nas.operators.protocol import Problem, Shown
from nas.operators.selection import Survivors
from nas.pareto import directions

#: About how many directions if nobody says, for 1, 2, 3 ... objectives.
_DIRECTIONS = (1, 12, 28, 35)


class Nsga3(Shown):
    """Non-dominated sorting with reference directions.

    As in `nsga2`, generations are not waited for: survivors are chosen at every tell among the last survivors and what
    was told, so that any batch size works.

    Source: Deb & Jain, "An evolutionary many-objective optimization algorithm using reference-point-based nondominated
        sorting approach, part I", IEEE TEVC 18(4), 2014.

    Differences: parents win tournaments of two by rank, which also puts feasible ones first; in the source parents are
    drawn at random where all are feasible.

    Args:
        problem: what is searched.
        seed: of all randomness.
        directions: about how many reference directions, at least 1, or None for 12 with two objectives, 28 with three
            and 35 beyond.
        population: survivors, at least 4, or None for as many as there are directions, and 16 at least; until so many
            were told, networks are random.
        crossover: probability that a pair is crossed.
        mutation: probability that a gene is changed, or None for half a gene a child, see nsga2.

    Raises:
        UsageError: a setting is out of its range.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        directions: int | None = None,
        population: int | None = None,
        crossover: float = 0.9,
        mutation: float | None = None,
    ) -> None:
        if (directions is not None and directions < 1) or (population is not None and population < 4):
            raise UsageError(f"nsga3 needs directions >= 1 and population >= 4, got {directions} and {population}")
        if not 0 <= crossover <= 1 or not (mutation is None or 0 < mutation <= 1):
            raise UsageError(
                f"nsga3 needs crossover in 0..1 and mutation above 0 and up to 1, got {crossover} and {mutation}"
            )
        self._problem = problem
        self._niches = Niches(_directions(problem.objectives, directions))
        self._size = population if population is not None else max(len(self._niches.directions), 16)
        self._population = Population(problem, seed=seed, size=self._size)
        self._crossover = crossover
        self._mutation = mutation if mutation is not None else 0.5 / len(problem.choices)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Children of the survivors, or random networks as long as there are too few."""
        return self._population.ask(n, self._children, pending)

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Survivors of the last ones and these."""
        self._population.tell(archs, costs, violations, self._select)

    def _select(self, costs: Costs, violations: NDArray[np.float64]) -> Survivors:
        return self._niches.select(costs, violations, self._size, self._population.rng(1))

    def _children(self, count: int, able: NDArray[np.int64], rng: np.random.Generator) -> Archs:
        """Children of tournament winners, by rank alone; failures (all but `able`) do not take part."""
        best = self._population
        mothers, fathers = (
            best.archs[selection.tournaments(best.ranks, best.crowding, able, count, rng)] for _ in range(2)
        )
        return variation.children(
            mothers, fathers, self._problem, rng, crossover=self._crossover, mutation=self._mutation, eta_crossover=30.0
        )


def _directions(objectives: int, count: int | None) -> NDArray[np.float64]:
    wanted = count if count is not None else _DIRECTIONS[min(objectives, len(_DIRECTIONS)) - 1]
    return directions.spread(objectives, wanted)


STRATEGY = Nsga3
