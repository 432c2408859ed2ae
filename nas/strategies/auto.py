"""Our own default: surrogates chosen by evidence, where hardware costs are known and only accuracy is dear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas import acquisition, gaussian_process, moo, selection
from nas.acquisition import Scale
from nas.archive import Seen
from nas.gaussian_process import Fitted, Posterior
from nas.history import History
from nas.strategies import _auto_candidates as candidates
from nas.strategies._auto_design import design
from nas.strategies._auto_inputs import inputs_of
from nas.strategies.protocol import Archs, Costs, Problem

Floats = NDArray[np.float64]

#: A surrogate is fitted to at most so many observations, the best by rank.
_MOST = 600
#: A candidate's imagined cost, in standard deviations below its mean: what is hoped of it is not looked for twice.
_HOPE = 1.0
#: Draws of what is believed, and directions, where the hypervolume improvement has no closed form.
_DRAWS, _DIRECTIONS = 16, 64
#: Nodes of the quadrature over the second of two believed objectives.
_NODES = 5


@dataclass(frozen=True)
class _Belief:
    """What is believed of one column: a dear objective, or whether networks are feasible.

    Attributes:
        column: of the costs; -1 for feasibility.
        scale: of the costs, or None for feasibility, whose targets are signs.
        fitted: the surrogate.
        rows: of the history that it was fitted to.
    """

    column: int
    scale: Scale | None
    fitted: Fitted
    rows: NDArray[np.int64]


class Auto:
    """Bayesian search for a front whose hardware costs are known.

    Each objective that is not `known` has a Gaussian process over genes, counts of options, and features; which
    covariance is decided by evidence (marginal likelihood) as evaluations come in. What is evaluated next is what adds
    most to the expected hypervolume: in closed form for one dear objective with at most one known, by quadrature for
    two dear ones, by random scalarisations beyond. Small spaces are looked at as a whole, large ones through children
    and neighbours of the best. Failures and violations are learned as a process of their own, by whose probability of
    a feasible network the improvement is multiplied.

    Sources: Jones, Schonlau & Welch, J. Global Optimization 13, 1998 (expected improvement); Emmerich, Deutz &
        Klinkenberg, CEC 2011 (of the hypervolume); Ginsbourger, Le Riche & Carraro, "Kriging is well-suited to
        parallelize optimization", 2010 (believer, here a hopeful one); Gardner et al., "Bayesian optimization with
        inequality constraints", ICML 2014.

    Args:
        problem: what is searched.
        seed: of all randomness.
        initial: networks of the design before a surrogate is fitted, at least 4.
        growth: a surrogate is fitted anew when there are so many times the observations.
    """

    def __init__(self, problem: Problem, *, seed: int, initial: int = 10, growth: float = 1.2) -> None:
        if initial < 4 or growth <= 1:
            raise UsageError(f"auto needs initial >= 4 and growth > 1, got {initial} and {growth}")
        self._problem = problem
        self._seed = seed
        self._initial = initial
        self._growth = growth
        self._seen = Seen(problem)
        self._history = History(problem)
        self._counts: list[int] = []  # observations after each tell
        self._inputs = inputs_of(problem)
        self._dear = [column for column in range(problem.objectives) if column not in problem.known]
        self._space = _Whole(self) if candidates.is_small(problem) else None
        self._beliefs: tuple[int, list[_Belief]] = (0, [])
        self._design: Archs | None = None

    @property
    def surrogates(self) -> dict[int, str]:
        """The covariance that was chosen for each dear objective, by its column; empty before the first fit."""
        return {belief.column: belief.fitted.kernel.name for belief in self._believed() if belief.column >= 0}

    def ask(self, n: int) -> Archs:
        """The design first, then what is expected to add most to the hypervolume."""
        rng = np.random.default_rng([self._seed, len(self._seen), self._history.tells])
        taken: set[bytes] = set()
        parts = [self._seen.first(self._designed(), min(n, max(self._initial - len(self._seen), 0)), taken)]
        missing = n - len(parts[0])
        beliefs = self._believed() if missing > 0 else []
        if beliefs:
            chosen = self._chosen(missing, beliefs, taken, rng)
            parts.append(chosen)
            missing -= len(chosen)
        if missing > 0:
            parts.append(self._seen.unseen(missing, rng, taken))
        return np.concatenate(parts)

    def tell(self, archs: Archs, costs: Costs, violations: Floats | None = None) -> None:
        """Remember; surrogates are fitted when they are needed."""
        self._history.add(archs, costs, violations)
        self._seen.add(self._history.archs[len(self._history) - len(archs) :])
        self._counts.append(len(self._history))

    def _designed(self) -> Archs:
        """Networks to begin with: the ends of what is known, and far ones from each stratum between, `(k, d)`."""
        if self._design is None:
            rng = np.random.default_rng([self._seed, 1])
            pool = self._space.archs if self._space is not None else candidates.drawn(self._problem, rng)
            columns = self._inputs(pool)[:, self._inputs.spread]
            known = self._known(pool)[:, sorted(self._problem.known)]
            self._design = pool[design(columns, known, self._initial, rng)]
        return self._design

    def _known(self, archs: Archs) -> Floats:
        """Costs of the known objectives, `(n, m)`, 0 in the others' columns."""
        found = np.zeros((len(archs), self._problem.objectives))
        for column, function in self._problem.known.items():
            found[:, column] = function(archs)
        return found

    def _believed(self) -> list[_Belief]:
        """Surrogates for what was told up to the last time that they were due.

        When they are due depends on the tells alone, so that a search that is replayed has the same ones.
        """
        due, following = 0, float(min(self._initial, 8))
        for count in self._counts:
            if count >= following:
                due, following = count, count * self._growth
        if due != self._beliefs[0]:
            self._beliefs = (due, self._fitted(due))
        return self._beliefs[1]

    def _fitted(self, count: int) -> list[_Belief]:
        history = self._history
        archs, costs, amounts = history.archs[:count], history.costs[:count], history.violations[:count]
        able = np.flatnonzero(np.isfinite(costs).all(axis=1))
        if len(able) < 3:
            return []
        rows = able if len(able) <= _MOST else able[selection.survivors(costs[able], amounts[able], _MOST).rows]
        rows = np.sort(rows)
        inputs, kernels = self._inputs(archs[rows]), self._inputs.kernels
        clip = 1.0 if self._problem.features is not None else 0.9
        beliefs = []
        for column in self._dear:
            scale = acquisition.scale_of(costs[rows, column], clip=clip)
            fitted = gaussian_process.best(kernels, inputs, scale.forward(costs[rows, column]))
            beliefs.append(_Belief(column, scale, fitted, rows))
        if len(able) < count or (amounts > 0).any():
            rows = np.arange(count)[-_MOST:]
            fitted = gaussian_process.fit(kernels[0], self._inputs(archs[rows]), self._signs(rows))
            beliefs.append(_Belief(-1, None, fitted, rows))
        return beliefs

    def _signs(self, rows: NDArray[np.int64]) -> Floats:
        """-1 for feasible rows, 0 to 1 for the others by how much they violate, 1 for failures."""
        amounts = np.where(self._history.succeeded, self._history.violations, np.inf)[rows]
        order = np.unique(amounts[amounts > 0])
        return np.where(amounts > 0, (np.searchsorted(order, amounts) + 1.0) / max(len(order), 1), -1.0)

    def _targets(self, belief: _Belief, rows: NDArray[np.int64]) -> Floats:
        return (
            self._signs(rows)
            if belief.scale is None
            else belief.scale.forward(self._history.costs[rows, belief.column])
        )

    def _chosen(self, count: int, beliefs: list[_Belief], taken: set[bytes], rng: np.random.Generator) -> Archs:
        """Up to `count` networks, one after the other, each as if those before it had been as good as hoped."""
        front = self._front()
        if self._space is not None:
            view, posteriors = self._space, self._space.posteriors(beliefs)
            free = self._space.free(taken)
        else:
            archs = candidates.promising(
                self._problem, self._seen, self._parents(), lambda rows: self._value(rows, beliefs, front, rng), rng
            )
            view = _Part(archs, self._known(archs))
            posteriors = [self._posterior(belief, archs) for belief in beliefs]
            free = np.ones(len(archs), dtype=np.bool_)
        before = [(posterior.variance, len(posterior)) for posterior in posteriors]
        means = [
            posterior.mean(self._targets(belief, self._observed(belief)))
            for belief, posterior in zip(beliefs, posteriors, strict=True)
        ]
        found: list[int] = []
        while len(found) < count and free.any():
            deviations = [posterior.deviation for posterior in posteriors]
            values = self._improvement(view.known, beliefs, means, deviations, front, rng)
            values = np.where(free, values, -1.0)
            if values.max() <= 0:
                values = np.where(free, deviations[0], -1.0)
            pick = int(np.argmax(np.round(values / values.max(), 9)))
            found.append(pick)
            free[pick] = False
            hoped = view.known[pick].copy()
            for belief, mean, deviation, posterior in zip(beliefs, means, deviations, posteriors, strict=True):
                if belief.scale is not None:
                    hoped[belief.column] = belief.scale.backward(mean[pick] - _HOPE * deviation[pick])
                posterior.imagine(pick)
            front = np.concatenate([front, hoped[None]])
        for posterior, (variance, length) in zip(posteriors, before, strict=True):
            posterior.forget(variance, length)
        chosen = view.archs[found]
        taken.update(self._seen.keys(chosen))
        return chosen

    def _front(self) -> Costs:
        """Costs of what was told and is feasible, without what others dominate."""
        history = self._history
        costs = history.costs[history.succeeded & (history.violations <= 0)]
        return costs[moo.nondominated(costs)]

    def _parents(self) -> Archs:
        """The best that was told, by rank; at least some."""
        history = self._history
        kept = selection.survivors(history.costs, history.violations, 40)
        able = kept.rows[np.isfinite(history.costs[kept.rows]).all(axis=1)]
        return history.archs[able if len(able) else kept.rows]

    def _observed(self, belief: _Belief) -> NDArray[np.int64]:
        """Rows that a surrogate knows of: those that it was fitted to, and those told later."""
        later = np.arange(self._beliefs[0], len(self._history))
        if belief.scale is not None:
            later = later[self._history.succeeded[later]]
        return np.concatenate([belief.rows, later])

    def _posterior(self, belief: _Belief, archs: Archs) -> Posterior:
        rows = self._observed(belief)
        posterior = Posterior(belief.fitted, self._inputs(archs), len(rows) + 64)
        posterior.observe(self._inputs(self._history.archs[rows]))
        return posterior

    def _value(self, archs: Archs, beliefs: list[_Belief], front: Costs, rng: np.random.Generator) -> Floats:
        """Expected improvement of any networks, `(n,)`."""
        posteriors = [self._posterior(belief, archs) for belief in beliefs]
        means = [
            posterior.mean(self._targets(belief, self._observed(belief)))
            for belief, posterior in zip(beliefs, posteriors, strict=True)
        ]
        deviations = [posterior.deviation for posterior in posteriors]
        return self._improvement(self._known(archs), beliefs, means, deviations, front, rng)

    def _improvement(
        self,
        known: Costs,
        beliefs: list[_Belief],
        means: list[Floats],
        deviations: list[Floats],
        front: Costs,
        rng: np.random.Generator,
    ) -> Floats:
        """Expected hypervolume improvement times the probability of being feasible, `(N,)`."""
        feasible = np.ones(len(known))
        models = [(b, m, d) for b, m, d in zip(beliefs, means, deviations, strict=True) if b.scale is not None]
        for belief, mean, deviation in zip(beliefs, means, deviations, strict=True):
            if belief.scale is None:
                from scipy.special import ndtr

                feasible = ndtr(-mean / np.maximum(deviation, 0.1))
        if len(front) == 0:
            return feasible
        reference = self._reference(known)
        if self._problem.objectives <= 2 and len(models) >= 1:
            return feasible * self._closed(known, models, front, reference)
        directions = acquisition.sphere(_DIRECTIONS, self._problem.objectives, np.random.default_rng([self._seed, 2]))
        normals = np.random.default_rng([self._seed, 3]).standard_normal((_DRAWS, len(models)))
        draws = np.repeat(known[None], _DRAWS if models else 1, axis=0)
        for number, (belief, mean, deviation) in enumerate(models):
            assert belief.scale is not None
            values = mean[None] + normals[:, number, None] * deviation[None]
            draws[:, :, belief.column] = belief.scale.backward(values)
        low = np.minimum(front.min(axis=0), reference)
        span = np.where(reference > low, reference - low, 1.0)
        return feasible * acquisition.scalarised_improvement(
            (draws - low) / span, (front - low) / span, (reference - low) / span, directions
        )

    def _closed(
        self, known: Costs, models: list[tuple[_Belief, Floats, Floats]], front: Costs, reference: Floats
    ) -> Floats:
        """Expected improvement for one or two objectives, of which at least one is believed, `(N,)`."""
        belief, mean, deviation = models[0]
        scale = belief.scale
        assert scale is not None
        if self._problem.objectives == 1:
            return scale.improvement(np.array([front[:, 0].min()]), mean, deviation)[:, 0]
        other = 1 - belief.column
        ordered = front[:, [belief.column, other]]
        bounds = (float(reference[belief.column]), float(reference[other]))
        if len(models) == 1:
            return acquisition.staircase_improvement(scale, mean, deviation, known[:, other], ordered, bounds)
        second, centre, width = models[1]
        assert second.scale is not None
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        total = np.zeros(len(mean))
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            costs = second.scale.backward(centre + node * width)
            total += weight * acquisition.staircase_improvement(scale, mean, deviation, costs, ordered, bounds)
        return total

    def _reference(self, known: Costs) -> Floats:
        """Worst costs that count, `(m,)`: nine tenths of what was told of dear ones are better, all of known ones."""
        costs = self._history.costs[self._history.succeeded]
        reference = np.quantile(costs, 0.9, axis=0)
        span = np.maximum(np.ptp(costs, axis=0), 1e-12)
        reference = np.maximum(reference, costs.min(axis=0) + 1e-6 * span)
        for column in self._problem.known:
            reference[column] = max(float(known[:, column].max(initial=-np.inf)), float(costs[:, column].max()))
        return reference


