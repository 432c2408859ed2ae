"""Measurements in a database: an SQLite file by default, any SQLAlchemy URL for a lab.

Rows are raw: blocks, sentinels, profiles. Summaries are computed when they are asked for, so that a table can be
normalised again. Every block is committed as it comes, so a killed campaign loses at most the block in flight.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from device_profiles.conditions import Conditions
from device_profiles.errors import ConditionMismatch, HwnasError, InvalidData, SchemaMismatch
from device_profiles.reading import parse_json
from profiler import database, failures, row_checks, schema
from profiler.database import NoStore, StoreBusy, StoreFull
from profiler.operators import Operator, OperatorGraph, operator_from_plain, operator_to_plain
from profiler.rows import BlockRow, ModelRow, ProfileRow

if TYPE_CHECKING:
    from profiler.agent.protocol import Block
    from profiler.meters.protocol import Energy


class Store:
    """A measurement database. Use it as a context manager.

    Args:
        url: a path (SQLite) or an SQLAlchemy URL.
        create: make it if it is not there; otherwise a missing file is an error.

    Attributes:
        url: where it is, for people: without a password.

    Raises:
        SchemaMismatch: the file is cut short, damaged, not a store, or was written by a newer version.
        NoStore: there is none, or one that was never finished, and `create` is False.
        UsageError: the URL cannot be read.
        DeviceError: the database cannot be reached, or its driver is missing.
    """

    def __init__(self, url: str | Path, *, create: bool = True) -> None:
        self._place = database.place_of(url)
        self.url = self._place.shown
        if self._place.path is not None:
            database.check_file(self._place.path, create=create)
        self._fused: dict[tuple[str, str], OperatorGraph] = {}
        self._engine = database.engine_of(self._place)
        try:
            self._open(create=create)
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def identity(self) -> str:
        """Equal for two that are open on one database."""
        place = self._place
        if place.path is not None:
            return str(place.path.resolve())
        return f"memory {id(self)}" if not place.url.database else place.url.set(password=None).render_as_string()

    @property
    def engine(self) -> Engine:
        """The database, for tables of other packages in the same file."""
        return self._engine

    def close(self) -> None:
        """Close the database; a file is left whole, without side files."""
        if self._engine.dialect.name == "sqlite":
            with contextlib.suppress(HwnasError), database.named(self._place):
                database.pragma(self._engine, "wal_checkpoint(TRUNCATE)")
        self._engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read from; damage that shows only now is a `SchemaMismatch`."""
        with database.named(self._place), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: all or nothing, and no other writer is in one at the same time.

        Raises:
            StoreFull: the disk is full; nothing of this transaction was kept.
            StoreBusy: another process does not end its own.
        """
        with database.named(self._place), database.writing(self._engine) as connection:
            yield connection

    def rows(self, table: sa.Table, query: sa.Select[Any] | None = None) -> list[dict[str, Any]]:
        """Rows of one table, each checked.

        Args:
            table: whose rows they are.
            query: a selection of it; all rows if None.

        Raises:
            SchemaMismatch: a row is damaged; it is named.
        """
        with self.reading() as connection:
            found = connection.execute(sa.select(table) if query is None else query)
            return row_checks.checked_all(table, list(found.keys()), found, self.url)

    def insert(self, connection: Connection, table: sa.Table, **row: Any) -> int:
        """Write one checked row with its seal; its number, where the database gives numbers.

        Raises:
            InvalidData: a value is one that could not be read again.
        """
        key = connection.execute(table.insert().values(**row_checks.sealed(table, row, self.url))).inserted_primary_key
        return int(key[0]) if key is not None and table.autoincrement_column is not None else 0

    def rewrite(self, connection: Connection, table: sa.Table, where: sa.ColumnElement[bool], **changes: Any) -> None:
        """Change one row, and its seal with it; nothing happens if there is none."""
        row = connection.execute(sa.select(table).where(where)).mappings().first()
        if row is not None:
            whole = row_checks.sealed(table, {**row_checks.checked(table, dict(row), self.url), **changes}, self.url)
            counted = table.autoincrement_column
            values = {name: value for name, value in whole.items() if counted is None or name != counted.name}
            connection.execute(table.update().where(where).values(**values))

    def _json(self, table: sa.Table, row: Mapping[str, Any], column: str) -> Any:
        """What a column of a row holds as JSON."""
        text = row[column]
        where = f"{column} of row {row[next(iter(table.primary_key)).name]} of table {table.name!r} in {self.url}"
        return parse_json(text, where, kind=SchemaMismatch)

    # -- targets and conditions
    # ------------------------------------------------------------------------------------------

    def bind(self, target: str, profile: str, conditions: Conditions) -> None:
        """State under which conditions `target` is measured here.

        Raises:
            ConditionMismatch: the store holds this target under other conditions.
        """
        self.check(target, conditions)
        facts = json.dumps(conditions.to_plain(), sort_keys=True)
        with self.transaction() as connection:
            if _lacks(connection, schema.CONDITIONS.c.id == conditions.id):
                self.insert(connection, schema.CONDITIONS, id=conditions.id, facts=facts)
            # Another campaign may have been first; what it said is held against this one below.
            if _lacks(connection, schema.TARGETS.c.name == target):
                self.insert(connection, schema.TARGETS, name=target, conditions=conditions.id, profile=profile)
        self.check(target, conditions)

    def check(self, target: str, conditions: Conditions) -> None:
        """Refuse other conditions than those under which the target was measured here, if it was.

        Raises:
            ConditionMismatch: they differ.
        """
        known = self.conditions(target)
        if known is not None:
            known.require_same(conditions, what=f"target {target!r} in store {self.url}")

    def targets(self) -> tuple[str, ...]:
        """Names of the targets measured here."""
        return tuple(sorted(row["name"] for row in self.rows(schema.TARGETS)))

    def conditions(self, target: str) -> Conditions | None:
        """The conditions of a target, or None if it was not measured here."""
        known = self.rows(schema.TARGETS, sa.select(schema.TARGETS).where(schema.TARGETS.c.name == target))
        if not known:
            return None
        key = known[0]["conditions"]
        found = self.rows(schema.CONDITIONS, sa.select(schema.CONDITIONS).where(schema.CONDITIONS.c.id == key))
        if not found:
            raise row_checks.damaged(schema.TARGETS, known[0], self.url, f"there are no conditions {key!r}")
        facts = self._json(schema.CONDITIONS, found[0], "facts")
        wrong = "its facts are none"
        if isinstance(facts, dict):
            try:
                conditions = Conditions.from_plain(facts)
                if conditions.id == key:
                    return conditions
                wrong = f"its facts are those of {conditions.id}"
            except SchemaMismatch as error:
                wrong = error.message
        raise row_checks.damaged(schema.CONDITIONS, found[0], self.url, wrong)

    def require_conditions(self, target: str) -> Conditions:
        """The conditions of a target.

        Raises:
            InvalidData: it was not measured here.
        """
        found = self.conditions(target)
        if found is None:
            known = ", ".join(self.targets()) or "none"
            raise InvalidData(
                f"store {self.url} has no measurements of target {target!r}; it has: {known}",
                hint=f"Measure it with: hwnas profile {target} --store {self.url}",
            )
        return found

    # -- what a campaign writes
    # ------------------------------------------------------------------------------------------

    def add_model(self, row: ModelRow, graph: OperatorGraph) -> None:
        """Remember a model; a second time changes nothing."""
        plain = None if row.kernel is None else json.dumps(operator_to_plain(row.kernel))
        with self.transaction() as connection:
            if _lacks(connection, schema.MODELS.c.id == row.id):
                self.insert(
                    connection,
                    schema.MODELS,
                    id=row.id,
                    name=_writable(row.name),
                    space=row.space,
                    arch=row.arch,
                    graph=graph.to_json(),
                    kernel=plain,
                    copies=row.copies,
                )

    def add_fused(self, model: str, conditions: Conditions, graph: OperatorGraph) -> None:
        """Remember what a runtime made of a model; a second time changes nothing."""
        if self.fused(model, conditions) is None:
            columns = schema.FUSED.c
            with self.transaction() as connection:
                if _lacks(connection, (columns.model == model) & (columns.conditions == conditions.id)):
                    self.insert(connection, schema.FUSED, model=model, conditions=conditions.id, graph=graph.to_json())

    def start_process(self, conditions: Conditions, invocation: str, seed: int) -> int:
        """A new worker process; its number."""
        row = {"conditions": conditions.id, "invocation": invocation, "seed": seed, "state": "running", "facts": "[]"}
        with self.transaction() as connection:
            return self.insert(connection, schema.PROCESSES, **row)

    def add_block(self, process: int, block: Block) -> None:
        """Commit one block."""
        with self.transaction() as connection:
            self.insert(
                connection,
                schema.BLOCKS,
                process=process,
                model=block.candidate,
                round=block.round,
                retry=block.retry,
                calls=block.calls,
                ns=block.ns,
                sentinel_before_ns=block.sentinel_before_ns,
                sentinel_after_ns=block.sentinel_after_ns,
                cpu_ns=block.cpu_ns,
                switches=block.switches,
            )

    def add_profile(self, process: int, profile: ProfileRow) -> None:
        """Commit one profile."""
        row = {
            "process": process,
            "model": profile.model,
            "kernels": json.dumps(profile.kernels),
            "allocator_peak_bytes": profile.allocator_peak_bytes,
            "sentinel_ns": profile.sentinel_ns,
            "run_ns": profile.run_ns,
        }
        with self.transaction() as connection:
            self.insert(connection, schema.PROFILES, **row)

    def add_memory(self, process: int, model: str, process_peak_bytes: int | None, unavailable: str | None) -> None:
        """Commit the peak of a process, or why there is none."""
        row = {"process": process, "model": model, "process_peak_bytes": process_peak_bytes, "unavailable": unavailable}
        with self.transaction() as connection:
            self.insert(connection, schema.MEMORY, **row)

    def add_energy(self, process: int, model: str, energy: Energy) -> None:
        """Commit the energy of one inference, of a window of many.

        Raises:
            InvalidData: it is not above 0 and finite.
        """
        if not (0.0 < energy.net_mj <= energy.gross_mj < math.inf):
            raise InvalidData(
                f"energy must be above 0 and finite, and net no more than gross; got net {energy.net_mj} mJ "
                f"and gross {energy.gross_mj} mJ",
                hint="Measure over a longer window.",
            )
        row = {"process": process, "model": model, **asdict(energy)}
        with self.transaction() as connection:
            self.insert(connection, schema.ENERGY, **row)

    def add_failure(self, model: str, conditions: Conditions, *, kind: str, reason: str, hint: str) -> None:
        """Remember that a model cannot be measured; the last reason wins."""
        where = (schema.FAILURES.c.model == model) & (schema.FAILURES.c.conditions == conditions.id)
        with self.transaction() as connection:
            connection.execute(schema.FAILURES.delete().where(where))
            row = {"model": model, "conditions": conditions.id, "kind": kind, "reason": reason, "hint": hint}
            self.insert(connection, schema.FAILURES, **row)

    def end_process(self, process: int, *, state: str, device_s: float, facts: Sequence[Mapping[str, Any]]) -> None:
        """Close a process with what it said of the machine."""
        row = {"state": state, "device_s": device_s, "facts": json.dumps(facts)}
        with self.transaction() as connection:
            self.rewrite(connection, schema.PROCESSES, schema.PROCESSES.c.id == process, **row)

    # -- what others read
    # ------------------------------------------------------------------------------------------------

    def models(self, ids: list[str] | None = None) -> dict[str, ModelRow]:
        """Known models by id."""
        columns = [column for column in schema.MODELS.c if column.name not in ("graph", "graph_seal")]
        query = sa.select(*columns)
        if ids is not None and len(ids) == 1:
            query = query.where(schema.MODELS.c.id == ids[0])
        found = {}
        for row in self.rows(schema.MODELS, query):
            if ids is None or row["id"] in ids:
                kernel = None if row["kernel"] is None else self._kernel(row)
                named = row["id"], row["name"], row["space"], row["arch"]
                found[row["id"]] = ModelRow(*named, kernel, row["copies"])
        return found

    def _kernel(self, row: Mapping[str, Any]) -> Operator:
        plain = self._json(schema.MODELS, row, "kernel")
        try:
            return operator_from_plain(plain)
        except SchemaMismatch as error:
            raise row_checks.damaged(schema.MODELS, row, self.url, error.message) from error

    def _graph(self, table: sa.Table, row: Mapping[str, Any]) -> OperatorGraph:
        try:
            return OperatorGraph.from_json(row["graph"])
        except SchemaMismatch as error:
            raise row_checks.damaged(table, row, self.url, error.message) from error

    def graph(self, model: str) -> OperatorGraph:
        """The captured graph of a model."""
        rows = self.rows(schema.MODELS, sa.select(schema.MODELS).where(schema.MODELS.c.id == model))
        if not rows:
            raise InvalidData(f"store {self.url} has no model {model!r}")
        return self._graph(schema.MODELS, rows[0])

    def fused(self, model: str, conditions: Conditions) -> OperatorGraph | None:
        """The fused graph of a model under conditions, or None."""
        key = (model, conditions.id)
        if key in self._fused:
            return self._fused[key]
        columns = schema.FUSED.c
        where = (columns.model == model) & (columns.conditions == conditions.id)
        rows = self.rows(schema.FUSED, sa.select(schema.FUSED).where(where))
        if not rows:
            return None
        self._fused[key] = self._graph(schema.FUSED, rows[0])
        return self._fused[key]

    def _processes(self, conditions: Conditions) -> list[dict[str, Any]]:
        """Worker processes under conditions, in the order they were started."""
        columns = schema.PROCESSES.c
        query = sa.select(schema.PROCESSES).where(columns.conditions == conditions.id).order_by(columns.id)
        return self.rows(schema.PROCESSES, query)

    def _of_processes(
        self, table: sa.Table, conditions: Conditions, order: sa.Column[Any] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of a table that processes under conditions wrote, in their order."""
        p = schema.PROCESSES.c
        query = sa.select(table).join(schema.PROCESSES, p.id == table.c.process).where(p.conditions == conditions.id)
        return self.rows(table, query.order_by(table.c.process if order is None else order))

    def blocks(self, conditions: Conditions) -> list[BlockRow]:
        """All blocks taken under conditions, in the order they were taken."""
        invocations = {row["id"]: row["invocation"] for row in self._processes(conditions)}
        return [
            BlockRow(
                row["process"],
                invocations[row["process"]],
                row["model"],
                row["calls"],
                row["ns"],
                min(row["sentinel_before_ns"], row["sentinel_after_ns"]),
                row["cpu_ns"],
                row["switches"],
            )
            for row in self._of_processes(schema.BLOCKS, conditions, schema.BLOCKS.c.id)
            if row["process"] in invocations  # another campaign may have begun one in between
        ]

    def profiles(self, conditions: Conditions) -> list[ProfileRow]:
        """Profiles taken under conditions, in the order of their processes."""
        found = []
        for row in self._of_processes(schema.PROFILES, conditions):
            kernels = self._json(schema.PROFILES, row, "kernels")
            if not isinstance(kernels, list) or not all(map(_is_kernel_time, kernels)):
                raise row_checks.damaged(schema.PROFILES, row, self.url, "its kernels are no times of kernels")
            peak, sentinel, run_ns = row["allocator_peak_bytes"], row["sentinel_ns"], row["run_ns"]
            found.append(ProfileRow(row["model"], kernels, peak, sentinel, run_ns))
        return found

    def memory(self, conditions: Conditions) -> dict[str, tuple[int | None, str | None]]:
        """Peak of a process in bytes, or why there is none, by model; the last one measured."""
        rows = self._of_processes(schema.MEMORY, conditions)
        return {row["model"]: (row["process_peak_bytes"], row["unavailable"]) for row in rows}

    def energy(self, conditions: Conditions) -> dict[str, list[float]]:
        """Net energy of one inference in mJ, of each window, by model."""
        found: dict[str, list[float]] = {}
        for row in self._of_processes(schema.ENERGY, conditions, schema.ENERGY.c.id):
            if not 0.0 < row["net_mj"] <= row["gross_mj"]:
                raise row_checks.damaged(schema.ENERGY, row, self.url, "net energy is 0 or more than gross")
            found.setdefault(row["model"], []).append(row["net_mj"])
        return found

    def failures(self, conditions: Conditions) -> dict[str, tuple[str, str, str]]:
        """Kind, reason and hint of what failed under conditions, by model."""
        query = sa.select(schema.FAILURES).where(schema.FAILURES.c.conditions == conditions.id)
        rows = self.rows(schema.FAILURES, query)
        return {row["model"]: (row["kind"], row["reason"], row["hint"]) for row in rows}

    def device_s(self, conditions: Conditions) -> float:
        """Seconds of device time spent under conditions."""
        return math.fsum(row["device_s"] or 0.0 for row in self._processes(conditions))

    def process_facts(self, conditions: Conditions) -> list[Mapping[str, Any]]:
        """What the processes said of the machine, in their order: sentinels, frequency, the reference known."""
        found: list[Mapping[str, Any]] = []
        for row in self._processes(conditions):
            facts = self._json(schema.PROCESSES, row, "facts")
            if not isinstance(facts, list) or not all(map(_is_fact, facts)):
                raise row_checks.damaged(schema.PROCESSES, row, self.url, "its facts are none of a machine")
            found.extend(facts)
        return found

    def recording(self, conditions: Conditions) -> dict[str, Any]:
        """Blocks in the form that the `replay` runtime plays."""
        rows = self.blocks(conditions)
        models: dict[str, list[float]] = {}
        for row in rows:
            models.setdefault(row.model, []).append(row.ns / row.calls)
        return {"models": models, "sentinel": [row.sentinel_ns for row in rows]}

    def _open(self, *, create: bool) -> None:
        with self.reading() as connection:
            found = self._version(connection)
        if found is None and not create:
            raise database.NoStore(
                f"there is no store in {self.url}: it is empty, or was interrupted while it was made",
                hint=f"hwnas profile TARGET --store {self.url} makes it whole.",
            )
        if found is not None:
            database.check_content(self._engine, self._place)
        if found != schema.SCHEMA_VERSION:
            with database.named(self._place):
                database.write_ahead(self._engine)
            with self.transaction() as connection:
                self._make(connection)
        with self.reading() as connection:
            database.require_tables(connection, schema.METADATA, self.url)

    def _version(self, connection: Connection) -> int | None:
        """Version of the schema; None if the store is still to be made, or its making was interrupted.

        Raises:
            SchemaMismatch: the database is none of ours, or of a version that is not read.
        """
        tables = set(sa.inspect(connection).get_table_names())
        if "meta" in tables:
            query = sa.select(schema.META.c.key, schema.META.c.value)
            meta: dict[str, str] = dict(connection.execute(query).tuples().all())
            found = str(meta.get("schema_version", "0"))
            if found in map(str, range(1, schema.SCHEMA_VERSION + 1)):
                return int(found)
            if not meta and database.is_empty(connection, schema.METADATA):
                return None
            raise SchemaMismatch(
                f"store {self.url} has schema version {found}, written by hwnas "
                f"{meta.get('written_by', 'unknown')}; this version reads {schema.SCHEMA_VERSION}",
                hint="Use the version that wrote it, or a newer one; nothing was changed.",
            )
        if tables and not database.is_empty(connection, schema.METADATA):
            raise SchemaMismatch(
                f"{self.url} is a database, but not a measurement store (it has no table 'meta')",
                hint="Give the path of a store, or of a new file.",
            )
        return None

    def _make(self, connection: Connection) -> None:
        """All tables of this version, in one transaction; another process may have been first."""
        found = self._version(connection)
        if found == schema.SCHEMA_VERSION:
            return
        database.complete(connection, schema.METADATA)
        version_now = str(schema.SCHEMA_VERSION)
        if found is None:
            self.insert(connection, schema.META, key="schema_version", value=version_now)
            self.insert(connection, schema.META, key="written_by", value=_own_version())
        else:
            self.rewrite(connection, schema.META, schema.META.c.key == "schema_version", value=version_now)

    # -- many models at once: one statement, however many there are
    # -------------------------------------------------------------------------------------------------

    def block_counts(self, conditions: Conditions) -> dict[tuple[str, int], int]:
        """Blocks taken under conditions, by model and process."""
        b = schema.BLOCKS.c
        query = (
            sa.select(b.model, b.process, sa.func.count())
            .where(b.process.in_(_process_ids(conditions)))
            .group_by(b.process, b.model)
        )
        with self.reading() as connection:
            return {(model, process): count for model, process, count in connection.execute(query).all()}

    def progress(self, conditions: Conditions) -> tuple[int, int]:
        """How many blocks were taken under conditions, and how many models failed."""
        blocks = (
            sa.select(sa.func.count())
            .select_from(schema.BLOCKS)
            .where(schema.BLOCKS.c.process.in_(_process_ids(conditions)))
        )
        failed = (
            sa.select(sa.func.count()).select_from(schema.FAILURES).where(schema.FAILURES.c.conditions == conditions.id)
        )
        with self.reading() as connection:
            taken, given_up = connection.execute(sa.select(blocks.scalar_subquery(), failed.scalar_subquery())).one()
        return int(taken), int(given_up)

    def fused_graphs(self, conditions: Conditions, models: Iterable[str]) -> dict[str, OperatorGraph]:
        """The fused graphs of these models under conditions, of those that have one."""
        wanted = list(models)
        needed = {model for model in wanted if (model, conditions.id) not in self._fused}
        if needed:
            query = sa.select(schema.FUSED).where(schema.FUSED.c.conditions == conditions.id)
            for row in self.rows(schema.FUSED, query):
                if row["model"] in needed:
                    self._fused[row["model"], conditions.id] = self._graph(schema.FUSED, row)
        found = {model: self._fused.get((model, conditions.id)) for model in wanted}
        return {model: graph for model, graph in found.items() if graph is not None}

    def forget_failures(
        self, conditions: Conditions, models: Iterable[str] | None = None, *, only_transient: bool = True
    ) -> tuple[str, ...]:
        """Forget that models failed under conditions, so that they are tried again.

        Args:
            conditions: under which they failed.
            models: which ones; all if None.
            only_transient: keep the failures that are the model's own (`profiler.failures`).

        Returns:
            Ids of the models whose failures were forgotten.
        """
        asked = None if models is None else set(models)
        forgotten = [
            model
            for model, (kind, reason, _) in self.failures(conditions).items()
            if (asked is None or model in asked) and not (only_transient and not failures.is_transient(kind, reason))
        ]
        if forgotten:
            columns = schema.FAILURES.c
            where = (columns.conditions == conditions.id) & (columns.model == sa.bindparam("forgotten"))
            with self.transaction() as connection:
                connection.execute(schema.FAILURES.delete().where(where), [{"forgotten": m} for m in forgotten])
        return tuple(forgotten)


