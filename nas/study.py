"""A study: what was asked for, every trial, and what became of the finalists, in the database of its run.

Trials are raw and in order, so a search is resumed by replay: a strategy made anew from its seed is told them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from device_profiles.errors import ConditionMismatch, InvalidData, SchemaMismatch
from nas import moo, noise, spaces
from nas.objectives import Constraint, Objective
from profiler.store import Store

#: Version of the tables below. 1: first (2026-11).
STUDY_VERSION = 1
DATABASE = "run.db"

METADATA = sa.MetaData()

#: What the study is about, as JSON: `version`, `space`, `objectives`, `constraints`, `seed`, `data`, `target`,
#: `settings`; and `reference`, fixed when the first batch was judged.
STUDY = sa.Table(
    "study", METADATA, sa.Column("key", sa.String(32), primary_key=True), sa.Column("value", sa.Text, nullable=False)
)

#: One search of the study: a strategy with its settings.
SEARCHES = sa.Table(
    "searches",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("strategy", sa.String(64), nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
)

#: One architecture that a search asked for; `result` is NULL until it is judged, then
#: `{objective: [value, low, high]}`.
TRIALS = sa.Table(
    "trials",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("search", sa.ForeignKey("searches.id"), nullable=False, index=True),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("arch", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("result", sa.Text),
)

#: What became of an architecture that was chosen at the end, as JSON: `measured`, `onnx`, `test_accuracy`.
FINALISTS = sa.Table(
    "finalists",
    METADATA,
    sa.Column("arch", sa.Text, primary_key=True),
    sa.Column("facts", sa.Text, nullable=False),
)

#: Why a trial has no value, for people; since 2026-11, in studies of version 1 too.
FAILURES = sa.Table(
    "trial_failures",
    METADATA,
    sa.Column("trial", sa.ForeignKey("trials.id"), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
)

#: Single values of objectives that were evaluated more than once, from 0 on; NULL where an evaluation failed. Since
#: 2026-11, in studies of version 1 too.
REPLICATES = sa.Table(
    "trial_replicates",
    METADATA,
    sa.Column("trial", sa.ForeignKey("trials.id"), primary_key=True),
    sa.Column("objective", sa.String(64), primary_key=True),
    sa.Column("replicate", sa.Integer, primary_key=True),
    sa.Column("value", sa.Float),
)

Result = dict[str, tuple[float, float | None, float | None]]
Replicates = dict[str, list[float]]
"""Values of an objective by replicate, NaN where one failed."""


@dataclass(frozen=True)
class Trial:
    """One architecture that was asked for.

    Attributes:
        id: in the order they were asked for.
        search: number of the search.
        strategy: its strategy.
        batch: of the search, from 0; those of one batch were asked for together.
        arch: genes.
        note: of the strategy, for people.
        result: for each objective value, low and high; NaN where it failed; None if it was not judged yet.
    """

    id: int
    search: int
    strategy: str
    batch: int
    arch: tuple[int, ...]
    note: str
    result: Result | None

    def value(self, name: str) -> float:
        """Value of an objective; NaN if there is none."""
        return self.result[name][0] if self.result is not None else float("nan")


@dataclass(frozen=True)
class Point:
    """One architecture of a front.

    Attributes:
        arch: genes.
        result: for each objective value, low and high; the mean of its replicates where there are several.
        found_by: strategies that asked for it, in the order they did.
        trial: the first that asked for it.
        replicates: single values of objectives that were evaluated more than once.
    """

    arch: tuple[int, ...]
    result: Result
    found_by: tuple[str, ...]
    trial: int
    replicates: Replicates = field(default_factory=dict)


class Study:
    """The tables of one run.

    Args:
        store: the run's database.

    Raises:
        SchemaMismatch: its study is of another version.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        version = self.fact("version") if sa.inspect(store.engine).has_table(STUDY.name) else None
        if version not in (None, STUDY_VERSION):
            raise SchemaMismatch(
                f"{store.url} holds a study of version {version}; this version reads {STUDY_VERSION}",
                hint="Use the version that wrote it; nothing was changed.",
            )
        METADATA.create_all(store.engine)

    def fact(self, key: str) -> Any:
        """A fact about the study, or None."""
        with self.store.engine.connect() as connection:
            text = connection.scalar(sa.select(STUDY.c.value).where(STUDY.c.key == key))
        return None if text is None else json.loads(text)

    def bind(self, facts: Mapping[str, Any]) -> None:
        """State what the study is about, or check that it is about the same.

        Raises:
            ConditionMismatch: this run is about something else; nothing is changed.
        """
        wanted = {"version": STUDY_VERSION, **json.loads(json.dumps(dict(facts)))}
        known = {key: self.fact(key) for key in wanted}
        if all(value is None for value in known.values()):
            with self.store.transaction() as connection:
                rows = [{"key": key, "value": json.dumps(value)} for key, value in wanted.items()]
                connection.execute(STUDY.insert(), rows)
            return
        different = [key for key in wanted if known[key] != wanted[key]]
        if different:
            raise ConditionMismatch(
                "this run belongs to another search",
                expected={key: known[key] for key in different},
                got={key: wanted[key] for key in different},
                hint="Give the same options to go on with it, or another folder with -o.",
            )

    def set_fact(self, key: str, value: Any) -> None:
        """State a further fact, once."""
        with self.store.transaction() as connection:
            connection.execute(STUDY.insert().values(key=key, value=json.dumps(value)))

    def search(self, strategy: str, settings: Mapping[str, Any]) -> int:
        """The number of a search; the same strategy with the same settings is the same search."""
        text = json.dumps(dict(settings), sort_keys=True)
        query = sa.select(SEARCHES.c.id).where((SEARCHES.c.strategy == strategy) & (SEARCHES.c.settings == text))
        with self.store.transaction() as connection:
            found = connection.scalar(query)
            if found is None:
                key = connection.execute(
                    SEARCHES.insert().values(strategy=strategy, settings=text)
                ).inserted_primary_key
                assert key is not None
                found = key[0]
        return int(found)

    def add_batch(
        self, search: int, strategy: str, batch: int, archs: NDArray[np.int64], note: str = ""
    ) -> list[Trial]:
        """Commit what was asked for, before it is judged; the trials, in order."""
        texts = [_text(arch) for arch in archs]
        if not texts:
            return []
        rows = [{"search": search, "batch": batch, "arch": text, "note": note, "result": None} for text in texts]
        insert = TRIALS.insert().returning(TRIALS.c.id, sort_by_parameter_order=True)
        with self.store.transaction() as connection:
            ids = connection.scalars(insert, rows).all()
        return [
            Trial(number, search, strategy, batch, _genes(text), note, None)
            for number, text in zip(ids, texts, strict=True)
        ]

    def judge(
        self,
        results: Mapping[int, Result],
        reasons: Mapping[int, str] | None = None,
        replicates: Mapping[int, Replicates] | None = None,
    ) -> None:
        """Commit results by trial, why some of them have no value, and the single values that others are means of."""
        with self.store.transaction() as connection:
            for trial, result in results.items():
                text = json.dumps({name: [_plain(part) for part in triple] for name, triple in result.items()})
                connection.execute(TRIALS.update().where(TRIALS.c.id == trial).values(result=text))
            for trial, reason in (reasons or {}).items():
                connection.execute(FAILURES.insert().values(trial=trial, reason=reason[:2000]))
            for trial, single in (replicates or {}).items():
                _add_replicates(connection, trial, single, 0)

    def add_replicate(self, point: Point, values: Mapping[str, float]) -> None:
        """Commit one further evaluation of a point; what strategies were told stays as it is."""
        with self.store.transaction() as connection:
            for name, value in values.items():
                known = point.replicates.get(name)
                if known is None:
                    _add_replicates(connection, point.trial, {name: [point.result[name][0]]}, 0)
                _add_replicates(connection, point.trial, {name: [value]}, 1 if known is None else len(known))

    @property
    def evaluated_again(self) -> int:
        """How many further evaluations of one architecture were made after the search."""
        settings = self.fact("settings") or {}
        rows = sa.select(REPLICATES.c.trial, REPLICATES.c.replicate).distinct()
        rows = rows.where(REPLICATES.c.replicate >= settings.get("replicates", 1))
        with self.store.engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(rows.subquery())) or 0

    def replicates(self) -> dict[int, Replicates]:
        """Single values by trial and objective, of those that were evaluated more than once."""
        columns = REPLICATES.c
        query = sa.select(columns.trial, columns.objective, columns.value).order_by(
            columns.trial, columns.objective, columns.replicate
        )
        found: dict[int, Replicates] = {}
        with self.store.engine.connect() as connection:
            for trial, name, value in connection.execute(query):
                found.setdefault(trial, {}).setdefault(name, []).append(float("nan") if value is None else value)
        return found

    def failures(self) -> dict[int, str]:
        """Why trials have no value, by their ids."""
        with self.store.engine.connect() as connection:
            return dict(connection.execute(sa.select(FAILURES.c.trial, FAILURES.c.reason)).tuples().all())

    def trials(self, search: int | None = None) -> list[Trial]:
        """Trials in order, of one search or of all."""
        columns = TRIALS.c
        query = (
            sa.select(
                columns.id,
                columns.search,
                SEARCHES.c.strategy,
                columns.batch,
                columns.arch,
                columns.note,
                columns.result,
            )
            .join(SEARCHES, SEARCHES.c.id == columns.search)
            .order_by(columns.id)
        )
        if search is not None:
            query = query.where(columns.search == search)
        with self.store.engine.connect() as connection:
            return [Trial(*row[:4], _genes(row[4]), row[5], _result(row[6])) for row in connection.execute(query)]

    def set_finalist(self, arch: Sequence[int], facts: Mapping[str, Any]) -> None:
        """State facts about a chosen architecture; what is known of it already stays."""
        text = _text(arch)
        with self.store.transaction() as connection:
            known = connection.scalar(sa.select(FINALISTS.c.facts).where(FINALISTS.c.arch == text))
            merged = json.dumps({**(json.loads(known) if known else {}), **facts})
            if known is None:
                connection.execute(FINALISTS.insert().values(arch=text, facts=merged))
            else:
                connection.execute(FINALISTS.update().where(FINALISTS.c.arch == text).values(facts=merged))

    def finalists(self) -> dict[tuple[int, ...], dict[str, Any]]:
        """Facts about the chosen architectures."""
        with self.store.engine.connect() as connection:
            rows = connection.execute(sa.select(FINALISTS.c.arch, FINALISTS.c.facts))
            return {_genes(arch): json.loads(facts) for arch, facts in rows}

    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, in order.

        Raises:
            InvalidData: the run has no study.
        """
        found = self.fact("objectives")
        if found is None:
            raise InvalidData(f"{self.store.url} holds no search", hint="Make one with: hwnas search ... -o RUN")
        return tuple(Objective(**plain) for plain in found)

    def constraints(self) -> tuple[Constraint, ...]:
        """The constraints."""
        return tuple(Constraint(**plain) for plain in self.fact("constraints") or ())

    def points(self) -> list[Point]:
        """The feasible architectures that were judged, each once, in the order in which they were asked for.

        One network is one point, whichever of its genomes were tried, unless they were judged differently.
        """
        objectives, constraints, single = self.objectives(), self.constraints(), self.replicates()
        judged = [
            trial
            for trial in self.trials()
            if trial.result is not None and np.isfinite([trial.value(o.name) for o in objectives]).all()
        ]
        if not judged:
            return []
        space = spaces.load(self.fact("space"))
        networks = space.canonical(np.array([trial.arch for trial in judged], dtype=np.int64))
        found: dict[tuple[object, ...], Point] = {}
        for trial, network in zip(judged, networks, strict=True):
            assert trial.result is not None
            key = (*network.tolist(), *(trial.value(o.name) for o in objectives))
            known = found.get(key)
            if known is None:
                found[key] = Point(trial.arch, trial.result, (trial.strategy,), trial.id, single.get(trial.id, {}))
            elif trial.strategy not in known.found_by:
                found[key] = replace(known, found_by=(*known.found_by, trial.strategy))
        return [
            point
            for point in _settled(list(found.values()))
            if not any(c.violation(np.array([point.result[c.name][0]]))[0] > 0 for c in constraints)
        ]

    def front(self) -> list[Point]:
        """The points that no other dominates, all searches together, by the first objective's cost."""
        points = self.points()
        if not points:
            return []
        costs = costs_of([point.result for point in points], self.objectives())
        kept = [(tuple(costs[i]), points[i]) for i in np.flatnonzero(moo.nondominated(costs))]
        kept.sort(key=lambda pair: (pair[0], pair[1].arch))
        return [point for _, point in kept]


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


