"""Our own default: surrogates chosen by evidence, where hardware costs are known and only accuracy is dear."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Costs, Floats
from nas.operators import selection
from nas.operators.history import History
from nas.operators.protocol import Problem, Shown
from nas.operators.seen import Seen
from nas.pareto import dominance
from nas.strategies.auto import candidates
from nas.strategies.auto.belief import Belief
from nas.strategies.auto.belief import fit as fit_beliefs
from nas.strategies.auto.design import design
from nas.strategies.auto.inputs import inputs_of
from nas.strategies.auto.value import Believed, expected
from nas.streams import stream
from nas.surrogates.exact_process import Posterior
from nas.surrogates.threads import one_thread

#: A candidate's imagined cost, in standard deviations below its mean: what is hoped of it is not looked for twice. Less
#: is hoped for where features make predictions sharp.
_HOPE, _HOPE_WITH_FEATURES = 1.0, 0.5
#: Networks of the largest improvement among which a batch is chosen, one by one: where the improvement of one dear
#: objective has a closed form, and where it is dearer to compute.
_SHORTLIST, _SHORTER = 4_000, 1_000
#: Parents of candidates in a large space.
_PARENTS = 40


class Auto(Shown):
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
        self._whole = _Whole(self) if candidates.is_small(problem) else None
        self._beliefs: tuple[int, list[Belief]] = (0, [])
        self._design: Archs | None = None

    @property
    def surrogates(self) -> dict[int, str]:
        """The covariance that was chosen for each dear objective, by its column; empty before the first fit."""
        return {belief.column: belief.fitted.kernel.name for belief in self._believed() if belief.column >= 0}

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """The design first, then what is expected to add most to the hypervolume."""
        rng = stream(self._seed, "strategies.ask", len(self._seen), self._history.tells)
        taken = self._seen.out(pending)
        parts = [self._seen.first(self._designed(), min(n, max(self._initial - len(self._seen), 0)), taken)]
        missing = n - len(parts[0])
        with one_thread():
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
            rng = stream(self._seed, "auto.design")
            pool = self._whole.archs if self._whole is not None else candidates.drawn(self._problem, rng)
            columns = self._inputs(pool)[:, self._inputs.spread]
            known = self._known(pool)[:, sorted(self._problem.known)]
            self._design = pool[design(columns, known, self._initial, rng)]
        return self._design

    def _known(self, archs: Archs) -> Floats:
        """Costs of the known objectives, `(n, m)`, 0 in the others' columns."""
        found = np.zeros((len(archs), self._problem.objectives))
        for column in self._problem.known:
            found[:, column] = self._problem.cost(column, archs)
        return found

    def _believed(self) -> list[Belief]:
        """Surrogates for what was told up to the last time that they were due.

        When they are due depends on the tells alone, so that a search that is replayed has the same ones.
        """
        due, following = 0, float(min(self._initial, 8))
        for count in self._counts:
            if count >= following:
                due, following = count, count * self._growth
        if due != self._beliefs[0]:
            self._beliefs = (due, fit_beliefs(self._history, due, self._inputs, self._dear))
        return self._beliefs[1]

    def _chosen(self, count: int, beliefs: list[Belief], taken: set[bytes], rng: np.random.Generator) -> Archs:
        """Up to `count` networks, one after the other, each as if those before it had been as good as is hoped."""
        closed = self._problem.objectives <= 2 and len(self._dear) == 1
        front, size = self._front(), max(_SHORTLIST if closed else _SHORTER, 4 * count)
        if self._whole is not None:
            archs, posteriors = self._whole.shortlist(size, beliefs, taken, front)
        else:
            archs = candidates.promising(
                self._problem, self._seen, self._parents(), lambda rows: self._value(rows, beliefs, front), rng, taken
            )
            posteriors = [self._posterior(belief, archs) for belief in beliefs] if len(archs) else []
        if len(archs) == 0:
            return archs
        known = self._known(archs)
        means = self._means(beliefs, posteriors)
        hope = _HOPE if self._problem.features is None else _HOPE_WITH_FEATURES
        free = np.ones(len(archs), dtype=np.bool_)
        found: list[int] = []
        while len(found) < count and free.any():
            deviations = [posterior.deviation for posterior in posteriors]
            values = np.where(free, self._worth(known, beliefs, means, deviations, front), -1.0)
            if values.max() < 1e-200:  # as far as anyone can tell the front cannot move: look where least is known
                values = np.where(free, deviations[0], -1.0)
            pick = int(np.argmax(np.round(values / values.max(), 9)))
            found.append(pick)
            free[pick] = False
            hoped = known[pick].copy()
            for belief, mean, deviation, posterior in zip(beliefs, means, deviations, posteriors, strict=True):
                if belief.scale is not None:
                    hoped[belief.column] = belief.scale.backward(mean[pick] - hope * deviation[pick])
                posterior.imagine(pick)
            front = np.concatenate([front, hoped[None]])
        taken.update(self._seen.keys(archs[found]))
        return np.asarray(archs[found])

    def _front(self) -> Costs:
        """Costs of what was told and is feasible, without what others dominate."""
        history = self._history
        costs = history.costs[history.succeeded & (history.violations <= 0)]
        return np.asarray(costs[dominance.nondominated(costs)])

    def _parents(self) -> Archs:
        """The best that was told, by rank; failures only if there is nothing else."""
        history = self._history
        rows = selection.survivors(history.costs, history.violations, _PARENTS).rows
        able = rows[history.succeeded[rows]]
        return np.asarray(history.archs[able if len(able) else rows])

    def _posterior(self, belief: Belief, archs: Archs) -> Posterior:
        """What is believed of some networks after all that was told."""
        rows = belief.observed(self._history, self._beliefs[0], len(self._history))
        posterior = Posterior(belief.fitted, self._inputs(archs), len(rows) + 64)
        posterior.observe(self._inputs(self._history.archs[rows]))
        return posterior

    def _means(self, beliefs: list[Belief], posteriors: list[Posterior]) -> list[Floats]:
        history = self._history
        observed = [belief.observed(history, self._beliefs[0], len(history)) for belief in beliefs]
        return [
            posterior.mean(belief.targets(history, rows))
            for belief, posterior, rows in zip(beliefs, posteriors, observed, strict=True)
        ]

    def _value(self, archs: Archs, beliefs: list[Belief], front: Costs) -> Floats:
        """What evaluating each of some networks is worth, `(n,)`."""
        posteriors = [self._posterior(belief, archs) for belief in beliefs]
        deviations = [posterior.deviation for posterior in posteriors]
        return self._worth(self._known(archs), beliefs, self._means(beliefs, posteriors), deviations, front)

    def _worth(
        self, known: Costs, beliefs: list[Belief], means: list[Floats], deviations: list[Floats], front: Costs
    ) -> Floats:
        """Expected hypervolume improvement times the probability of being feasible, `(N,)`."""
        from scipy.special import ndtr

        feasible = np.ones(len(known))
        believed = []
        for belief, mean, deviation in zip(beliefs, means, deviations, strict=True):
            if belief.scale is None:
                feasible = ndtr(-mean / np.maximum(deviation, 0.1))
            else:
                believed.append(Believed(belief.column, belief.scale, mean, deviation))
        if len(front) == 0:
            return feasible
        return np.asarray(feasible * expected(known, believed, front, self._reference(known), self._seed))

    def _reference(self, known: Costs) -> Floats:
        """Worst costs that count, `(m,)`: nine tenths of what was told of dear ones are better, all of known ones."""
        costs = self._history.costs[self._history.succeeded]
        low = costs.min(axis=0) + 1e-6 * np.maximum(np.ptp(costs, axis=0), 1e-12)
        reference = np.maximum(np.quantile(costs, 0.9, axis=0), low)
        for column in self._problem.known:
            reference[column] = max(float(known[:, column].max(initial=-np.inf)), float(costs[:, column].max()))
        return np.asarray(reference)


