"""NSGA-II over categorical genes, without repeats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas import moo, variation
from nas.archive import Seen
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
        mutation: probability that a gene is reset, or None for half a gene a child, `1 / (2 genes)`: what crossover
            makes of few categories is already new, and no network is asked for twice.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        population: int = 16,
        crossover: float = 0.9,
        mutation: float | None = None,
    ) -> None:
        if population < 4 or not 0 <= crossover <= 1 or not (mutation is None or 0 < mutation <= 1):
            raise UsageError(
                "nsga2 needs population >= 4, crossover in 0..1 and mutation in 0..1, "
                f"got {population}, {crossover}, {mutation}"
            )
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
        initial = min(n, max(self._size - len(self._seen), 0))
        parts = [self._seen.unseen(initial, rng, taken)] if initial else []
        missing = n - initial
        parents = np.isfinite(self._costs).all(axis=1).any()
        for _ in range(100):
            if missing <= 0 or not parents:
                break
            children = self._children(max(missing + missing // 2, 4), rng)
            kept = children[self._seen.fresh(children, taken)]
            for row in kept[missing:]:
                taken.discard(self._seen.keys(row[None])[0])
            parts.append(kept[:missing])
            missing -= len(parts[-1])
        if missing > 0:
            parts.append(self._seen.unseen(missing, rng, taken))
        return np.concatenate(parts) if parts else self._archs[:0]

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Survivors of the last ones and these."""
        archs, costs = np.asarray(archs, dtype=np.int64), np.asarray(costs, dtype=np.float64)
        if archs.ndim != 2 or costs.shape != (len(archs), self._problem.objectives):
            raise UsageError(
                f"archs must be (n, d) and costs (n, {self._problem.objectives}), got {archs.shape} and {costs.shape}"
            )
        self._seen.add(archs)
        self._tells += 1
        everyone = np.concatenate([self._archs, archs])
        scores = np.concatenate([self._costs, costs])
        amounts = np.concatenate(
            [self._violations, np.zeros(len(archs)) if violations is None else np.asarray(violations)]
        )
        ranks = moo.ranks(scores, amounts)
        crowding = np.zeros(len(ranks))
        kept: list[NDArray[np.int64]] = []
        room = self._size
        for level in range(int(ranks.max(initial=-1)) + 1):
            front = np.flatnonzero(ranks == level)
            if len(front) == 0 or room <= 0:
                continue
            if np.isfinite(scores[front]).all():
                crowding[front] = moo.crowding_distance(scores[front])
            if len(front) > room:
                front = front[np.argsort(-crowding[front], kind="stable")[:room]]
            kept.append(front)
            room -= len(front)
        rows = np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
        self._archs, self._costs, self._violations = everyone[rows], scores[rows], amounts[rows]
        self._ranks, self._crowding = ranks[rows], crowding[rows]

    def _children(self, count: int, rng: np.random.Generator) -> Archs:
        mothers, fathers = self._parents(count, rng), self._parents(count, rng)
        children = variation.uniform_crossover(mothers, fathers, rng, probability=self._crossover)
        return variation.reset_mutation(children, self._problem.choices, rng, rate=self._mutation)

    def _parents(self, count: int, rng: np.random.Generator) -> Archs:
        """Binary tournaments: the lower rank wins, then the larger crowding distance, then chance.

        Failures do not take part.
        """
        able = np.flatnonzero(np.isfinite(self._costs).all(axis=1))
        left, right = able[rng.integers(0, len(able), size=(2, count))]
        better = (self._ranks[right] < self._ranks[left]) | (
            (self._ranks[right] == self._ranks[left])
            & (
                (self._crowding[right] > self._crowding[left])
                | ((self._crowding[right] == self._crowding[left]) & (rng.random(count) < 0.5))
            )
        )
        return np.asarray(self._archs[np.where(better, right, left)], dtype=np.int64)


STRATEGY = Nsga2
