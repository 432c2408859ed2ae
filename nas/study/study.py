"""A study: its record, and the points and the front that its trials come to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from device_profiles.errors import ConditionMismatch, InvalidData, SchemaMismatch
from nas.evaluators.protocol import FULL, Budget, Budgets
from nas.objectives import Constraint, Objective, violations
from nas.pareto import dominance, indicators, noise
from nas.study import lab
from nas.study.record import Record
from nas.study.tables import DATABASE, STUDY, TRIALS
from nas.study.trial import Point, Result, Trial
from profiler.store import NoStore, Store


class Study(Record):
    """The tables of one run, and what they come to.

    Args:
        store: the run's database, or that of a lab.
        name: of the study in it.
        place: the folder of the run, for people who look at the lab.

    Raises:
        SchemaMismatch: its study is of another version.
    """

    def __repr__(self) -> str:
        return f"Study({self.store.url!r})"

    def points(self, budgets: Mapping[str, Budget] | None = None) -> list[Point]:
        """The feasible architectures that were judged, each once, in the order in which they were asked for.

        One network is one point, whichever of its genomes were tried, unless they were judged differently.

        Args:
            budgets: by objective, of the values that are wanted. Of an objective that is not named they are those of
                the largest budget that there is; others are not compared, see `not_compared`.
        """
        objectives, constraints, single = self.objectives(), self.constraints(), self.replicates()
        judged = [
            trial
            for trial in self.compared(self.trials(), budgets)
            if trial.result is not None and np.isfinite([trial.value(o.name) for o in objectives]).all()
        ]
        if not judged:
            return []
        space = self.space()
        self.require_genes(judged, space.choices)
        networks = space.canonical(np.array([trial.arch for trial in judged], dtype=np.int64))
        found: dict[tuple[object, ...], Point] = {}
        for trial, network in zip(judged, networks, strict=True):
            assert trial.result is not None
            key = (*network.tolist(), *(trial.value(o.name) for o in objectives))
            known = found.get(key)
            if known is None:
                found[key] = Point(
                    trial.arch,
                    trial.result,
                    (trial.strategy,),
                    trial.id,
                    single.get(trial.id, {}),
                    trial.coverage,
                    trial.budgets,
                )
            elif trial.strategy not in known.found_by:
                found[key] = replace(known, found_by=(*known.found_by, trial.strategy))
        return [point for point in _settled(list(found.values())) if meets(point, constraints)]

    def front(self) -> list[Point]:
        """The points that no other dominates, all searches together, by the first objective's cost."""
        return front_of(self.points(), self.objectives())

    @property
    def has_budgets(self) -> bool:
        """Whether anything was not evaluated under its evaluator's own full budget."""
        with self.store.reading() as connection:
            mine = (TRIALS.c.study == self.number) & TRIALS.c.budgets.is_not(None)
            some = sa.select(sa.literal(1)).where(mine).limit(1)
            return connection.execute(some).first() is not None

    def compared(self, trials: Iterable[Trial], budgets: Mapping[str, Budget] | None = None) -> list[Trial]:
        """Those of some trials whose values may be compared; those that were not judged stay.

        Args:
            trials: of this study.
            budgets: see `points`.
        """
        if not self.has_budgets and not budgets:
            return list(trials)
        return _of_budgets(trials, {**_largest(self.trials()), **(budgets or {})})

    @property
    def not_compared(self) -> int:
        """How many judged trials are not on the front because another has a larger budget."""
        trials = self.trials()
        return len(trials) - len(self.compared(trials))


def _largest(trials: Sequence[Trial]) -> Budgets:
    """The largest budget of each objective that has a value."""
    found: Budgets = {}
    for trial in trials:
        for name in trial.result or {}:
            budget = trial.budget(name)
            if trial.state == "judged" and (name not in found or budget.size > found[name].size):
                found[name] = budget
    return found


def _of_budgets(trials: Iterable[Trial], wanted: Mapping[str, Budget]) -> list[Trial]:
    """Trials that were not judged, and those whose values are all of the wanted budgets."""
    return [
        trial for trial in trials if all(trial.budget(name) == wanted.get(name, FULL) for name in trial.result or {})
    ]


def meets(point: Point, constraints: Sequence[Constraint]) -> bool:
    """Whether a point breaks no constraint."""
    return not any(c.violation(np.array([point.result[c.name][0]]))[0] > 0 for c in constraints)


def front_of(points: list[Point], objectives: Sequence[Objective]) -> list[Point]:
    """The points that no other dominates, by the first objective's cost."""
    if not points:
        return []
    costs = costs_of([point.result for point in points], objectives)
    kept = [(tuple(costs[i]), points[i]) for i in np.flatnonzero(dominance.nondominated(costs))]
    kept.sort(key=lambda pair: (pair[0], pair[1].arch))
    return [point for _, point in kept]


def hypervolume(study: Study, trials: Iterable[Trial] | None = None) -> float:
    """Hypervolume of the study's points, or of some trials as they were told, in the units of the objectives."""
    reference = study.fact("reference")
    if reference is None:
        return 0.0
    found = [point.result for point in study.points()] if trials is None else _feasible(study, trials)
    return indicators.hypervolume(costs_of(found, study.objectives()), np.array(reference, dtype=np.float64))


