"""Regularised evolution: the oldest die, whatever they are worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs
from nas.operators import variation
from nas.operators.history import History
from nas.operators.protocol import Problem, Shown
from nas.operators.seen import Seen
from nas.pareto import dominance
from nas.streams import stream

#: Up to so many objectives crowding tells apart; with more, many of a front are an end in one of them.
_CROWDED = 3


class RegularisedEvolution(Shown):
    """Ageing evolution: the population is what was told last, a child is the best of a few of it with a gene changed.

    Nobody survives for good, so that an architecture that was lucky once must prove itself in its children. The best of
    a sample is the one of the lowest non-dominated rank in the population, and among these the least crowded one.

    Source: Real, Aggarwal, Huang & Le, "Regularized evolution for image classifier architecture search", AAAI 2019,
        algorithm 1; rank and crowding of Deb et al., IEEE TEVC 6(2), 2002, in place of the one accuracy, and mean
        places as in Corne & Knowles, "Techniques for highly multiobjective optimisation: some nondominated points are
        better than others", GECCO 2007.

    Differences: a sample is drawn without replacement, in the source with it, so that here the parent is the best of
    `sample` different ones.

    Args:
        problem: what is searched.
        seed: of all randomness.
        population: how many of the last ones live, at least 2; failures do not count.
        sample: from how many of the population a parent is chosen, at least 1.
        initial: random networks before the first children, at least 1. The population fills up with children; in the
            source it is random until it is full.
        mutation: probability that a gene is changed, or None for exactly one gene.

    Raises:
        UsageError: a setting is out of its range.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        population: int = 50,
        sample: int = 20,
        initial: int = 20,
        mutation: float | None = None,
    ) -> None:
        if population < 2 or min(sample, initial) < 1 or not (mutation is None or 0 < mutation <= 1):
            raise UsageError(
                "regularised-evolution needs population >= 2, sample and initial >= 1 and mutation in 0..1, "
                f"got {population}, {sample}, {initial}, {mutation}"
            )
        self._problem = problem
        self._seed = seed
        self._size = population
        self._sample = sample
        self._initial = initial
        self._mutation = mutation
        self._seen = Seen(problem)
        self._history = History(problem)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Mutated winners, or random networks at first."""
        told = self._history
        rng = stream(self._seed, "strategies.ask", len(told), told.tells)
        taken = self._seen.out(pending)
        first = self._seen.unseen(min(n, max(self._initial - len(self._seen), 0)), rng, taken)
        alive = np.flatnonzero(told.succeeded)[-self._size :]
        order = _best_first(told.costs[alive], told.violations[alive], rng)
        ranked = told.archs[alive[order]]
        make = (lambda count: self._children(count, ranked, rng)) if len(alive) else None
        return np.concatenate([first, self._seen.offspring(n - len(first), rng, taken, make)])

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """The youngest join, the oldest leave."""
        self._history.add(archs, costs, violations)
        self._seen.add(np.asarray(archs, dtype=np.int64))

    def _children(self, count: int, ranked: Archs, rng: np.random.Generator) -> Archs:
        """Mutated winners of samples without replacement from a population that is sorted, the best first."""
        size = min(self._sample, len(ranked))
        winners = rng.random((count, len(ranked))).argsort(axis=1)[:, :size].min(axis=1)
        parents: Archs = ranked[winners]
        if self._mutation is None:
            return variation.one_step(parents, self._problem, rng)
        return variation.children(parents, parents, self._problem, rng, crossover=0.0, mutation=self._mutation)


def _best_first(costs: Costs, violations: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices by rank, then by crowding distance within it or by mean place; chance orders equals."""
    ranks = dominance.ranks(costs, violations)
    worth = np.zeros(len(ranks))
    if costs.shape[1] > _CROWDED:
        worth = (costs[:, None, :] > costs[None, :, :]).sum(axis=(1, 2)).astype(np.float64)
    else:
        for level in range(int(ranks.max(initial=-1)) + 1):
            worth[ranks == level] = -dominance.crowding_distance(costs[ranks == level])
    return np.asarray(np.lexsort((rng.permutation(len(ranks)), worth, ranks)))


STRATEGY = RegularisedEvolution
