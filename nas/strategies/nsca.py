"""Non-dominated sorting crisscross: both crossovers of the crisscross optimiser, and survival of the best of all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs
from nas.operators import crisscross, variation
from nas.operators.niching import Niches
from nas.operators.population import Population
from nas.operators.protocol import Problem, Shown
from nas.operators.selection import Survivors
from nas.pareto import directions

#: Up to so many objectives survivors are chosen by crowding distance, which says little beyond.
CROWDING_UP_TO = 3


class Nsca(Shown):
    """Non-dominated sorting crisscross algorithm.

    Survivors are shuffled and paired; half of the children come from horizontal crossover between the two of a pair,
    half from vertical crossover between the genes of one. Instead of a competition of each child with its parent, all
    parents and children of both kinds are merged, sorted and truncated. As in `nsga2`, generations are not waited for.
    A gene in which all survivors agree would often stay for ever: in some children it is reset, which is ours.
    Mutation of all genes made the fronts of DTLZ1 and DTLZ2 worse.

    Source: Meng et al., "Crisscross optimization algorithm and its application", Knowledge-Based Systems 67, 2014; for
        architectures Chen, Lan, He & Cai, Mathematics 13(8):1258, 2025, of which the proxy model and the variable
        length are not here; survival by Deb et al., IEEE TEVC 6(2), 2002, section III-C, or Deb & Jain, IEEE TEVC
        18(4), 2014, section IV.

    Args:
        problem: what is searched.
        seed: of all randomness.
        population: survivors, at least 4; until so many were told, networks are random.
        vertical: probability that a pair of genes is crossed in vertical crossover, above 0 and up to 1.
        spill: how readily horizontal crossover resets categories, at least 0; see
            `nas.operators.crisscross.horizontal`.
        mutation: probability that a gene in which all survivors agree is reset after crossover, 0..1, or None for
            `1 / (2 genes)`; 0 is the source's form.
        selection: who survives of the last rank: `crowding`, `directions` (about as many as survivors), or None for
            crowding up to three objectives and directions beyond.

    Raises:
        UsageError: a setting is out of its range.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        population: int = 16,
        vertical: float = 0.8,
        spill: float = 1.0,
        mutation: float | None = None,
        selection: str | None = None,
    ) -> None:
        if population < 4 or not 0 < vertical <= 1 or not 0 <= spill < np.inf:
            raise UsageError(
                "nsca needs population >= 4, vertical above 0 and up to 1, and spill >= 0, "
                f"got {population}, {vertical}, {spill}"
            )
        if mutation is not None and not 0 <= mutation <= 1:
            raise UsageError(f"nsca needs mutation in 0..1, got {mutation}")
        if selection not in (None, "crowding", "directions"):
            raise UsageError(f"nsca has no selection {selection!r}", hint="Selections: crowding, directions.")
        if selection is None:
            selection = "crowding" if problem.objectives <= CROWDING_UP_TO else "directions"
        self._problem = problem
        self._size = population
        self._population = Population(problem, seed=seed, size=population)
        self._vertical = vertical
        self._spill = spill
        self._mutation = mutation if mutation is not None else 0.5 / len(problem.choices)
        by_directions = selection == "directions"
        self._niches = Niches(directions.spread(problem.objectives, population)) if by_directions else None

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Children of the survivors, or random networks as long as there are too few."""
        return self._population.ask(n, self._children, pending)

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Survivors of the last ones and these."""
        niches = self._niches

        def select(values: Costs, amounts: NDArray[np.float64]) -> Survivors:
            assert niches is not None
            return niches.select(values, amounts, self._size, self._population.rng(1))

        self._population.tell(archs, costs, violations, None if niches is None else select)

    def _children(self, count: int, able: NDArray[np.int64], rng: np.random.Generator) -> Archs:
        """Children of both crossovers in turn; failures (all but `able`) do not take part."""
        parents = self._population.archs[able]
        shuffles = -(-2 * count // len(able))
        line = parents[np.concatenate([rng.permutation(len(able)) for _ in range(shuffles)])[: 2 * count]]
        first, second = line[0::2], line[1::2]
        found = crisscross.horizontal(first, second, self._problem, rng, spill=self._spill)
        if crisscross.crosses_vertically(self._problem):
            found[::2] = crisscross.vertical(first[::2], self._problem, rng, rate=self._vertical)
        stuck = (parents == parents[0]).all(axis=0)
        return np.where(stuck, variation.reset_mutation(found, self._problem.choices, rng, rate=self._mutation), found)


STRATEGY = Nsca
