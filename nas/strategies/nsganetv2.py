"""NSGANetV2: surrogates chosen by cross validation, NSGA-II on them, and a subset that fills the front's gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs
from nas.operators import selection, variation
from nas.operators.protocol import Problem, Shown
from nas.surrogates.assisted import Archive


class NsgaNetV2(Shown):
    """Surrogate-assisted multi-objective search.

    Source: Lu et al., "NSGANetV2: Evolutionary multi-objective surrogate-assisted neural architecture search" (MSuNAS),
        ECCV 2020, sections 3.2 and 3.3. Objectives that are known are not predicted.

    Differences: 40 first networks in place of 100, for budgets of some hundreds; surrogates are small, fitted to normal
    scores, and chosen by 5 folds when the archive grew by a fifth, not at every step; categories are one-hot and are
    reset by mutation; candidates are all networks that the inner search looked at, not only its last population;
    violations and failures are predicted too. The weights of a supernet are not part of a strategy.

    Args:
        problem: what is searched.
        seed: of all randomness.
        initial: networks before the first model.
        population: of the inner NSGA-II, at least 4.
        generations: of the inner NSGA-II, at least 1.
        crossover: probability that a pair is crossed.
        mutation: probability that a gene is changed, or None for one gene a child.
        surrogates: names to choose from.
        folds: of the cross validation.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        initial: int = 40,
        population: int = 40,
        generations: int = 20,
        crossover: float = 0.9,
        mutation: float | None = None,
        surrogates: Sequence[str] = ("gaussian-process", "rbf", "trees", "mlp"),
        folds: int = 5,
    ) -> None:
        if population < 4 or generations < 1 or not 0 <= crossover <= 1 or not (mutation is None or 0 < mutation <= 1):
            raise UsageError(
                "nsganetv2 needs population >= 4, generations >= 1, crossover in 0..1 and mutation in 0..1, "
                f"got {population}, {generations}, {crossover}, {mutation}"
            )
        self._archive = Archive(problem, seed=seed, number=2, initial=initial, surrogates=surrogates, folds=folds)
        self._problem = problem
        self._population = population
        self._generations = generations
        self._crossover = crossover
        self._mutation = mutation if mutation is not None else 1.0 / len(problem.choices)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """The rest of the initial design, then what fills the gaps of the front."""
        return self._archive.ask(n, self._suggest, pending)

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Add to the archive."""
        self._archive.tell(archs, costs, violations)

    @property
    def chosen(self) -> dict[int, str]:
        """The surrogate of each objective that is not known, by column."""
        return self._archive.names()

    def _suggest(self, count: int, out: frozenset[bytes]) -> Archs:
        """Up to `count` of what NSGA-II finds on the models."""
        pool = self._archive.evolve(
            self._archive.history.archs[:0],
            selection.survivors,
            self._children,
            population=self._population,
            generations=self._generations,
        )
        return self._archive.fill(pool, count, self._population, selection.survivors, out)

    def _children(self, mothers: Archs, fathers: Archs, rng: np.random.Generator) -> Archs:
        """Two-point crossover, then polynomial mutation of eta 1 for genes in an order and resets for the others."""
        crossed = variation.two_point_crossover(mothers, fathers, rng, probability=self._crossover)
        return variation.children(
            crossed, crossed, self._problem, rng, crossover=0.0, mutation=self._mutation, eta_mutation=1.0
        )


STRATEGY = NsgaNetV2
