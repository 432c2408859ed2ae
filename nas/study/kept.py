"""A study in its database, that of its run or of a lab: what it is about, and who may write to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from device_profiles.errors import ConditionMismatch, RunBusy, SchemaMismatch
from device_profiles.reading import parse_json
from nas.study import facts as study_facts
from nas.study import layout
from nas.study.tables import FINALISTS, OWN, SEARCHES, STUDIES, STUDY, STUDY_VERSION, TRIALS
from profiler import presence, row_checks
from profiler.store import Store


class KeptStudy:
    """A study in its database: which one it is, who may write to it, and the facts about it.

    Args:
        store: the run's database, or that of a lab.
        name: of the study in it.
        place: the folder of the run, for people who look at the lab.

    Attributes:
        writer: id of the call that holds the study in a lab, see `nas.study.lab.held`; None where nobody need to.

    Raises:
        SchemaMismatch: its study is of another version.
    """

    def __init__(self, store: Store, name: str = OWN, *, place: str = "") -> None:
        self.store = store
        self.name = name
        self.place = place
        self.writer: str | None = None
        self._number = 0
        layout.prepare(store)
        if self.number and self.fact("version") is None and self._has_rows():
            raise layout.lost(store)

    @property
    def number(self) -> int:
        """Of the study in its database; 0, which none has, as long as nothing of it is kept."""
        if not self._number:
            rows = self.store.rows(STUDIES, sa.select(STUDIES).where(STUDIES.c.name == self.name))
            self._number = rows[0]["id"] if rows else 0
        return self._number

    def _has_rows(self) -> bool:
        with self.store.reading() as connection:
            return any(
                connection.execute(sa.select(sa.literal(1)).where(table.c.study == self.number).limit(1)).first()
                for table in (STUDY, SEARCHES, TRIALS, FINALISTS)
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """One transaction of who may write to this study, which is in its database from then on.

        Raises:
            RunBusy: another search has taken it over.
        """
        before = self.number
        try:
            with self.store.transaction() as connection:
                if self.writer is not None:
                    presence.require(connection, self.writer, self._taken)
                if not self._number:
                    self.store.insert_once(connection, STUDIES, name=self.name, place=self.place)
                    number = connection.scalar(sa.select(STUDIES.c.id).where(STUDIES.c.name == self.name))
                    self._number = int(number or 0)
                yield connection
        except BaseException:
            self._number = before
            raise

    def _taken(self) -> RunBusy:
        return RunBusy(
            f"another search has taken over study {self.name} in {self.store.url}: this one had not been heard of",
            hint="Let the other one go on; nothing more was written.",
        )

    def fact(self, key: str) -> Any:
        """A fact about the study, or None."""
        rows = self.store.rows(STUDY, sa.select(STUDY).where(STUDY.c.study == self.number, STUDY.c.key == key))
        if not rows:
            return None
        value = self._json(STUDY, rows[0], "value")
        check = study_facts.CHECKS.get(key)
        if check is not None and not check(value):
            raise row_checks.damaged(STUDY, rows[0], self.store.url, f"it says {str(value)[:60]!r}")
        return value

    def _json(self, table: sa.Table, row: Mapping[str, Any], column: str) -> Any:
        """What a column of a row holds as JSON."""
        key = row[[*table.primary_key][-1].name]
        where = f"{column} of row {str(key)[:40]} of table {table.name!r} in {self.store.url}"
        return parse_json(row[column], where, kind=SchemaMismatch)

    def bind(self, facts: Mapping[str, Any]) -> None:
        """State what the study is about, or check that it is about the same.

        Bounds may change, and are then the new ones; a target may be given to a run that had none, or left out.

        Raises:
            ConditionMismatch: this run is about something else; nothing is changed.
        """
        wanted = {"version": STUDY_VERSION, **json.loads(json.dumps(dict(facts)))}
        known = {key: self.fact(key) for key in wanted}
        if all(value is None for value in known.values()):
            with self._writing() as connection:
                if self._state(connection, "version", wanted["version"]):  # this call is the first
                    for key, value in wanted.items():
                        self._state(connection, key, value)
            known = {key: self.fact(key) for key in wanted}  # another search may have been first
        different = [key for key in wanted if known[key] != wanted[key]]
        may_change = {"constraints", *(("target",) if "" in (known.get("target"), wanted.get("target")) else ())}
        if not may_change.issuperset(different):
            raise ConditionMismatch(
                "this run belongs to another search",
                expected={key: known[key] for key in different},
                got={key: wanted[key] for key in different},
                hint="Give the same options to go on with it, or another folder with -o.",
                differences=study_facts.differences(known, {**wanted, "constraints": known.get("constraints")}),
            )
        for key in different:
            if wanted[key] != "":
                self.set_fact(key, wanted[key])

    def set_fact(self, key: str, value: Any) -> None:
        """State a further fact, or another value of one that may change."""
        with self._writing() as connection:
            self.store.insert_latest(connection, STUDY, study=self.number, key=key, value=json.dumps(value))

    def _state(self, connection: sa.Connection, key: str, value: Any) -> bool:
        """State a fact if it is not stated yet; whether it was not."""
        return self.store.insert_once(connection, STUDY, study=self.number, key=key, value=json.dumps(value))