class _Whole:
    """A small space: all its networks, and what is believed of them, kept from one ask to the next."""

    def __init__(self, search: Auto) -> None:
        self._search = search
        self._posteriors: tuple[int, int, list[Posterior]] = (0, 0, [])

    @cached_property
    def archs(self) -> Archs:
        """All networks, `(N, d)`."""
        return candidates.everything(self._search._problem)

    @cached_property
    def _known(self) -> Costs:
        return self._search._known(self.archs)

    @cached_property
    def _inputs(self) -> Floats:
        return self._search._inputs(self.archs)

    @cached_property
    def _keys(self) -> list[bytes]:
        return self._search._seen.keys(self.archs)

    def shortlist(
        self, count: int, beliefs: list[Belief], taken: set[bytes], front: Costs
    ) -> tuple[Archs, list[Posterior]]:
        """The new networks that are worth most, `(<=count, d)`, and what is believed of them."""
        search = self._search
        posteriors = self._caught_up(beliefs)
        deviations = [posterior.deviation for posterior in posteriors]
        values = search._worth(self._known, beliefs, search._means(beliefs, posteriors), deviations, front)
        new = np.array([key not in taken and not search._seen.knows(key) for key in self._keys], dtype=np.bool_)
        places = np.flatnonzero(new)
        places = np.sort(places[np.argsort(-values[places], kind="stable")[:count]])
        return self.archs[places], [posterior.of(places) for posterior in posteriors]

    def _caught_up(self, beliefs: list[Belief]) -> list[Posterior]:
        """What is believed after the last tell.

        Observations are added tell by tell, in order, so that a search that is replayed computes the same bits.
        """
        search, history = self._search, self._search._history
        due = search._beliefs[0]
        fitted, told, posteriors = self._posteriors
        if fitted != due or not posteriors:
            told, posteriors = due, []
            for belief in beliefs:
                posterior = Posterior(belief.fitted, self._inputs, int(len(belief.rows) * search._growth) + 64)
                posterior.observe(search._inputs(history.archs[belief.rows]))
                posteriors.append(posterior)
        for count in search._counts:
            if count <= told:
                continue
            for belief, posterior in zip(beliefs, posteriors, strict=True):
                rows = belief.usable(history, told, count)
                if len(rows):
                    posterior.observe(search._inputs(history.archs[rows]))
            told = count
        self._posteriors = (due, told, posteriors)
        return posteriors


STRATEGY = Auto
