"""The loop: a strategy asks, evaluators judge, the study remembers; evolution and gradients end on one front."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles import plugins
from device_profiles.errors import InfeasibleBudget, PluginError, UsageError
from device_profiles.outputs import existing
from device_profiles.passwords import without_password
from device_profiles.profile import Target
from nas import apart, checking, finalists, gradient, guard, indicators, judging, resolve, space_parts, strategies
from nas.apart import ApartStrategy, open_objective
from nas.evaluators import Context, Evaluator
from nas.evaluators.predicted import Predicted
from nas.evaluators.protocol import OwnsWeights
from nas.gradient.protocol import GradientProblem
from nas.objectives import Constraint, parse_constraint, violations
from nas.plan import SearchPlan, check, facts
from nas.space_parts import Parts
from nas.spaces.protocol import Space
from nas.strategies.protocol import Strategy
from nas.study import DATABASE, Point, Result, Study, Trial, begin_study, costs_of
from profiler import unmade
from profiler.store import Store

Progress = Callable[[str, int, int], None]

#: Architectures that are asked for at once.
BATCH = 10
#: Spaces up to this size are looked through for an architecture that meets the constraints before anything is trained.
ENUMERABLE = 100_000
#: Samples that fix the reference point of the hypervolume where a quantity is free to know.
REFERENCE_SAMPLES = 2_000


@dataclass(frozen=True)
class SearchResult:
    """A finished search. Everything is in its folder; this gives it names.

    Attributes:
        plan: what was asked for.
        folder: the run.
        study: trials and finalists.
        context: what the evaluators share.
        evaluators: of the objectives, in order.
    """

    plan: SearchPlan
    folder: Path
    study: Study
    context: Context
    evaluators: tuple[Evaluator, ...]

    @property
    def front(self) -> list[Point]:
        """Feasible architectures that none dominates."""
        return self.study.front()

    @property
    def hypervolume(self) -> float:
        """Of the front, in the units of the objectives, up to the reference."""
        return hypervolume(self.study)

    @property
    def evaluations(self) -> int:
        """Architectures judged, all searches together."""
        return sum(trial.result is not None for trial in self.study.trials())

    @property
    def failures(self) -> dict[tuple[int, ...], str]:
        """Why architectures have no value, by genome."""
        reasons = self.study.failures()
        return {trial.arch: reasons[trial.id] for trial in self.study.trials() if trial.id in reasons}

    def measure_finalists(self, count: int) -> None:
        """Export and measure the finalists; see `nas.finalists.settle`."""
        finalists.settle(self.study, self.context, self.evaluators, count)

    def evaluate_again(self, count: int) -> int:
        """Evaluate again what makes the front most certain; see `nas.resolve.resolve`."""
        seconds = self.plan.shared_settings.get("evaluation_seconds")
        try:
            return resolve.resolve(self.study, self.evaluators, count, seconds=seconds, progress=self.context.progress)
        finally:
            apart.close(self.evaluators)

    def report(self, path: str | Path) -> Path:
        """Write the HTML page; see `nas.report.write`."""
        from nas import report

        page: Path = report.write(self.study, Path(path))
        return page


def search(
    space: Space | str,
    *,
    objectives: Sequence[str],
    folder: str | Path,
    strategy: str | Sequence[str] = "auto",
    evaluations: int = 200,
    constraints: Sequence[str] = (),
    seed: int = 0,
    data: str | None = None,
    target: Target | None = None,
    settings: Mapping[str, Any] | None = None,
    store: str | Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> SearchResult:
    """Search a space, or go on with the search in `folder`.

    Args:
        space: a space or its spec.
        objectives: `NAME`, `SPEC` or `NAME=SPEC`.
        folder: of the run; made if it is not there.
        strategy: one or several; each has `evaluations` of its own, and all end on one front.
        evaluations: architectures that each strategy has judged.
        constraints: such as `latency <= 2 ms`.
        seed: of everything random.
        data: `digits`, an image folder, or None.
        target: where measured objectives and finalists are measured.
        settings: see `SearchPlan`.
        store: where measurements go; the run's own database if None.
        progress: told `(what, done, total)`.

    Raises:
        ConditionMismatch: the folder holds a search with other options.
        InfeasibleBudget: no architecture met the constraints.
        UsageError: an objective, a constraint, a strategy or a setting is not one.
    """
    plan = SearchPlan(
        space=space if isinstance(space, str) else space.spec,
        objectives=tuple(objectives),
        strategies=(strategy,) if isinstance(strategy, str) else tuple(strategy),
        evaluations=evaluations,
        constraints=tuple(constraints),
        seed=seed,
        data=data,
        target=target,
        settings=dict(settings or {}),
    )
    return run(plan, folder, store=store, progress=progress)


def run(plan: SearchPlan, folder: str | Path, *, store: str | Path | None = None, progress: Progress) -> SearchResult:
    """`search` from a plan.

    Raises:
        PluginError: code of others failed that the search cannot go on without: a strategy, a space, an evaluator that
            cannot be opened.
    """
    check(plan)
    with plugins.blamed(), ExitStack() as stack:
        return _run(plan, Path(folder), store, progress, stack)


def _run(plan: SearchPlan, place: Path, store: str | Path | None, progress: Progress, stack: ExitStack) -> SearchResult:
    seconds = float(plan.shared_settings.get("plugin_seconds", apart.PLUGIN_SECONDS))
    space, parts = space_parts.load(plan.space, seconds)
    _check_strategies(plan, space)
    _check_place(place)
    # Before anything is computed: their workers begin as this process is now.
    foreign = {
        name: ApartStrategy(name, space, parts, plan.settings_of(name), plan.seed, seconds)
        for name in plan.strategies
        if _runs_apart(name)
    }
    for strategy in foreign.values():
        stack.callback(strategy.close)
        strategy.start()
    opened = stack.enter_context(unmade.if_refused(place / DATABASE, store))
    study = begin_study(place)
    opened.append(study.store)
    context = Context(
        space=space,
        folder=place,
        store=Store(store) if store is not None else study.store,
        seed=plan.seed,
        data=plan.data,
        target=plan.target,
        settings=plan.shared_settings,
        progress=progress,
    )
    if store is not None:
        opened.append(context.store)
    evaluators: tuple[Evaluator, ...] = ()
    for text in plan.objectives:
        evaluators = (*evaluators, open_objective(text, context))
        stack.callback(apart.close, evaluators[-1:])
    names = [evaluator.objective.name for evaluator in evaluators]
    if len(set(names)) < len(names):
        raise UsageError(f"two objectives have one name: {', '.join(names)}", hint="Name them: NAME=SPEC.")
    constraints = tuple(parse_constraint(text, [e.objective for e in evaluators]) for text in plan.constraints)
    if plan.replicates > 1:
        judging.repeatable(evaluators, plan.replicates)
    study.bind(facts(plan, space, evaluators, constraints))
    if store is not None and study.fact("store") is None:
        study.set_fact("store", without_password(str(store), instead=""))
    _check_feasible(space, parts, evaluators, constraints)
    loop = _Loop(plan, space, parts, foreign, study, context, evaluators, constraints)
    for name in plan.strategies:
        if name in gradient.names():
            loop.descend(name)
        else:
            loop.ask_and_tell(name)
    result = SearchResult(plan, place, study, context, evaluators)
    if constraints and not result.front:
        raise InfeasibleBudget(
            f"none of {result.evaluations} architectures met {' and '.join(map(str, constraints))}; "
            + _closest(study.trials(), constraints),
            hint="Loosen the bound, or search longer: the run goes on from here.",
        )
    return result


#: What a search writes into its folder.
_OWN = ("run.db", "supernet.", "onnx", ".")


def _check_strategies(plan: SearchPlan, space: Space) -> None:
    """Refuse settings that a strategy does not take, before anything is written.

    Raises:
        UsageError: it is so.
    """
    for name in plan.strategies:
        if name in strategies.names() and not _runs_apart(name):
            settings = plan.settings_of(name)
            strategies.create(
                name, choices=space.choices, objectives=len(plan.objectives), ordered=space.ordered, **settings
            )


def _runs_apart(name: str) -> bool:
    """Whether it is a strategy of others, which is made in a process of its own alone."""
    return name in strategies.names() and apart.is_apart(strategies.REGISTRY.get(name))


def _check_place(place: Path) -> None:
    """Refuse a folder that is something else: a run has files beside which nothing of others is safe.

    Raises:
        UsageError: it is.
    """
    hint = "Give another folder with -o."
    try:
        if existing(place.absolute()) == place.absolute() and not place.is_dir():
            raise UsageError(f"{place} is a file, not the folder of a run", hint=hint)
        foreign = (
            sorted(path.name for path in place.iterdir() if not path.name.startswith(_OWN)) if place.exists() else []
        )
        if foreign and not (place / DATABASE).exists():
            more = f" and {len(foreign) - 4} more" if len(foreign) > 4 else ""
            raise UsageError(
                f"{place} exists and is not the folder of a run: it holds {', '.join(foreign[:4])}{more}", hint=hint
            )
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror}", hint=hint) from error


def hypervolume(study: Study, trials: Iterable[Trial] | None = None) -> float:
    """Hypervolume of the study's points, or of some trials as they were told, in the units of the objectives."""
    reference = study.fact("reference")
    if reference is None:
        return 0.0
    found = [point.result for point in study.points()] if trials is None else _feasible(study, trials)
    return indicators.hypervolume(costs_of(found, study.objectives()), np.array(reference, dtype=np.float64))