def _process_ids(conditions: Conditions) -> sa.Select[tuple[int]]:
    """Ids of the worker processes under conditions."""
    return sa.select(schema.PROCESSES.c.id).where(schema.PROCESSES.c.conditions == conditions.id)


def _lacks(connection: Connection, where: sa.ColumnElement[bool]) -> bool:
    """Whether no row is like this."""
    return connection.execute(sa.select(sa.literal(1)).where(where).limit(1)).first() is None


def _writable(name: str) -> str:
    """A name as text: that of a file may hold bytes that are none."""
    return name.encode(errors="backslashreplace").decode()


def _is_kernel_time(kernel: Any) -> bool:
    """Whether it is `[node, op_type, mean_ns, runs]`."""
    if not isinstance(kernel, list) or len(kernel) != 4:
        return False
    node, op_type, mean_ns, runs = kernel
    return isinstance(node, str) and isinstance(op_type, str) and _is_number(mean_ns, 0.0) and _is_number(runs, 1)


def _is_fact(fact: Any) -> bool:
    """Whether it is a fact of a machine: what is read of it must be a time."""
    if not isinstance(fact, dict):
        return False
    times = {"reference": ("sentinel_ns",), "state": ("gemm_ns", "memory_ns")}.get(str(fact.get("event")), ())
    return all(_is_number(fact[name], 1e-9) for name in times if name in fact)


def _is_number(value: Any, least: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < math.inf


def _own_version() -> str:
    try:
        return version("hwnas")
    except PackageNotFoundError:
        return "unknown"


__all__ = ["BlockRow", "ConditionMismatch", "ModelRow", "NoStore", "ProfileRow", "Store", "StoreBusy", "StoreFull"]
