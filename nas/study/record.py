"""What a study holds: what was asked for, every trial, and what became of the finalists.

Trials are raw and in order, so a search is resumed by replay: a strategy made anew from its seed is told them again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from device_profiles.errors import InvalidData, RunBusy, UsageError
from nas import spaces
from nas.evaluators.protocol import FULL, Budget, Budgets
from nas.objectives import Constraint, Objective
from nas.spaces.protocol import Space
from nas.study import facts as study_facts
from nas.study import layout
from nas.study.kept import KeptStudy
from nas.study.tables import FAILURES, FINALISTS, REPLICATES, SEARCHES, STUDIES, STUDY, TRIALS
from nas.study.trial import Coverage, Point, Replicates, Result, Trial
from profiler import dialects, row_checks


class Record(KeptStudy):
    """The tables of one study; what it takes and raises is said at `KeptStudy`."""

    def asked(self) -> list[dict[str, Any]]:
        """What was asked of this run, each time that it was something else; see `nas.study.plan.asked`."""
        found: list[dict[str, Any]] = self.fact("asked") or []
        return found

    def ask(self, request: Mapping[str, Any]) -> None:
        """Remember what is asked of this run, with the number of architectures that were judged before."""
        known = self.asked()
        before = {key: value for key, value in known[-1].items() if key not in ("at", "judged")} if known else None
        wanted = json.loads(json.dumps(dict(request)))
        if wanted != before:
            judged = sum(trial.result is not None for trial in self.trials())
            self.set_fact("asked", [*known, {"at": int(time.time()), "judged": judged, **wanted}])

    def search(self, strategy: str, settings: Mapping[str, Any]) -> int:
        """The number of a search; the same strategy with the same settings is the same search."""
        text = json.dumps(dict(settings), sort_keys=True)
        key = {"strategy": strategy, "digest": layout.digest(text)}
        with self._writing() as connection:
            self.store.insert_once(connection, SEARCHES, study=self.number, settings=text, **key)
            return int(connection.execute(sa.select(SEARCHES.c.id).filter_by(study=self.number, **key)).scalar_one())

    def add_batch(
        self, search: int, strategy: str, batch: int, archs: NDArray[np.int64], note: str = ""
    ) -> list[Trial]:
        """Commit what was asked for, `(n, d)`, before it is judged; the trials, in order.

        The same batch a second time changes nothing.

        Raises:
            RunBusy: other architectures were asked for in this batch.
        """
        texts = [_text(arch) for arch in archs]
        if not texts:
            return []
        columns = TRIALS.c
        with self._writing() as connection:
            plain = {"study": self.number, "search": search, "batch": batch, "note": note, "result": None}
            rows = [
                row_checks.sealed(TRIALS, {**plain, "place": place, "arch": text}, self.store.url)
                for place, text in enumerate(texts)
            ]
            connection.execute(dialects.insert_into(connection, TRIALS).on_conflict_do_nothing(), rows)
            batches = (columns.search == search) & (columns.batch == batch)
            kept = connection.execute(sa.select(columns.id, columns.arch).where(batches).order_by(columns.place)).all()
            if [text for _, text in kept] != texts:
                raise RunBusy(
                    f"batch {batch} of search {search} in {self.store.url} was asked for by another search",
                    hint="Let only one search go on at a time.",
                )
        return [Trial(number, search, strategy, batch, _genes(text), note, None) for number, text in kept]

    def judge(
        self,
        results: Mapping[int, Result],
        reasons: Mapping[int, str] | None = None,
        replicates: Mapping[int, Replicates] | None = None,
        coverage: Mapping[int, Coverage] | None = None,
        budgets: Mapping[int, Budgets] | None = None,
    ) -> None:
        """Commit by trial results, why some have no value, what others are means of, and what predictions stand on.

        Trials count as completed in this order; `budgets` are those under which their objectives were evaluated. Of
        those that have a result nothing is changed.
        """
        open_ones = TRIALS.c.result.is_(None)
        with self._writing() as connection:
            judged = sa.func.count(TRIALS.c.id).filter(TRIALS.c.result.is_not(None))
            latest = sa.func.coalesce(sa.func.max(TRIALS.c.completed), 0)
            before = max(connection.execute(sa.select(judged, latest).where(TRIALS.c.study == self.number)).one())
            for place, (trial, result) in enumerate(results.items(), start=before + 1):
                shares = (coverage or {}).get(trial, {})
                plain = {name: [_plain(part) for part in triple] for name, triple in result.items()}
                text = json.dumps(
                    {name: [*parts, shares[name]] if name in shares else parts for name, parts in plain.items()}
                )
                limits = {name: one.key for name, one in (budgets or {}).get(trial, {}).items() if one != FULL}
                told = {"result": text, "completed": place, "budgets": json.dumps(limits) if limits else None}
                self.store.rewrite(connection, TRIALS, (TRIALS.c.id == trial) & open_ones, **told)
            for trial, reason in (reasons or {}).items():
                words = reason[:2000].encode(errors="backslashreplace").decode()
                self.store.insert_once(connection, FAILURES, trial=trial, reason=words)
            for trial, single in (replicates or {}).items():
                self._add_replicates(connection, trial, single, 0)

    def add_replicate(self, point: Point, values: Mapping[str, float]) -> None:
        """Commit one further evaluation of a point; what strategies were told stays as it is."""
        with self._writing() as connection:
            for name, value in values.items():
                known = point.replicates.get(name)
                if known is None:
                    self._add_replicates(connection, point.trial, {name: [point.result[name][0]]}, 0)
                self._add_replicates(connection, point.trial, {name: [value]}, 1 if known is None else len(known))

    @property
    def evaluated_again(self) -> int:
        """How many further evaluations of one architecture were made after the search."""
        settings = self.fact("settings") or {}
        least = settings.get("replicates", 1)
        rows = self._of_trials(REPLICATES, REPLICATES.c.replicate >= least)
        return len({(row["trial"], row["replicate"]) for row in rows})

    def replicates(self) -> dict[int, Replicates]:
        """Single values by trial and objective, of those that were evaluated more than once."""
        found: dict[int, Replicates] = {}
        for row in self._of_trials(REPLICATES):
            single = found.setdefault(row["trial"], {}).setdefault(row["objective"], [])
            if row["replicate"] != len(single):
                raise row_checks.damaged(REPLICATES, row, self.store.url, f"replicate {len(single)} is missing")
            single.append(float("nan") if row["value"] is None else float(row["value"]))
        return found

    def failures(self) -> dict[int, str]:
        """Why trials have no value, by their ids."""
        return {row["trial"]: row["reason"] for row in self._of_trials(FAILURES)}

    def _of_trials(self, table: sa.Table, where: sa.ColumnElement[bool] | None = None) -> list[dict[str, Any]]:
        """Rows that belong to trials of this study, by their keys."""
        query = sa.select(table).join(TRIALS, TRIALS.c.id == table.c.trial).where(TRIALS.c.study == self.number)
        return self.store.rows(table, (query if where is None else query.where(where)).order_by(*table.primary_key))

    def trials(self, search: int | None = None, budgets: Mapping[str, Budget] | None = None) -> list[Trial]:
        """Trials in the order in which they were asked for.

        Args:
            search: those of one search alone.
            budgets: those alone that were judged under these budgets, by objective; others may be of any.
        """
        query = sa.select(TRIALS).where(TRIALS.c.study == self.number).order_by(TRIALS.c.id)
        if search is not None:
            query = query.where(TRIALS.c.search == search)
        searches = self.store.rows(SEARCHES, sa.select(SEARCHES).where(SEARCHES.c.study == self.number))
        strategies = {row["id"]: row["strategy"] for row in searches}
        names = [o["name"] for o in self.fact("objectives") or ()]
        genes: int | None = None
        found = []
        early = self._judged_early()
        for row in self.store.rows(TRIALS, query):
            arch = self._genes(TRIALS, row)
            genes = genes or len(arch)
            if row["search"] not in strategies or len(arch) != genes:
                wrong = f"{len(arch)} genes" if len(arch) != genes else f"no search {row['search']}"
                raise row_checks.damaged(TRIALS, row, self.store.url, wrong)
            result, coverage = (None, {}) if row["result"] is None else self._result(row, names)
            strategy = strategies[row["search"]]
            what = row["id"], row["search"], strategy, row["batch"], arch, row["note"], result, coverage
            found.append(Trial(*what, row["completed"] or early.get(row["id"]), self._budgets(row)))
        if budgets is None:
            return found
        judged = [trial for trial in found if trial.result is not None]
        return [trial for trial in judged if all(trial.budget(name) == one for name, one in budgets.items())]

    def _judged_early(self) -> dict[int, int]:
        """Places in the order of completion of trials that were judged before it was kept: that of their ids."""
        early = (TRIALS.c.study == self.number) & TRIALS.c.result.is_not(None) & TRIALS.c.completed.is_(None)
        with self.store.reading() as connection:
            ids = connection.scalars(sa.select(TRIALS.c.id).where(early).order_by(TRIALS.c.id)).all()
        return {number: place for place, number in enumerate(ids, start=1)}

    def _budgets(self, row: Mapping[str, Any]) -> Budgets:
        """Under which objectives of a trial were evaluated, where that was not their evaluators' own full one."""
        plain = {} if row["budgets"] is None else self._json(TRIALS, row, "budgets")
        try:
            return {name: Budget.of(text) for name, text in plain.items()}
        except (AttributeError, UsageError):
            raise row_checks.damaged(TRIALS, row, self.store.url, "its budgets are none") from None

    def _genes(self, table: sa.Table, row: Mapping[str, Any]) -> tuple[int, ...]:
        parts = row["arch"].split(",")
        if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            raise row_checks.damaged(table, row, self.store.url, f"{row['arch'][:40]!r} are no genes")
        return tuple(map(int, parts))

    def _result(self, row: Mapping[str, Any], names: Sequence[str]) -> tuple[Result, Coverage]:
        """The result of a trial, for each objective value, low and high; and the coverage of those that have one."""
        plain = self._json(TRIALS, row, "result")
        if not study_facts.is_result(plain) or any(name not in plain for name in names):
            raise row_checks.damaged(TRIALS, row, self.store.url, "its result is none")
        result = {
            name: (float("nan") if value is None else value, low, high)
            for name, (value, low, high, *_) in plain.items()
        }
        return result, {name: float(parts[3]) for name, parts in plain.items() if len(parts) > 3}

    def _add_replicates(
        self, connection: sa.Connection, trial: int, single: Mapping[str, Sequence[float]], first: int
    ) -> None:
        for name, values in single.items():
            for place, value in enumerate(values):
                row = {"objective": name, "replicate": first + place, "value": _plain(value)}
                self.store.insert_once(connection, REPLICATES, trial=trial, **row)

    def withdraw(self) -> None:
        """Take back all that is kept of this study."""
        mine = TRIALS.c.study == self.number
        with self._writing() as connection:
            for table in (FAILURES, REPLICATES):
                connection.execute(table.delete().where(table.c.trial.in_(sa.select(TRIALS.c.id).where(mine))))
            for table in (TRIALS, FINALISTS, SEARCHES, STUDY):
                connection.execute(table.delete().where(table.c.study == self.number))
            connection.execute(STUDIES.delete().where(STUDIES.c.id == self.number))
        self._number = 0

    def set_finalist(self, arch: Sequence[int], facts: Mapping[str, Any]) -> None:
        """State facts about a chosen architecture; what is known of it already stays."""
        with self._writing() as connection:
            key = {"study": self.number, "arch": _text(arch)}
            row = connection.execute(sa.select(FINALISTS).filter_by(**key)).mappings().first()
            known = {} if row is None else self._finalist(dict(row))
            self.store.insert_latest(connection, FINALISTS, facts=json.dumps({**known, **facts}), **key)

    def finalists(self) -> dict[tuple[int, ...], dict[str, Any]]:
        """Facts about the chosen architectures."""
        rows = self.store.rows(FINALISTS, sa.select(FINALISTS).where(FINALISTS.c.study == self.number))
        return {self._genes(FINALISTS, row): self._finalist(row) for row in rows}

    def _finalist(self, row: Mapping[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = self._json(FINALISTS, row, "facts")
        if not study_facts.is_finalist(facts):
            raise row_checks.damaged(FINALISTS, row, self.store.url, "its facts are none of a finalist")
        return facts

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

    def space(self) -> Space:
        """The space that was searched.

        Raises:
            InvalidData: the run does not name one that can be loaded.
        """
        spec = self.fact("space")
        try:
            return spaces.load(spec if isinstance(spec, str) else "")
        except UsageError as error:
            raise InvalidData(
                f"the space of {self.store.url} cannot be loaded: {error.message}", hint=error.hint
            ) from error

    def require_genes(self, trials: Sequence[Trial], choices: Sequence[int]) -> None:
        """Refuse trials that are no architectures of a space with these options per gene.

        Raises:
            SchemaMismatch: with the first that is none.
        """
        for trial in trials:
            fits = len(trial.arch) == len(choices)
            if not fits or any(gene >= count for gene, count in zip(trial.arch, choices, strict=True)):
                row = {"id": trial.id}
                raise row_checks.damaged(TRIALS, row, self.store.url, f"{trial.arch} is no architecture of the space")


def _text(arch: Sequence[int] | NDArray[np.int64]) -> str:
    return ",".join(str(int(gene)) for gene in arch)


def _genes(text: str) -> tuple[int, ...]:
    return tuple(int(gene) for gene in text.split(","))


def _plain(value: float | None) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if value is None or not np.isfinite(value) else float(value)