def _feasible(study: Study, trials: Iterable[Trial]) -> list[Result]:
    """Results of the trials that were judged and break no constraint."""
    judged = [trial for trial in trials if trial.result is not None]
    constraints = study.constraints()
    outside = violations(constraints, {c.name: np.array([t.value(c.name) for t in judged]) for c in constraints})
    met = np.ones(len(judged), dtype=np.bool_) if outside is None else outside == 0
    return [trial.result for trial, good in zip(judged, met, strict=True) if good and trial.result is not None]


class _Loop:
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

    def ask_and_tell(self, name: str) -> None:
        """Replay what is known, then go on."""
        search = self.study.search(name, self.plan.settings_of(name))
        strategy = self._strategy(name)
        total = self.plan.evaluations
        recorded: dict[int, list[Trial]] = {}
        known = self.study.trials(search)
        self.study.require_genes(known, self.space.choices)
        for trial in known:
            recorded.setdefault(trial.batch, []).append(trial)
        done = batch = 0
        while done < total:
            asked = recorded.get(batch)
            if asked is None:
                archs = strategy.ask(min(BATCH, total - done))
                if len(archs) == 0:
                    if name in self.foreign:
                        self._check_exhausted(name, recorded.values())
                    break  # the space is exhausted
                asked = recorded[batch] = self.study.add_batch(search, name, batch, archs)
            self._tell(strategy, asked, self._judge(asked, name, done))
            done += len(asked)
            batch += 1
        self.context.progress(name, done, done)

    def _tell(self, strategy: Strategy, asked: list[Trial], results: list[Result]) -> None:
        objectives = [evaluator.objective for evaluator in self.evaluators]
        values = {o.name: np.array([result[o.name][0] for result in results]) for o in objectives}
        archs = np.array([trial.arch for trial in asked], dtype=np.int64)
        strategy.tell(archs, costs_of(results, objectives), violations(self.constraints, values))

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

    def descend(self, name: str) -> None:
        """Run a gradient strategy; runs that were finished before are not run again."""
        owner = next((e for e in self.evaluators if isinstance(e, OwnsWeights)), None)
        priced = next((e for e in self.evaluators if isinstance(e, Predicted)), None)
        if owner is None or priced is None:
            raise UsageError(
                f"strategy {name!r} needs an objective with shared weights and a predicted one",
                hint="--objective accuracy --data digits --objective latency:DIR",
            )
        search = self.study.search(name, {**self.plan.settings_of(name), "evaluations": self.plan.evaluations})
        known = self.study.trials(search)
        bounds = [c.bound for c in self.constraints if c.name == priced.objective.name and c.upper]
        problem = GradientProblem(
            space=self.space,
            supernet=lambda: owner.supernet,
            data=lambda: owner.images,
            cost=priced.predictor.differentiable(),
            budget=self.plan.evaluations,
            seed=self.plan.seed,
            bound=min(bounds, default=None),
            skip=frozenset(trial.batch for trial in known),
            progress=self.context.progress,
        )
        self._judge(known, name, 0)
        done = len(known)
        try:
            make = gradient.REGISTRY.get(name)
            runs = make(problem, **self.plan.settings_of(name))
        except TypeError as error:
            raise UsageError(f"strategy {name!r} does not take these settings: {error}") from error
        for found in runs:
            archs = found.archs
            if plugins.is_foreign(make):
                try:
                    archs = checking.rows(archs, self.space.choices, self.plan.evaluations)
                except checking.Broken as error:
                    raise PluginError(f"strategy {name!r} found what is in no space: {error}") from error
            self._judge(self.study.add_batch(search, name, found.run, archs, found.note), name, done)
            done += len(archs)
        self.context.progress(name, done, done)

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
        tabular = any(evaluator.objective.source == "table" for evaluator in self.evaluators)
        if name in self.foreign:
            self.foreign[name].open(len(self.evaluators), known, tabular=tabular)
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
            **self.plan.settings_of(name),
        )

    def _judge(self, trials: list[Trial], name: str, done: int) -> list[Result]:
        """Results of trials; those that were not judged yet are, and committed one by one where that takes long."""
        results = {trial.id: trial.result for trial in trials if trial.result is not None}
        waiting = [trial for trial in trials if trial.id not in results]
        together = all(e.objective.source in ("table", "predicted", "measured") for e in self.evaluators)
        chunks = [waiting] if together and waiting else [[trial] for trial in waiting]
        for chunk in chunks:
            self.context.progress(name, done + len(results), self.plan.evaluations)
            archs = np.array([trial.arch for trial in chunk], dtype=np.int64)
            judged = judging.judge(
                self.evaluators,
                archs,
                replicates=self.plan.replicates,
                seconds=self.seconds,
            )
            fresh = dict(zip([trial.id for trial in chunk], judged.results, strict=True))
            self.study.judge(
                fresh,
                {chunk[row].id: reason for row, reason in judged.reasons.items()},
                {chunk[row].id: single for row, single in judged.replicates.items()},
            )
            results |= fresh
        self._fix_reference(list(results.values()))
        return [results[trial.id] for trial in trials]

    def _fix_reference(self, results: list[Result]) -> None:
        """Once: a point that nearly everything dominates, so that hypervolumes of one run can be compared.

        No accuracy at all; for what is free to know the worst of 2,000 random architectures; else the worst of the
        first batch and a tenth of its range more.
        """
        if self.study.fact("reference") is not None or not results:
            return
        reference = []
        sample = self.parts.sample(min(REFERENCE_SAMPLES, self.space.size), np.random.default_rng([self.plan.seed, 6]))
        for evaluator in self.evaluators:
            objective = evaluator.objective
            if objective.unit == "fraction" and objective.maximise:
                reference.append(0.0)
                continue
            instant = evaluator.free or objective.source == "table"
            if instant:
                values = guard.free_values(evaluator, sample, self.seconds, self.plugin_seconds).value
            else:
                values = np.array([r[objective.name][0] for r in results])
            costs = objective.cost(values[np.isfinite(values)])
            if len(costs) == 0:
                return
            margin = 0.01 if instant else 0.1
            reference.append(float(costs.max() + margin * max(float(np.ptp(costs)), 1e-9)))
        self.study.set_fact("reference", reference)


