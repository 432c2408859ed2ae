"""Scalarisation: many searches of one objective each, along directions spread over the objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

KINDS = ("chebyshev", "linear")
#: The least share of a weight, so that of two equal in what a corner asks for the better in the rest wins.
_FLOOR = 1e-3
#: Children for each that is asked for, where known objectives can tell hopeless ones apart.
_SURPLUS = 4


class Scalarisation(Shown):
    """Evolution along fixed weights in turn, each with one number to lower.

    Each architecture that is asked for belongs to the next weight in a fixed pseudo-random order. It is a child of the
    best under that weight of all that was told, whichever weight it was told for. Costs are normalised by the ideal and
    nadir of the front of what was told, which move with it and can be read off `bounds`; or by fixed ones.

    Objectives that cost nothing to know screen the children: one that would not beat the best under its weight even if
    all other costs were ideal is dropped where there are others.

    Source: Steuer & Choo, "An interactive weighted Tchebycheff procedure for multiple objective programming",
        Mathematical Programming 26, 1983; weights in random turn as in Knowles, "ParEGO", IEEE TEVC 10(1), 2006,
        section III.

    Args:
        problem: what is searched.
        seed: of all randomness.
        kind: `chebyshev` (augmented, reaches all of a front) or `linear` (only points on the convex hull).
        weights: about how many, at least 1.
        initial: random networks before the first children, at least 1.
        parents: of how many of the best a child comes, at least 1.
        crossover: probability that a pair is crossed.
        mutation: probability that a gene is changed, or None for half a gene a child, see nsga2.
        rho: share of the weighted sum in `chebyshev`, at least 0.
        ideal: `(m,)`, fixed lower bounds of the costs; with `nadir` or not at all.
        nadir: `(m,)`, fixed upper bounds.

    Raises:
        UsageError: a setting is out of its range.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        kind: str = "chebyshev",
        weights: int = 24,
        initial: int = 16,
        parents: int = 4,
        crossover: float = 0.9,
        mutation: float | None = None,
        rho: float = 0.05,
        ideal: Sequence[float] | None = None,
        nadir: Sequence[float] | None = None,
    ) -> None:
        if kind not in KINDS:
            raise UsageError(f"scalarisation has no kind {kind!r}", hint=f"Kinds: {', '.join(KINDS)}.")
        if min(weights, initial, parents) < 1 or rho < 0 or not 0 <= crossover <= 1:
            raise UsageError(
                "scalarisation needs weights, initial and parents of at least 1, rho of at least 0 and crossover in "
                f"0..1, got {weights}, {initial}, {parents}, {rho}, {crossover}"
            )
        if mutation is not None and not 0 < mutation <= 1:
            raise UsageError(f"scalarisation needs mutation above 0 and up to 1, got {mutation}")
        self._problem = problem
        self._seed = seed
        self._kind = kind
        self._rho = rho
        spread = np.maximum(directions.spread(problem.objectives, weights), _FLOOR)
        order = stream(seed, "scalarisation.weights").permutation(len(spread))
        self._weights = (spread / spread.sum(axis=1, keepdims=True))[order]
        self._initial = initial
        self._parents = parents
        self._crossover = crossover
        self._mutation = mutation if mutation is not None else 0.5 / len(problem.choices)
        self._fixed = _fixed(problem, ideal, nadir)
        self._seen = Seen(problem)
        self._history = History(problem)

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Ideal and nadir by which costs are normalised now, each `(m,)`: of the feasible front of what was told."""
        if self._fixed is not None:
            return self._fixed
        told = self._history
        ranks = dominance.ranks(told.costs, told.violations)
        front = told.costs[(ranks == 0) & told.succeeded]
        if len(front) == 0:
            return np.zeros(self._problem.objectives), np.ones(self._problem.objectives)
        return front.min(axis=0), front.max(axis=0)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """One child for each weight whose turn it is; random networks at first."""
        told = self._history
        rng = stream(self._seed, "strategies.ask", len(told), told.tells)
        taken = self._seen.out(pending)
        turn = len(told) + len(taken)
        parts = [self._seen.unseen(min(n, max(self._initial - len(self._seen), 0)), rng, taken)]
        able = np.flatnonzero(told.succeeded)
        bounds = self.bounds
        for place in range(len(parts[0]), n):
            make = None
            if len(able):
                weight = self._weights[(turn + place) % len(self._weights)]
                best, score = self._best(weight, able, bounds)
                make = self._maker(best, weight, score, bounds, rng)
            parts.append(self._seen.offspring(1, rng, taken, make))
            if len(parts[-1]) == 0:
                break
        return np.concatenate(parts)

    def tell(self, archs: Archs, costs: Costs, violations: Floats | None = None) -> None:
        """Remember all of it."""
        self._history.add(archs, costs, violations)
        self._seen.add(np.asarray(archs, dtype=np.int64))

    def _scores(self, costs: Costs, weight: Floats, bounds: tuple[Floats, Floats]) -> Floats:
        if self._kind == "linear":
            return dominance.weighted_sum(costs, weight, *bounds)
        return dominance.chebyshev(costs, weight, *bounds, rho=self._rho)

    def _best(
        self, weight: Floats, able: NDArray[np.int64], bounds: tuple[Floats, Floats]
    ) -> tuple[NDArray[np.int64], float]:
        """The few best rows under a weight, and the score to beat; infinite as long as nothing is feasible."""
        amounts = np.nan_to_num(self._history.violations[able], nan=np.inf)
        scores = self._scores(self._history.costs[able], weight, bounds)
        order = np.lexsort((scores, amounts))[: self._parents]
        return able[order], float(scores[order[0]]) if amounts[order[0]] <= 0 else np.inf

    def _maker(
        self,
        best: NDArray[np.int64],
        weight: Floats,
        score: float,
        bounds: tuple[Floats, Floats],
        rng: np.random.Generator,
    ) -> Callable[[int], Archs]:
        """Makes children of the best, the better ones more often, without those that are known to be hopeless."""
        problem = self._problem

        def make(count: int) -> Archs:
            many = count * _SURPLUS if problem.known else count
            mothers, fathers = (
                self._history.archs[best[rng.integers(0, len(best), size=(2, many)).min(axis=0)]] for _ in range(2)
            )
            found = variation.children(
                mothers, fathers, problem, rng, crossover=self._crossover, mutation=self._mutation
            )
            if not problem.known:
                return found
            if problem.valid is not None:
                found = found[problem.valid(found)]
            optimistic = np.tile(bounds[0], (len(found), 1))
            for column in problem.known:
                optimistic[:, column] = problem.cost(column, found)
            hopeful = found[self._scores(optimistic, weight, bounds) < score]
            return hopeful if len(hopeful) else found

        return make


def _fixed(
    problem: Problem, ideal: Sequence[float] | None, nadir: Sequence[float] | None
) -> tuple[Floats, Floats] | None:
    """Fixed bounds, checked; None where there are none."""
    if ideal is None and nadir is None:
        return None
    bounds = tuple(np.array([] if one is None else one, dtype=np.float64) for one in (ideal, nadir))
    if any(one.shape != (problem.objectives,) for one in bounds) or not (bounds[0] < bounds[1]).all():
        raise UsageError(
            f"scalarisation needs ideal below nadir, one number each for {problem.objectives} objectives, "
            f"got {ideal} and {nadir}"
        )
    return bounds[0], bounds[1]


STRATEGY = Scalarisation
