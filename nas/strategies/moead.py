"""MOEA/D: many searches of one objective each, which help their neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs, Floats
from nas.operators import variation
from nas.operators.history import History
from nas.operators.protocol import Problem, Shown
from nas.operators.seen import Seen
from nas.pareto import directions, dominance
from nas.streams import stream

Ints = NDArray[np.int64]

KINDS = ("chebyshev", "pbi")
#: The least share of a weight, so that of two equal in what a corner asks for the better in the rest wins.
_FLOOR = 1e-3


class Moead(Shown):
    """Evolution by decomposition: each weight has one incumbent, and children come from incumbents of near weights.

    Weights are served in turn, in a fixed pseudo-random order. What is told belongs to the weight under which it is
    best, whoever asked for it, and replaces at most a few incumbents that it beats there and nearby. Costs are
    normalised by the ideal of all that was told and the nadir of the front of the incumbents.

    Source: Zhang & Li, "MOEA/D: a multiobjective evolutionary algorithm based on decomposition", IEEE TEVC 11(6), 2007,
        sections II and III, normalised as in its section V-E; mating beyond the neighbourhood and few replacements as
        in Li & Zhang, "Multiobjective optimization problems with complicated Pareto sets, MOEA/D and NSGA-II", IEEE
        TEVC 13(2), 2009; the weight that a child belongs to as in Wang et al., "Adaptive replacement strategies for
        MOEA/D", IEEE Trans. Cybernetics 46(2), 2016.

    Args:
        problem: what is searched.
        seed: of all randomness.
        weights: about how many, at least 1, or None for 12 with up to two objectives, 28 with three and 35 beyond.
        neighbours: how many near weights mate and are replaced, at least 2.
        near: probability that both parents come from the neighbourhood, else from all incumbents.
        replacements: how many incumbents one architecture replaces at most, at least 1.
        kind: `chebyshev`, the largest weighted cost; or `pbi`, the way along the direction and `theta` times the
            distance from it.
        theta: of `pbi`, at least 0.
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
        weights: int | None = None,
        neighbours: int = 20,
        near: float = 0.9,
        replacements: int = 2,
        kind: str = "chebyshev",
        theta: float = 5.0,
        crossover: float = 0.9,
        mutation: float | None = None,
    ) -> None:
        if kind not in KINDS:
            raise UsageError(f"moead has no kind {kind!r}", hint=f"Kinds: {', '.join(KINDS)}.")
        if (weights is not None and weights < 1) or neighbours < 2 or replacements < 1 or theta < 0:
            raise UsageError(
                "moead needs weights and replacements of at least 1, neighbours of at least 2 and theta of at least 0, "
                f"got {weights}, {replacements}, {neighbours}, {theta}"
            )
        if not 0 <= near <= 1 or not 0 <= crossover <= 1 or not (mutation is None or 0 < mutation <= 1):
            raise UsageError(
                "moead needs near and crossover in 0..1 and mutation above 0 and up to 1, "
                f"got {near}, {crossover}, {mutation}"
            )
        self._problem = problem
        self._seed = seed
        self._near = near
        self._replacements = replacements
        self._kind = kind
        self._theta = theta
        self._crossover = crossover
        self._mutation = mutation if mutation is not None else 0.5 / len(problem.choices)
        self._weights = _weights(problem.objectives, weights, stream(seed, "moead.weights"))
        gaps = ((self._weights[:, None, :] - self._weights[None, :, :]) ** 2).sum(axis=2)
        self._order: Ints = np.argsort(gaps, axis=1, kind="stable")
        self._neighbours = neighbours
        self._incumbents: Ints = np.full(len(self._weights), -1, dtype=np.int64)
        self._seen = Seen(problem)
        self._history = History(problem)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Children for the weights whose turn it is; random networks until there were as many as weights."""
        told = self._history
        rng = stream(self._seed, "strategies.ask", len(told), told.tells)
        taken = self._seen.out(pending)
        turn = len(told) + len(taken)
        first = self._seen.unseen(min(n, max(len(self._weights) - len(self._seen), 0)), rng, taken)
        make = (lambda count: self._children(count, turn, rng)) if (self._incumbents >= 0).any() else None
        return np.concatenate([first, self._seen.offspring(n - len(first), rng, taken, make)])

    def tell(self, archs: Archs, costs: Costs, violations: Floats | None = None) -> None:
        """Remember all of it; each row takes the place of incumbents that it beats."""
        told, before = self._history, len(self._history)
        told.add(archs, costs, violations)
        self._seen.add(np.asarray(archs, dtype=np.int64))
        rows = before + np.flatnonzero(told.succeeded[before:])
        if len(rows) == 0:
            return
        held = np.concatenate([self._incumbents[self._incumbents >= 0], rows])
        ideal, nadir = self._bounds(held)
        scores = {
            int(row): score for row, score in zip(held, self._scores(told.costs[held], ideal, nadir), strict=True)
        }
        amounts = np.nan_to_num(told.violations, nan=np.inf)
        for row in rows.tolist():
            best = int(scores[row].argmin())
            left = self._replacements
            for place in self._order[best, : self._neighbours].tolist():
                holder = int(self._incumbents[place])
                if holder < 0 or (amounts[row], scores[row][place]) < (amounts[holder], scores[holder][place]):
                    self._incumbents[place] = row
                    left -= 1
                if left == 0:
                    break

    def _bounds(self, held: Ints) -> tuple[Floats, Floats]:
        """Ideal of the feasible ones that were told, and nadir of the front of `held`."""
        told = self._history
        usable = told.succeeded & (np.nan_to_num(told.violations, nan=np.inf) <= 0)
        usable = usable if usable.any() else told.succeeded
        front = dominance.ranks(told.costs[held], told.violations[held]) == 0
        return told.costs[usable].min(axis=0), told.costs[held][front].max(axis=0)

    def _scores(self, costs: Costs, ideal: Floats, nadir: Floats) -> Floats:
        """What each row is worth under each weight, `(n, weights)`, lower is better."""
        points = (costs - ideal) / np.where(nadir > ideal, nadir - ideal, 1.0)
        if self._kind == "chebyshev":
            return np.asarray((points[:, None, :] * self._weights).max(axis=2))
        units = self._weights / np.linalg.norm(self._weights, axis=1, keepdims=True)
        along = points @ units.T
        aside = np.sqrt(np.maximum((points**2).sum(axis=1, keepdims=True) - along**2, 0.0))
        return np.asarray(along + self._theta * aside)

    def _children(self, count: int, turn: int, rng: np.random.Generator) -> Archs:
        """Children for the weights from a turn on, whose neighbours are the nearest weights that have an incumbent."""
        order = self._order[(turn + np.arange(count)) % len(self._weights)]
        pools = self._incumbents[order[self._incumbents[order] >= 0]].reshape(count, -1)
        everyone = pools.shape[1]
        sizes = np.where(rng.random(count) < self._near, min(self._neighbours, everyone), everyone)
        parents = pools[np.arange(count), rng.integers(0, sizes, size=(2, count))]
        mothers, fathers = self._history.archs[parents]
        return variation.children(
            mothers, fathers, self._problem, rng, crossover=self._crossover, mutation=self._mutation, eta_crossover=20.0
        )


def _weights(objectives: int, count: int | None, rng: np.random.Generator) -> Floats:
    """Spread over the simplex, in random order, none of them 0; copies of the only one for one objective."""
    wanted = count if count is not None else {1: 12, 2: 12, 3: 28}.get(objectives, 35)
    if objectives == 1:
        return np.ones((wanted, 1))
    spread = np.maximum(directions.spread(objectives, wanted), _FLOOR)
    return np.asarray(rng.permutation(spread / spread.sum(axis=1, keepdims=True)))


STRATEGY = Moead