def _check_feasible(
    space: Space, parts: Parts, evaluators: tuple[Evaluator, ...], constraints: tuple[Constraint, ...]
) -> None:
    """Refuse bounds on free quantities that no architecture of a small space meets, before anything is trained."""
    free = {evaluator.objective.name: evaluator for evaluator in evaluators if evaluator.free}
    mine = [constraint for constraint in constraints if constraint.name in free]
    if not mine or space.size > ENUMERABLE:
        return
    archs = np.stack(np.unravel_index(np.arange(space.size), space.choices), axis=1).astype(np.int64)
    archs = archs[parts.is_valid(archs)]
    values = {constraint.name: guard.free_values(free[constraint.name], archs, None).value for constraint in mine}
    total = violations(mine, values)
    assert total is not None
    if total.min() > 0:
        best = int(total.argmin())
        found = ", ".join(f"{name} = {value[best]:.4g}" for name, value in values.items())
        raise InfeasibleBudget(
            f"no architecture of {space.spec} meets {' and '.join(map(str, mine))}; the closest has {found}",
            hint="Loosen the bound, or choose another space.",
        )


def _closest(trials: list[Trial], constraints: tuple[Constraint, ...]) -> str:
    judged = [trial for trial in trials if trial.result is not None]
    values = {c.name: np.array([trial.value(c.name) for trial in judged]) for c in constraints}
    total = violations(constraints, values)
    if total is None or not judged:
        return "none was judged"
    best = int(np.argmin(total))
    if not np.isfinite(total[best]):
        return "all of them failed"
    found = ", ".join(f"{name} = {value[best]:.4g}" for name, value in values.items())
    text = ",".join(map(str, judged[best].arch))
    return f"the closest, {text}, has {found}: {total[best]:.1%} off"