def _feasible(study: Study, trials: Iterable[Trial]) -> list[Result]:
    """Results of the trials that were judged and break no constraint."""
    judged = [trial for trial in study.compared(trials) if trial.result is not None]
    constraints = study.constraints()
    outside = violations(constraints, {c.name: np.array([t.value(c.name) for t in judged]) for c in constraints})
    met = np.ones(len(judged), dtype=np.bool_) if outside is None else outside == 0
    return [trial.result for trial, good in zip(judged, met, strict=True) if good and trial.result is not None]


def _settled(points: list[Point]) -> list[Point]:
    """Points whose values are the means of their replicates, with the 90 % intervals that all of them pool.

    Where an objective was evaluated twice for some, those that were evaluated once have an interval too.
    """
    results = [dict(point.result) for point in points]
    archs = np.array([point.arch for point in points], dtype=np.int64)
    for name in {name for point in points for name in point.replicates}:
        single = [np.array(point.replicates.get(name) or [point.result[name][0]]) for point in points]
        finite = [values[np.isfinite(values), None] for values in single]
        if max(map(len, finite)) < 2:
            continue
        seen = noise.from_replicates(archs, finite)
        low, high = noise.interval(seen)
        for row, result in enumerate(results):
            result[name] = (float(seen.mean[row, 0]), float(low[row, 0]), float(high[row, 0]))
    return [replace(point, result=result) for point, result in zip(points, results, strict=True)]


def open_study(run: str | Path, *, as_copy: bool = False, in_lab: str | Path | None = None) -> Study:
    """The study in a run's folder; close it with `study.store.close()`.

    Args:
        run: the folder.
        as_copy: only look at it, see `profiler.Store`: nothing in the folder is changed, whatever version wrote it.
        in_lab: the lab of a run that has one, with a password, say; None for what the folder says.

    Raises:
        InvalidData: the folder holds no run.
        SchemaMismatch: the run cannot be read by this version, or is damaged.
    """
    path = Path(run) / DATABASE
    pointer = lab.pointer_of(Path(run))
    if pointer is not None:
        store = Store(pointer.lab if in_lab is None else in_lab, create=False, as_copy=as_copy)
        with _closed_on_error(store):
            return _begun(Study(store, pointer.study))
    try:
        store = Store(path, create=False, as_copy=as_copy)
    except NoStore as error:
        reason = "an empty" if path.exists() else "no"
        raise InvalidData(
            f"{run} is not the folder of a run: it has {reason} {DATABASE}", hint="hwnas search ... -o RUN"
        ) from error
    with _closed_on_error(store):
        return _begun(Study(store))


def _begun(study: Study) -> Study:
    """The same, if it is known what it is about."""
    study.objectives()
    return study


@contextlib.contextmanager
def _closed_on_error(store: Store) -> Iterator[None]:
    try:
        yield
    except BaseException:
        store.close()
        raise


def begin_study(folder: Path, in_lab: str | Path | None = None) -> Study:
    """The study of a search in its folder, or in a lab that the folder then says; made if there is none.

    Args:
        folder: of the run.
        in_lab: the lab that its rows go to; None for the folder, or for the lab that it has.

    Raises:
        ConditionMismatch: the run is in another lab.
        SchemaMismatch: its database holds measurements, but no study any more.
        UsageError: a lab is asked for, and the run is in its folder.
    """
    pointer = lab.pointer_to(folder, in_lab)
    if pointer is not None:
        store = Store(pointer.lab if in_lab is None else in_lab)
        with _closed_on_error(store):
            study = Study(store, pointer.study, place=lab.place_of(folder))
            lab.keep(folder, pointer, study)
            return study
    store = Store(folder / DATABASE)
    with _closed_on_error(store):
        if not sa.inspect(store.engine).has_table(STUDY.name) and store.targets():
            raise SchemaMismatch(
                f"{store.url} holds measurements, but no search",
                hint="Give another folder with -o, or restore the run from a copy; nothing was changed.",
            )
        return Study(store)


def costs_of(
    results: Sequence[Result | None], objectives: Sequence[Objective], budgets: Sequence[Budgets] = ()
) -> NDArray[np.float64]:
    """Results as costs `(n, m)`, lower is better; NaN where one is missing.

    Args:
        results: of trials.
        objectives: columns.
        budgets: under which the trials were evaluated, of each or of none.

    Raises:
        ConditionMismatch: values of one objective are of different budgets, which cannot be compared.
    """
    for objective in objectives:
        found = sorted({one.get(objective.name, FULL) for one in budgets}, key=lambda one: one.size)
        if len(found) > 1:
            words = [budget.key or "full" for budget in found]
            raise ConditionMismatch(
                f"values of {objective.name} under different budgets are not compared",
                expected={objective.name: words[-1]},
                got={objective.name: ", ".join(words[:-1])},
                hint="Take trials of one budget alone: study.trials(budgets=...).",
            )
    rows = [[np.nan if result is None else result[o.name][0] for o in objectives] for result in results]
    values = np.array(rows, dtype=np.float64).reshape(len(results), len(objectives))
    return np.stack([o.cost(values[:, i]) for i, o in enumerate(objectives)], axis=1)