def open_study(run: str | Path) -> Study:
    """The study in a run's folder.

    Raises:
        InvalidData: the folder holds no run.
        SchemaMismatch: the run cannot be read by this version.
    """
    path = Path(run) / DATABASE
    if not path.exists():
        raise InvalidData(f"{run} is not the folder of a run: it has no {DATABASE}", hint="hwnas search ... -o RUN")
    study = Study(Store(path, create=False))
    study.objectives()
    return study


def costs_of(results: Sequence[Result | None], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Results as costs `(n, m)`, lower is better; NaN where one is missing."""
    rows = [[np.nan if result is None else result[o.name][0] for o in objectives] for result in results]
    values = np.array(rows, dtype=np.float64).reshape(len(results), len(objectives))
    return np.stack([o.cost(values[:, i]) for i, o in enumerate(objectives)], axis=1)


def _add_replicates(connection: sa.Connection, trial: int, single: Mapping[str, Sequence[float]], first: int) -> None:
    rows = [
        {"trial": trial, "objective": name, "replicate": first + place, "value": _plain(value)}
        for name, values in single.items()
        for place, value in enumerate(values)
    ]
    if rows:
        connection.execute(REPLICATES.insert(), rows)


def _text(arch: Sequence[int] | NDArray[np.int64]) -> str:
    return ",".join(str(int(gene)) for gene in arch)


def _genes(text: str) -> tuple[int, ...]:
    return tuple(int(gene) for gene in text.split(","))


def _plain(value: float | None) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if value is None or not np.isfinite(value) else float(value)


def _result(text: str | None) -> Result | None:
    if text is None:
        return None
    return {
        name: (float("nan") if value is None else value, low, high)
        for name, (value, low, high) in json.loads(text).items()
    }
