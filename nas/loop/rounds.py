"""Rounds of a search: a strategy asks, evaluators judge, the study remembers, the strategy is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from device_profiles import plugins
from device_profiles.errors import PluginError
from nas import gradient, strategies
from nas.arrays import Archs, Floats
from nas.evaluators import Context, Evaluator
from nas.evaluators.protocol import OwnsWeights, traits_of
from nas.gradient.protocol import GradientProblem
from nas.isolation import apart, checking
from nas.isolation.apart_strategy import ApartStrategy
from nas.isolation.space_parts import Parts
from nas.loop import guard, judging
from nas.loop.checks import ENUMERABLE
from nas.loop.growth import Growth
from nas.loop.priced import priced
from nas.loop.reference import RULE, VERSION, is_share
from nas.objectives import Constraint, violations
from nas.operators.protocol import Strategy
from nas.spaces.protocol import Space
from nas.streams import stream
from nas.study.plan import SearchPlan
from nas.study.study import Study, costs_of
from nas.study.trial import Result, Trial
from predictors import genes

#: Architectures that are asked for at once.
BATCH = 10
#: Samples that fix the reference point of the hypervolume where a quantity is free to know.
REFERENCE_SAMPLES = 2_000


class Rounds:
    """One call of `run`."""

    def __init__(
        self,
        plan: SearchPlan,
        space: Space,
        parts: Parts,
        foreign: Mapping[str, ApartStrategy],
        study: Study,
        context: Context,
        evaluators: tuple[Evaluator, ...],
        constraints: tuple[Constraint, ...],
    ) -> None:
        self.plan = plan
        self.space = space
        self.parts = parts
        self.foreign = foreign
        self.seconds = plan.shared_settings.get("evaluation_seconds")
        self.plugin_seconds = float(plan.shared_settings.get("plugin_seconds", apart.PLUGIN_SECONDS))
        self.study = study
        self.context = context
        self.evaluators = evaluators
        self.constraints = constraints
        self.budgets = judging.budgets_of(evaluators, plan.budget)
        self.growth = Growth([one.objective for one in evaluators], constraints, context.progress)

    def ask_and_tell(self, name: str, total: int, *, after: str | None = None) -> int:
        """Replay what is known, each batch in the order in which it was completed; then go on.

        Args:
            name: of the strategy.
            total: most architectures to ask for.
            after: the strategy where this one goes on: it is told all that others had judged before each batch.

        Returns:
            How many were asked for.
        """
        settings = self.plan.settings_of(name)
        search = self.study.search(name, settings if after is None else {**settings, "after": after})
        strategy = self._strategy(name)
        others = [] if after is None else self._others(search)
        if after in gradient.names():
            for owner in (e for e in self.evaluators if isinstance(e, OwnsWeights)):
                owner.follow_ends()
        recorded: dict[int, list[Trial]] = {}
        known = self.study.trials(search)
        self.study.require_genes(known, self.space.choices)
        for trial in sorted(known, key=_completion):
            recorded.setdefault(trial.batch, []).append(trial)
        done = batch = 0
        while done < total:
            asked = recorded.get(batch)
            others = self._tell_others(strategy, others, asked)
            if asked is None:
                archs = strategy.ask(min(BATCH, total - done))
                if len(archs) == 0:
                    if name in self.foreign:
                        self._check_exhausted(name, recorded.values())
                    break  # the space is exhausted
                asked = recorded[batch] = self.study.add_batch(search, name, batch, archs)
            self._tell(strategy, asked, self._judge(asked, name, done, total))
            done += len(asked)
            batch += 1
        self.context.progress(name, done, done)
        return done

    def _others(self, search: int) -> list[Trial]:
        """Trials of all other searches that were judged, in the order in which they were completed."""
        found = [trial for trial in self.study.trials() if trial.search != search and trial.result is not None]
        self.study.require_genes(found, self.space.choices)
        return sorted(found, key=_completion)

    def _tell_others(self, strategy: Strategy, others: list[Trial], asked: list[Trial] | None) -> list[Trial]:
        """Tell what others had judged before a batch was, or all of it before one that is new; the rest comes back."""
        own = [trial.completed for trial in asked or () if trial.completed is not None]
        told = [trial for trial in others if not own or (trial.completed or 0) < min(own)]
        if told:
            self._tell(strategy, told, [trial.result for trial in told if trial.result is not None])
        return others[len(told) :]

    def _tell(self, strategy: Strategy, asked: list[Trial], results: list[Result]) -> None:
        objectives = [evaluator.objective for evaluator in self.evaluators]
        values = {o.name: np.array([result[o.name][0] for result in results]) for o in objectives}
        archs = np.array([trial.arch for trial in asked], dtype=np.int64)
        limits = [self.budgets if trial.result is None else trial.budgets for trial in asked]
        strategy.tell(
            archs, costs_of(results, objectives, [self.budgets, *limits]), violations(self.constraints, values)
        )

    def _check_exhausted(self, name: str, batches: Iterable[list[Trial]]) -> None:
        """Refuse that a strategy of others asks for nothing while there are networks that it was not told of."""
        told = np.array([trial.arch for batch in batches for trial in batch], dtype=np.int64)
        told = told.reshape(-1, len(self.space.choices))
        seen = {row.tobytes() for row in self.parts.canonical(told)}
        rows = self.parts.sample(min(len(seen) + 1, self.space.size), np.random.default_rng(0))
        if any(row.tobytes() not in seen for row in self.parts.canonical(rows)):
            raise PluginError(
                f"strategy {name!r} asked for nothing after {len(told)} architectures, and the space is not exhausted",
                hint="What it found so far is kept. This is a fault of the plug-in: nas.testing.check_strategy tells.",
            )

    def descend(self, name: str, total: int) -> int:
        """Run a gradient strategy; runs that were finished before are not run again.

        Args:
            name: of the strategy.
            total: most architectures that it may find.

        Returns:
            How many it found.
        """
        owner = next(e for e in self.evaluators if isinstance(e, OwnsWeights))
        make = gradient.REGISTRY.get(name)
        first, *more = priced(make, self.evaluators, self.constraints)
        search = self.study.search(name, {**self.plan.settings_of(name), "evaluations": total})
        known = self.study.trials(search)
        problem = GradientProblem(
            space=self.space,
            supernet=lambda: owner.supernet,
            data=lambda: owner.images,
            cost=first.cost,
            budget=total,
            seed=self.plan.seed,
            bound=first.bound,
            floor=first.floor,
            more=tuple(more),
            skip=frozenset(trial.batch for trial in known),
            progress=self.context.progress,
        )
        self._judge(known, name, 0, total)
        done = len(known)
        for found in make(problem, **self.plan.settings_of(name)):
            archs = found.archs
            if plugins.is_foreign(make):
                try:
                    archs = checking.rows(archs, self.space.choices, total)
                except checking.Broken as error:
                    raise PluginError(f"strategy {name!r} found what is in no space: {error}") from error
            if found.weights is not None and len(fresh := self._not_judged(archs)):
                owner.keep_end(search, found.run, fresh, found.weights)
            self._judge(self.study.add_batch(search, name, found.run, archs, found.note), name, done, total)
            done += len(archs)
        self.context.progress(name, done, done)
        return done

    def _not_judged(self, archs: Archs) -> Archs:
        """Canonical networks of `(n, d)` genomes, without those that have values in this study."""
        judged = [trial.arch for trial in self.study.trials() if trial.result is not None]
        rows = np.array(judged, dtype=np.int64).reshape(-1, archs.shape[1])
        seen = {row.tobytes() for row in self.space.canonical(rows)}
        canonical = self.space.canonical(archs)
        return canonical[[row.tobytes() not in seen for row in canonical]]

    def _strategy(self, name: str) -> Strategy:
        known = {
            index: (
                lambda archs, e=evaluator: e.objective.cost(
                    guard.known(e, self.seconds, self.plugin_seconds)(archs).value
                )
            )
            for index, evaluator in enumerate(self.evaluators)
            if evaluator.free
        }
        # A table says of each of its rows that it is an architecture of its own: isomorphic cells differ in it.
        tabular = any(traits_of(evaluator).genomes_are_networks for evaluator in self.evaluators)
        if name in self.foreign:
            self.foreign[name].open(
                len(self.evaluators), known, self._excess(), tabular=tabular, listed=self.parts.listed
            )
            return self.foreign[name]
        return strategies.create(
            name,
            choices=self.space.choices,
            objectives=len(self.evaluators),
            seed=self.plan.seed,
            known=known,
            features=self.parts.features,
            canonical=None if tabular else self.parts.canonical,
            valid=self.parts.is_valid,
            ordered=self.space.ordered,
            listed=self.parts.listed,
            excess=self._excess(),
            **self.plan.settings_of(name),
        )

    def _excess(self) -> Callable[[Archs], Floats] | None:
        """How much architectures break the bounds on objectives that are free to know, or None without such bounds."""
        free = {evaluator.objective.name: evaluator for evaluator in self.evaluators if evaluator.free}
        mine = [constraint for constraint in self.constraints if constraint.name in free]
        if not mine:
            return None

        def excess(archs: Archs) -> Floats:
            judges = {one.name: guard.known(free[one.name], self.seconds, self.plugin_seconds) for one in mine}
            found = violations(mine, {name: judge(archs).value for name, judge in judges.items()})
            assert found is not None
            return found

        return excess

    def _judge(self, trials: list[Trial], name: str, done: int, total: int) -> list[Result]:
        """Results of trials; those that were not judged yet are, and committed one by one where that takes long."""
        results = {trial.id: trial.result for trial in trials if trial.result is not None}
        self.growth.add(list(results.values()))
        waiting = [trial for trial in trials if trial.id not in results]
        together = all(traits_of(evaluator).batched for evaluator in self.evaluators)
        chunks = [waiting] if together and waiting else [[trial] for trial in waiting]
        for chunk in chunks:
            self.context.progress(name, done + len(results), total)
            archs = np.array([trial.arch for trial in chunk], dtype=np.int64)
            judged = judging.judge(
                self.evaluators,
                archs,
                replicates=self.plan.replicates,
                seconds=self.seconds,
                budgets=self.budgets,
            )
            fresh = dict(zip([trial.id for trial in chunk], judged.results, strict=True))
            self.study.judge(
                fresh,
                {chunk[row].id: reason for row, reason in judged.reasons.items()},
                {chunk[row].id: single for row, single in judged.replicates.items()},
                {chunk[row].id: shares for row, shares in judged.coverage.items()},
                dict.fromkeys(fresh, self.budgets),
            )
            results |= fresh
            self.growth.add(list(fresh.values()))
        self._fix_reference(list(results.values()))
        return [results[trial.id] for trial in trials]

    def _fix_reference(self, results: list[Result]) -> None:
        """Once: a point that nearly everything dominates, so that hypervolumes of one run can be compared.

        No accuracy at all; for what is free to know the worst of a small space, or of 2,000 random architectures of a
        large one; else the worst of the first batch and a tenth of its range more. It is widened in the end if the
        front goes beyond it, see `nas.loop.reference`.
        """
        if self.study.fact("reference") is not None or not results:
            return
        reference = []
        for evaluator in self.evaluators:
            objective = evaluator.objective
            if is_share(objective):
                reference.append(0.0)
                continue
            instant = evaluator.free or traits_of(evaluator).instant
            if instant:
                values = guard.free_values(evaluator, self._sample(evaluator), self.seconds, self.plugin_seconds).value
            else:
                values = np.array([r[objective.name][0] for r in results])
            costs = objective.cost(values[np.isfinite(values)])
            if len(costs) == 0:
                return
            margin = 0.01 if instant else 0.1
            reference.append(float(costs.max() + margin * max(float(np.ptp(costs)), 1e-9)))
        self.study.set_fact("reference", reference)
        self.study.set_fact(RULE, VERSION)

    def _sample(self, evaluator: Evaluator) -> Archs:
        """Architectures whose worst value fixes a reference: all of a small space, if the toolkit judges them."""
        if self.space.size > ENUMERABLE or isinstance(evaluator, apart.Apart):
            count = min(REFERENCE_SAMPLES, self.space.size)
            return self.parts.sample(count, stream(self.plan.seed, "loop.reference"))
        archs = genes.numbered(np.arange(self.space.size), self.space.choices)
        return archs[self.parts.is_valid(archs)]


def _completion(trial: Trial) -> tuple[bool, int, int]:
    """Sorts trials in the order in which they were completed; those that were not yet come last."""
    return trial.completed is None, trial.completed or 0, trial.id
