"""Neural architecture transfer: a surrogate-assisted search that draws from the distribution of the best genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs
from nas.operators import bayesian_network, variation
from nas.operators.bayesian_network import BayesianNetwork
from nas.operators.niching import Niches
from nas.operators.protocol import Problem, Shown
from nas.operators.selection import Survivors
from nas.pareto import directions
from nas.surrogates.assisted import Archive, Select


class Nat(Shown):
    """Many-objective surrogate-assisted search with a distribution over each gene.

    Source: Lu et al., "Neural architecture transfer", IEEE TPAMI 43(9), 2021, sections 3.2 to 3.4.

    Differences: surrogates and their choice, the first networks and the handling of failures are those of `nsganetv2`;
    the supernet, which the paper goes on training on sub-networks from `distribution`, is not part of a strategy.

    Args:
        problem: what is searched.
        seed: of all randomness.
        initial: networks before the first model.
        population: of the inner search, at least 4; also about how many reference points there are.
        generations: of the inner search, at least 1.
        crossover: probability that a pair is crossed.
        mutation: probability that a gene is changed, or None for one gene a child.
        drawn: share of candidates that come from the distribution instead of parents, 0..1.
        smoothing: networks added for each option of the distribution, above 0.
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
        drawn: float = 0.3,
        smoothing: float = 0.5,
        surrogates: Sequence[str] = ("gaussian-process", "rbf", "trees", "mlp"),
        folds: int = 5,
    ) -> None:
        if population < 4 or generations < 1 or not 0 <= crossover <= 1 or not (mutation is None or 0 < mutation <= 1):
            raise UsageError(
                "nat needs population >= 4, generations >= 1, crossover in 0..1 and mutation in 0..1, "
                f"got {population}, {generations}, {crossover}, {mutation}"
            )
        if not 0 <= drawn <= 1 or not smoothing > 0:
            raise UsageError(f"nat needs drawn in 0..1 and smoothing > 0, got {drawn}, {smoothing}")
        self._archive = Archive(problem, seed=seed, number=3, initial=initial, surrogates=surrogates, folds=folds)
        self._problem = problem
        self._population = population
        self._generations = generations
        self._crossover = crossover
        self._mutation = mutation if mutation is not None else 1.0 / len(problem.choices)
        self._drawn = drawn
        self._smoothing = smoothing

    def distribution(self) -> BayesianNetwork:
        """Over the options of each gene, of the front of what was told; what a supernet is to be trained on.

        `distribution().sample(n, rng)` are genomes, of which some may be no networks (`Space.is_valid`).
        """
        front = self._archive.history.archs[self._archive.front]
        return bayesian_network.independent(front, self._problem.choices, smoothing=self._smoothing)

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
        """Up to `count` of what is found on the models by children of the best and draws from their distribution."""
        distribution = self.distribution()

        def children(mothers: Archs, fathers: Archs, rng: np.random.Generator) -> Archs:
            born = variation.children(
                mothers, fathers, self._problem, rng, crossover=self._crossover, mutation=self._mutation
            )
            drawn = rng.random((len(born), 1)) < self._drawn
            return np.where(drawn, distribution.sample(len(born), rng), born)

        pool = self._archive.evolve(
            distribution.sample(self._population, self._archive.rng(5)),
            self._niched(6),
            children,
            population=self._population,
            generations=self._generations,
        )
        return self._archive.fill(pool, count, self._population, self._niched(7), out)

    def _niched(self, purpose: int) -> Select:
        """Selection by reference points, as in NSGA-III; parents are equals within a rank."""
        rng = self._archive.rng(purpose)
        points = directions.spread(self._problem.objectives, self._population)

        def select(costs: NDArray[np.float64], violations: NDArray[np.float64], count: int) -> Survivors:
            return Niches(points).select(costs, violations, count, rng)

        return select


STRATEGY = Nat