@dataclass(frozen=True)
class _Part:
    """Some networks to choose from."""

    archs: Archs
    known: Costs


class _Whole:
    """A small space: all its networks, and what is believed of them, kept from one ask to the next."""

    def __init__(self, search: Auto) -> None:
        self._search = search
        self._state: tuple[int, int, list[Posterior]] = (0, 0, [])
        self._archs: Archs | None = None

    @property
    def archs(self) -> Archs:
        """All networks, `(N, d)`."""
        if self._archs is None:
            self._archs = candidates.everything(self._search._problem)
            self.known = self._search._known(self._archs)
            self._inputs = self._search._inputs(self._archs)
            self._keys = self._search._seen.keys(self._archs)
        return self._archs

    def free(self, taken: set[bytes]) -> NDArray[np.bool_]:
        """Which were neither told nor taken, `(N,)`."""
        seen = self._search._seen
        return np.array([key not in taken and not seen.knows(key) for key in self._keys], dtype=np.bool_)

    def posteriors(self, beliefs: list[_Belief]) -> list[Posterior]:
        """What is believed after the last tell.

        Observations are added tell by tell, in order, so that a search that is replayed computes the same bits.
        """
        search = self._search
        history = search._history
        due, told, posteriors = self._state
        start = search._beliefs[0]
        if due != start or not posteriors:
            posteriors = []
            for belief in beliefs:
                posterior = Posterior(belief.fitted, self._inputs, int(len(belief.rows) * search._growth) + 64)
                posterior.observe(search._inputs(history.archs[belief.rows]))
                posteriors.append(posterior)
            told = start
        for count in search._counts:
            if count <= told:
                continue
            for belief, posterior in zip(beliefs, posteriors, strict=True):
                rows = np.arange(told, count)
                if belief.scale is not None:
                    rows = rows[history.succeeded[rows]]
                if len(rows):
                    posterior.observe(search._inputs(history.archs[rows]))
            told = count
        self._state = (start, told, posteriors)
        return posteriors


STRATEGY = Auto
