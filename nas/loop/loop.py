"""The loop: a strategy asks, evaluators judge, the study remembers; evolution and gradients end on one front."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import plugins
from device_profiles.errors import InfeasibleBudget, UsageError
from device_profiles.passwords import without_password
from device_profiles.profile import Target, as_target
from nas import gradient
from nas.evaluators import Context, Evaluator, function
from nas.evaluators.function import FunctionObjective
from nas.isolation import apart, space_parts
from nas.isolation.apart import open_objective
from nas.isolation.apart_strategy import ApartStrategy
from nas.loop import finalists, judging, reference, resolve, shared_weights, stand_alone
from nas.loop.checks import check_feasible, check_gradients, check_place, check_strategies, closest, runs_apart
from nas.loop.rounds import Rounds
from nas.loop.tabulated import tabulated
from nas.objectives import Constraint, parse_constraint
from nas.spaces import live
from nas.spaces.protocol import Space
from nas.study.lab import held, unmade_if_refused
from nas.study.plan import SearchPlan, asked, check, facts, with_wanted
from nas.study.study import Study, begin_study, hypervolume
from nas.study.tables import DATABASE
from nas.study.trial import Point
from nas.weights import data as weights_data
from profiler import unmade
from profiler.lock import run_lock
from profiler.store import Store

Progress = Callable[[str, int, int], None]


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

    def __repr__(self) -> str:
        names = ", ".join(evaluator.objective.name for evaluator in self.evaluators)
        return f"SearchResult({str(self.folder)!r}: {names} on {self.plan.space} by {', '.join(self.plan.named)})"

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
        """Export and measure the finalists; see `nas.loop.finalists.settle`."""
        with self._alone():
            self._settle(count)

    def evaluate_again(self, count: int) -> int:
        """Evaluate again what makes the front most certain; see `nas.loop.resolve.resolve`."""
        with self._alone():
            return self._resolve(count)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        wait = self.context.wait
        with run_lock(self.folder, wait=wait), held(self.study, wait=wait):
            yield

    def _settle(self, count: int) -> None:
        finalists.settle(self.study, self.context, self.evaluators, count)

    def _resolve(self, count: int) -> int:
        seconds = self.plan.shared_settings.get("evaluation_seconds")
        try:
            done = resolve.resolve(self.study, self.evaluators, count, seconds=seconds, progress=self.context.progress)
            reference.widen(self.study)
            return done
        finally:
            apart.close(self.evaluators)

    def report(self, path: str | Path) -> Path:
        """Write the HTML page; see `nas.report.front.write`."""
        from nas.report import front

        page: Path = front.write(self.study, Path(path))
        return page


def search(
    space: Space | str,
    *,
    objectives: Sequence[str | FunctionObjective],
    folder: str | Path,
    strategy: str | Sequence[str] = "auto",
    evaluations: int = 200,
    constraints: Sequence[str] = (),
    seed: int = 0,
    data: Any = None,
    target: Target | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    again: int = 0,
    finalists: int = 0,
    then: str | None = None,
    store: str | Path | None = None,
    lab: str | Path | None = None,
    wait: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> SearchResult:
    """Search a space, or go on with the search in `folder`.

    A run may be asked for other strategies, more evaluations, other bounds, and finalists; what else would make it
    another search is refused.

    Args:
        space: a space or its spec.
        objectives: `NAME`, `SPEC` or `NAME=SPEC`, or what `nas.objective` makes of a function.
        folder: of the run; made if it is not there.
        strategy: one or several; each has `evaluations` of its own, and all end on one front.
        evaluations: architectures that each strategy has judged; with `then`, both together.
        constraints: such as `latency <= 2 ms`.
        seed: of everything random.
        data: `digits`, an image folder, or another name of data (see `nas.weights.data`); or a
            `torch.utils.data.Dataset` of images with classes, or two of them, the second for the report; or None.
        target: where measured objectives and finalists are measured; a target, a name or a path.
        settings: see `SearchPlan`.
        again: further evaluations after the search, of what makes the front most certain.
        finalists: architectures of the front to export and measure after that.
        then: a strategy that asks and tells, which goes on in the same run where `strategy` has ended, told all that
            was judged; each has half of the evaluations, and this one also what the first did not use.
        store: where measurements go; where the rows of the run go if None.
        lab: a database that holds many runs, where the rows of this one go; those of its own folder, or the lab that
            it was begun in, if None.
        wait: until another search in the folder, or on the device, has ended.
        progress: told `(what, done, total)`.

    Raises:
        ConditionMismatch: the folder holds a search with other options.
        InfeasibleBudget: no architecture met the constraints.
        RunBusy: another process searches in the folder, or in the study of the lab.
        UsageError: an objective, a constraint, a strategy or a setting is not one.
    """
    if not isinstance(space, str):
        live.keep(space)
    plan = SearchPlan(
        space=space if isinstance(space, str) else space.spec,
        objectives=tuple(function.keep(one) if isinstance(one, FunctionObjective) else one for one in objectives),
        strategies=(strategy,) if isinstance(strategy, str) else tuple(strategy),
        evaluations=evaluations,
        constraints=tuple(constraints),
        seed=seed,
        data=weights_data.named(data),
        target=None if target is None else as_target(target),
        settings=dict(settings or {}),
        again=again,
        finalists=finalists,
        then=then,
    )
    return run(plan, folder, store=store, lab=lab, wait=wait, progress=progress)


def run(
    plan: SearchPlan,
    folder: str | Path,
    *,
    store: str | Path | None = None,
    lab: str | Path | None = None,
    wait: bool = False,
    progress: Progress,
) -> SearchResult:
    """`search` from a plan.

    Raises:
        PluginError: code of others failed that the search cannot go on without: a strategy, a space, an evaluator that
            cannot be opened.
        UsageError: the plan names what is not there, or torchrun has started several processes.
    """
    shared_weights.require_alone()
    check(plan)
    stand_alone.require(plan.shared_settings.get("stand_alone", 0))
    plan = with_wanted(plan)
    with plugins.blamed(), ExitStack() as stack:
        return _run(plan, Path(folder), store, lab, progress, stack, wait=wait)


def _run(
    plan: SearchPlan,
    place: Path,
    store: str | Path | None,
    lab: str | Path | None,
    progress: Progress,
    stack: ExitStack,
    *,
    wait: bool,
) -> SearchResult:
    seconds = float(plan.shared_settings.get("plugin_seconds", apart.PLUGIN_SECONDS))
    space, parts = space_parts.load(plan.space, seconds)
    check_strategies(plan, space)
    check_place(place)
    # Before anything is computed: their workers begin as this process is now.
    foreign = {
        name: ApartStrategy(name, space, parts, plan.settings_of(name), plan.seed, seconds)
        for name in plan.named
        if runs_apart(name)
    }
    for strategy in foreign.values():
        stack.callback(strategy.close)
        strategy.start()
    stack.enter_context(run_lock(place, wait=wait))
    opened = stack.enter_context(unmade.if_refused(place / DATABASE, store))
    study = begin_study(place, lab)
    opened.append(study.store)
    stack.enter_context(held(study, wait=wait))
    stack.enter_context(unmade_if_refused(study, place))
    context = Context(
        space=space,
        folder=place,
        store=Store(store) if store is not None else study.store,
        seed=plan.seed,
        data=plan.data,
        target=plan.target,
        settings=plan.shared_settings,
        progress=progress,
        wait=wait,
    )
    if store is not None:
        opened.append(context.store)
    evaluators, constraints = _judges(plan, context, stack)
    count = int(plan.shared_settings.get("stand_alone", 0))
    alone = stand_alone.trainings(context, evaluators, count)
    study.bind(facts(plan, space, evaluators, constraints))
    study.ask(asked(plan))
    if store is not None and study.fact("store") is None:
        study.set_fact("store", without_password(str(store), instead=""))
    parts = tabulated(space, parts, evaluators)
    check_feasible(space, parts, evaluators, constraints)
    loop = Rounds(plan, space, parts, foreign, study, context, evaluators, constraints)
    used = 0
    for name in plan.strategies:
        run_one = loop.descend if name in gradient.names() else loop.ask_and_tell
        used += run_one(name, plan.first_share)
    if plan.then is not None:
        loop.ask_and_tell(plan.then, plan.evaluations - used, after=plan.strategies[0])
    reference.widen(study)
    if alone is not None:
        stand_alone.compare(study, context, *alone, count)
    return _ended(SearchResult(plan, place, study, context, evaluators), constraints)


def _ended(result: SearchResult, constraints: tuple[Constraint, ...]) -> SearchResult:
    """The result, after what is to be done with the front.

    Raises:
        InfeasibleBudget: there is none within the constraints.
    """
    if constraints and not result.front:
        raise InfeasibleBudget(
            f"none of {result.evaluations} architectures met {' and '.join(map(str, constraints))}; "
            + closest(result.study.trials(), constraints),
            hint="Loosen the bound, or search longer: the run goes on from here.",
        )
    if result.plan.again:
        result._resolve(result.plan.again)
    if result.plan.finalists:
        result._settle(result.plan.finalists)
    return result


def _judges(
    plan: SearchPlan, context: Context, stack: ExitStack
) -> tuple[tuple[Evaluator, ...], tuple[Constraint, ...]]:
    """Evaluators of the objectives, opened, and the bounds; what they cannot do for the plan is refused now.

    Raises:
        UsageError: it is so.
    """
    evaluators: tuple[Evaluator, ...] = ()
    for text in plan.objectives:
        evaluators = (*evaluators, open_objective(text, context))
        stack.callback(apart.close, evaluators[-1:])
    names = [evaluator.objective.name for evaluator in evaluators]
    if len(set(names)) < len(names):
        raise UsageError(f"two objectives have one name: {', '.join(names)}", hint="Name them: NAME=SPEC.")
    constraints = tuple(parse_constraint(text, [e.objective for e in evaluators]) for text in plan.constraints)
    check_gradients(plan, evaluators, constraints)
    judging.budgets_of(evaluators, plan.budget)
    if plan.replicates > 1 or plan.again:
        judging.repeatable(evaluators, plan.replicates)
    if plan.finalists:
        finalists.require(context, evaluators)
    return evaluators, constraints
