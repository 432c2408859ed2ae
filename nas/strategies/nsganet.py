"""NSGA-Net: NSGA-II that explores, and a Bayesian network over the best that exploits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs
from nas.operators import bayesian_network, selection, variation
from nas.operators.bayesian_network import BayesianNetwork
from nas.operators.population import Population
from nas.operators.protocol import Problem, Shown


class NsgaNet(Shown):
    """Exploration by crossover and mutation, exploitation by what the best have in common.

    Source: Lu et al., "NSGA-Net: Neural architecture search using multi-objective genetic algorithm", GECCO 2019,
        sections 3.2 and 3.3. The paper explores for a number of generations and then exploits; a strategy does not know
        how long it will be asked, so the share of exploitation grows here. Its network is a chain over three phases;
        this one is learned over the genes (`nas.operators.bayesian_network`), and from the survivors, where the paper
        learns from the archive of all that was evaluated. As in `nsga2`, generations are not waited
        for.

    Args:
        problem: what is searched.
        seed: of all randomness.
        population: survivors, at least 4; until so many were told, networks are random.
        crossover: probability that a pair is crossed.
        mutation: probability that a gene is changed, or None for one gene a child, `1 / genes`.
        exploitation: share of children that come from the Bayesian network in the end, 0..1.
        ramp: evaluations after the first population until that share is reached, at least 0.
        smoothing: genomes added for each cell of the network's tables, above 0.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        population: int = 40,
        crossover: float = 0.9,
        mutation: float | None = None,
        exploitation: float = 0.5,
        ramp: int = 100,
        smoothing: float = 0.5,
    ) -> None:
        if population < 4 or not 0 <= crossover <= 1 or not (mutation is None or 0 < mutation <= 1):
            raise UsageError(
                "nsganet needs population >= 4, crossover in 0..1 and mutation in 0..1, "
                f"got {population}, {crossover}, {mutation}"
            )
        if not 0 <= exploitation <= 1 or ramp < 0 or not smoothing > 0:
            raise UsageError(
                "nsganet needs exploitation in 0..1, ramp >= 0 and smoothing > 0, "
                f"got {exploitation}, {ramp}, {smoothing}"
            )
        self._problem = problem
        self._size = population
        self._population = Population(problem, seed=seed, size=population)
        self._crossover = crossover
        self._mutation = mutation if mutation is not None else 1.0 / len(problem.choices)
        self._exploitation = exploitation
        self._ramp = ramp
        self._smoothing = smoothing

    @property
    def share(self) -> float:
        """Of the next children, how many come from the Bayesian network, 0..1."""
        beyond = self._population.seen - self._size
        if beyond < 0:
            return 0.0
        return self._exploitation * min(beyond / self._ramp, 1.0) if self._ramp else self._exploitation

    def network(self) -> BayesianNetwork:
        """What the survivors that succeeded have in common."""
        best = self._population
        return bayesian_network.learn(best.archs[best.able], self._problem.choices, smoothing=self._smoothing)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Children of the survivors and draws from their network, or random ones as long as there are too few."""
        network: BayesianNetwork | None = None

        def children(count: int, able: NDArray[np.int64], rng: np.random.Generator) -> Archs:
            nonlocal network
            born = self._children(count, able, rng)
            if self.share == 0:
                return born
            network = network or self.network()
            exploit = rng.random((count, 1)) < self.share
            return np.where(exploit, network.sample(count, rng), born)

        return self._population.ask(n, children, pending)

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Survivors of the last ones and these."""
        self._population.tell(archs, costs, violations)

    def _children(self, count: int, able: NDArray[np.int64], rng: np.random.Generator) -> Archs:
        """Two-point crossover of tournament winners; then polynomial mutation of genes in an order, resets of others.

        Failures (all but `able`) do not take part.
        """
        best = self._population
        mothers, fathers = (
            best.archs[selection.tournaments(best.ranks, best.crowding, able, count, rng)] for _ in range(2)
        )
        crossed = variation.two_point_crossover(mothers, fathers, rng, probability=self._crossover)
        return variation.children(
            crossed, crossed, self._problem, rng, crossover=0.0, mutation=self._mutation, eta_mutation=3.0
        )


STRATEGY = NsgaNet
