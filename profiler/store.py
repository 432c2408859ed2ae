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
from device_profiles.errors import ConditionMismatch, InvalidData, SchemaMismatch
from profiler import database, failures, schema
from profiler.database import StoreFull
from profiler.operators import OperatorGraph, operator_from_plain, operator_to_plain
from profiler.rows import BlockRow, ModelRow, ProfileRow

if TYPE_CHECKING:
    from profiler.agent.protocol import Block
    from profiler.meters.protocol import Energy


class Store:
    """A measurement database. Use it as a context manager.

    Args:
        url: a path (SQLite) or an SQLAlchemy URL.
        create: make it if it is not there; otherwise a missing file is an error.

    Raises:
        SchemaMismatch: the file is cut short, is not a store, or was written by a newer version.
        InvalidData: the file does not exist and `create` is False.
    """

    def __init__(self, url: str | Path, *, create: bool = True) -> None:
        self.url = str(url)
        path = None if "://" in self.url else Path(self.url)
        if path is not None:
            if not path.exists() and not create:
                raise InvalidData(
                    f"there is no store at {path}", hint="Make one with: hwnas profile TARGET --store " + str(path)
                )
            database.check_sqlite_file(path)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidData(
                    f"there can be no store at {path}: {error}", hint="Give a path in a folder that can be written."
                ) from error
        self._fused: dict[tuple[str, str], OperatorGraph] = {}
        self._engine = sa.create_engine(self.url if path is None else f"sqlite:///{path}")
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", database.sqlite_settings)
        try:
            self._open()
        except sa.exc.DatabaseError as error:
            self._engine.dispose()
            raise database.translated(error, self.url) from error
        except SchemaMismatch:
            self._engine.dispose()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """The database, for tables of other packages in the same file."""
        return self._engine

    def close(self) -> None:
        """Close the database; a file is left whole, without side files."""
        if self._engine.dialect.name == "sqlite":
            with contextlib.suppress(sa.exc.DatabaseError), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self._engine.dispose()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection to read from; damage that shows only now is a `SchemaMismatch`."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.DatabaseError as error:
            raise database.translated(error, self.url) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: all or nothing.

        Raises:
            StoreFull: the disk is full; nothing of this transaction was kept.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DatabaseError as error:
            raise database.translated(error, self.url) from error

    # -- targets and conditions
    # ------------------------------------------------------------------------------------------

    def bind(self, target: str, profile: str, conditions: Conditions) -> None:
        """State under which conditions `target` is measured here.

        Raises:
            ConditionMismatch: the store holds this target under other conditions.
        """
        self.check(target, conditions)
        if self.conditions(target) is not None:
            return
        with self.transaction() as connection:
            if (
                connection.execute(sa.select(schema.CONDITIONS).where(schema.CONDITIONS.c.id == conditions.id)).first()
                is None
            ):
                connection.execute(
                    schema.CONDITIONS.insert().values(
                        id=conditions.id, facts=json.dumps(conditions.to_plain(), sort_keys=True)
                    )
                )
            connection.execute(schema.TARGETS.insert().values(name=target, conditions=conditions.id, profile=profile))

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
        with self._reading() as connection:
            return tuple(connection.scalars(sa.select(schema.TARGETS.c.name).order_by(schema.TARGETS.c.name)))

    def conditions(self, target: str) -> Conditions | None:
        """The conditions of a target, or None if it was not measured here."""
        query = (
            sa.select(schema.CONDITIONS.c.facts)
            .join(schema.TARGETS, schema.TARGETS.c.conditions == schema.CONDITIONS.c.id)
            .where(schema.TARGETS.c.name == target)
        )
        with self._reading() as connection:
            facts = connection.scalar(query)
        return None if facts is None else Conditions.from_plain(json.loads(facts))

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
        with self.transaction() as connection:
            if connection.execute(sa.select(schema.MODELS.c.id).where(schema.MODELS.c.id == row.id)).first() is None:
                plain = None if row.kernel is None else json.dumps(operator_to_plain(row.kernel))
                connection.execute(
                    schema.MODELS.insert().values(
                        id=row.id,
                        name=row.name,
                        space=row.space,
                        arch=row.arch,
                        graph=graph.to_json(),
                        kernel=plain,
                        copies=row.copies,
                    )
                )

    def add_fused(self, model: str, conditions: Conditions, graph: OperatorGraph) -> None:
        """Remember what a runtime made of a model; a second time changes nothing."""
        if self.fused(model, conditions) is None:
            with self.transaction() as connection:
                connection.execute(
                    schema.FUSED.insert().values(model=model, conditions=conditions.id, graph=graph.to_json())
                )

    def start_process(self, conditions: Conditions, invocation: str, seed: int) -> int:
        """A new worker process; its number."""
        row = {"conditions": conditions.id, "invocation": invocation, "seed": seed, "state": "running", "facts": "[]"}
        with self.transaction() as connection:
            key = connection.execute(schema.PROCESSES.insert().values(**row)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def add_block(self, process: int, block: Block) -> None:
        """Commit one block."""
        with self.transaction() as connection:
            connection.execute(
                schema.BLOCKS.insert().values(
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
            connection.execute(schema.PROFILES.insert().values(**row))

    def add_memory(self, process: int, model: str, process_peak_bytes: int | None, unavailable: str | None) -> None:
        """Commit the peak of a process, or why there is none."""
        row = {"process": process, "model": model, "process_peak_bytes": process_peak_bytes, "unavailable": unavailable}
        with self.transaction() as connection:
            connection.execute(schema.MEMORY.insert().values(**row))

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
            connection.execute(schema.ENERGY.insert().values(**row))

    def add_failure(self, model: str, conditions: Conditions, *, kind: str, reason: str, hint: str) -> None:
        """Remember that a model cannot be measured; the last reason wins."""
        where = (schema.FAILURES.c.model == model) & (schema.FAILURES.c.conditions == conditions.id)
        with self.transaction() as connection:
            connection.execute(schema.FAILURES.delete().where(where))
            row = {"model": model, "conditions": conditions.id, "kind": kind, "reason": reason, "hint": hint}
            connection.execute(schema.FAILURES.insert().values(**row))

    def end_process(self, process: int, *, state: str, device_s: float, facts: Sequence[Mapping[str, Any]]) -> None:
        """Close a process with what it said of the machine."""
        row = {"state": state, "device_s": device_s, "facts": json.dumps(facts)}
        with self.transaction() as connection:
            connection.execute(schema.PROCESSES.update().where(schema.PROCESSES.c.id == process).values(**row))

    # -- what others read
    # ------------------------------------------------------------------------------------------------

    def models(self, ids: list[str] | None = None) -> dict[str, ModelRow]:
        """Known models by id."""
        columns = schema.MODELS.c
        query = sa.select(columns.id, columns.name, columns.space, columns.arch, columns.kernel, columns.copies)
        with self._reading() as connection:
            rows = [
                ModelRow(*row[:4], None if row[4] is None else operator_from_plain(json.loads(row[4])), row[5])
                for row in connection.execute(query)
            ]
        return {row.id: row for row in rows if ids is None or row.id in ids}

    def graph(self, model: str) -> OperatorGraph:
        """The captured graph of a model."""
        with self._reading() as connection:
            text = connection.scalar(sa.select(schema.MODELS.c.graph).where(schema.MODELS.c.id == model))
        if text is None:
            raise InvalidData(f"store {self.url} has no model {model!r}")
        return OperatorGraph.from_json(text)

    def fused(self, model: str, conditions: Conditions) -> OperatorGraph | None:
        """The fused graph of a model under conditions, or None."""
        key = (model, conditions.id)
        if key in self._fused:
            return self._fused[key]
        columns = schema.FUSED.c
        query = sa.select(columns.graph).where((columns.model == model) & (columns.conditions == conditions.id))
        with self._reading() as connection:
            text = connection.scalar(query)
        if text is None:
            return None
        self._fused[key] = OperatorGraph.from_json(text)
        return self._fused[key]

    def blocks(self, conditions: Conditions) -> list[BlockRow]:
        """All blocks taken under conditions, in the order they were taken."""
        b, p = schema.BLOCKS.c, schema.PROCESSES.c
        better = sa.case((b.sentinel_before_ns < b.sentinel_after_ns, b.sentinel_before_ns), else_=b.sentinel_after_ns)
        query = (
            sa.select(b.process, p.invocation, b.model, b.calls, b.ns, better, b.cpu_ns, b.switches)
            .join(schema.PROCESSES, p.id == b.process)
            .where(p.conditions == conditions.id)
            .order_by(b.id)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()  # at once: a fetch for each row costs more than the row
        return [BlockRow._make(row) for row in rows]

    def profiles(self, conditions: Conditions) -> list[ProfileRow]:
        """Profiles taken under conditions, in the order of their processes."""
        f, p = schema.PROFILES.c, schema.PROCESSES.c
        query = (
            sa.select(f.model, f.kernels, f.allocator_peak_bytes, f.sentinel_ns, f.run_ns)
            .join(schema.PROCESSES, p.id == f.process)
            .where(p.conditions == conditions.id)
            .order_by(f.process)
        )
        with self._reading() as connection:
            rows = connection.execute(query)
            return [ProfileRow(model, json.loads(kernels), *rest) for model, kernels, *rest in rows]

    def memory(self, conditions: Conditions) -> dict[str, tuple[int | None, str | None]]:
        """Peak of a process in bytes, or why there is none, by model; the last one measured."""
        m, p = schema.MEMORY.c, schema.PROCESSES.c
        query = (
            sa.select(m.model, m.process_peak_bytes, m.unavailable)
            .join(schema.PROCESSES, p.id == m.process)
            .where(p.conditions == conditions.id)
            .order_by(m.process)
        )
        with self._reading() as connection:
            return {model: (peak, reason) for model, peak, reason in connection.execute(query)}

    def energy(self, conditions: Conditions) -> dict[str, list[float]]:
        """Net energy of one inference in mJ, of each window, by model."""
        e, p = schema.ENERGY.c, schema.PROCESSES.c
        query = (
            sa.select(e.model, e.net_mj)
            .join(schema.PROCESSES, p.id == e.process)
            .where(p.conditions == conditions.id)
            .order_by(e.id)
        )
        found: dict[str, list[float]] = {}
        with self._reading() as connection:
            for model, net_mj in connection.execute(query):
                found.setdefault(model, []).append(net_mj)
        return found

    def failures(self, conditions: Conditions) -> dict[str, tuple[str, str, str]]:
        """Kind, reason and hint of what failed under conditions, by model."""
        columns = schema.FAILURES.c
        query = sa.select(columns.model, columns.kind, columns.reason, columns.hint).where(
            columns.conditions == conditions.id
        )
        with self._reading() as connection:
            return {model: (kind, reason, hint) for model, kind, reason, hint in connection.execute(query)}

    def device_s(self, conditions: Conditions) -> float:
        """Seconds of device time spent under conditions."""
        columns = schema.PROCESSES.c
        query = sa.select(sa.func.coalesce(sa.func.sum(columns.device_s), 0.0)).where(
            columns.conditions == conditions.id
        )
        with self._reading() as connection:
            return float(connection.scalar(query) or 0.0)

    def process_facts(self, conditions: Conditions) -> list[Mapping[str, Any]]:
        """What the processes said of the machine, in their order: sentinels, frequency, the reference known."""
        columns = schema.PROCESSES.c
        query = sa.select(columns.facts).where(columns.conditions == conditions.id).order_by(columns.id)
        with self._reading() as connection:
            return [fact for text in connection.scalars(query) for fact in json.loads(text)]

    def recording(self, conditions: Conditions) -> dict[str, Any]:
        """Blocks in the form that the `replay` runtime plays."""
        rows = self.blocks(conditions)
        models: dict[str, list[float]] = {}
        for row in rows:
            models.setdefault(row.model, []).append(row.ns / row.calls)
        return {"models": models, "sentinel": [row.sentinel_ns for row in rows]}

    def _open(self) -> None:
        inspector = sa.inspect(self._engine)
        tables = set(inspector.get_table_names())
        if "meta" in tables:
            with self._engine.connect() as connection:
                meta: dict[str, str] = dict(connection.execute(sa.select(schema.META)).tuples().all())
            found = meta.get("schema_version", "0")
            if found in ("1", "2"):
                self._from_before(found)
            elif found != str(schema.SCHEMA_VERSION):
                raise SchemaMismatch(
                    f"store {self.url} has schema version {found}, written by hwnas "
                    f"{meta.get('written_by', 'unknown')}; this version reads {schema.SCHEMA_VERSION}",
                    hint="Use the version that wrote it, or a newer one; nothing was changed.",
                )
        elif tables:
            raise SchemaMismatch(
                f"{self.url} is a database, but not a measurement store (it has no table 'meta')",
                hint="Give the path of a store, or of a new file.",
            )
        else:
            if self._engine.dialect.name == "sqlite":
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            schema.METADATA.create_all(self._engine)
            with self.transaction() as connection:
                connection.execute(
                    schema.META.insert(),
                    [
                        {"key": "schema_version", "value": str(schema.SCHEMA_VERSION)},
                        {"key": "written_by", "value": _own_version()},
                    ],
                )

    def _from_before(self, found: str) -> None:
        """Add what later versions have more: a table, and two columns."""
        with self.transaction() as connection:
            if found == "1":
                schema.ENERGY.create(connection, checkfirst=True)
            for column in (schema.BLOCKS.c.cpu_ns, schema.BLOCKS.c.switches, schema.PROFILES.c.run_ns):
                table = column.table.name
                if column.name not in {known["name"] for known in sa.inspect(connection).get_columns(table)}:
                    kind = column.type.compile(self._engine.dialect)
                    connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column.name} {kind}")
            where = schema.META.c.key == "schema_version"
            connection.execute(schema.META.update().where(where).values(value=str(schema.SCHEMA_VERSION)))

    # -- many models at once: one statement, however many there are
    # -------------------------------------------------------------------------------------------------

    def block_counts(self, conditions: Conditions) -> dict[tuple[str, int], int]:
        """Blocks taken under conditions, by model and process."""
        b = schema.BLOCKS.c
        query = (
            sa.select(b.model, b.process, sa.func.count())
            .where(b.process.in_(self._processes(conditions)))
            .group_by(b.process, b.model)
        )
        with self._reading() as connection:
            return {(model, process): count for model, process, count in connection.execute(query).all()}

    def progress(self, conditions: Conditions) -> tuple[int, int]:
        """How many blocks were taken under conditions, and how many models failed."""
        blocks = (
            sa.select(sa.func.count())
            .select_from(schema.BLOCKS)
            .where(schema.BLOCKS.c.process.in_(self._processes(conditions)))
        )
        failed = (
            sa.select(sa.func.count()).select_from(schema.FAILURES).where(schema.FAILURES.c.conditions == conditions.id)
        )
        with self._reading() as connection:
            taken, given_up = connection.execute(sa.select(blocks.scalar_subquery(), failed.scalar_subquery())).one()
        return int(taken), int(given_up)

    def fused_graphs(self, conditions: Conditions, models: Iterable[str]) -> dict[str, OperatorGraph]:
        """The fused graphs of these models under conditions, of those that have one."""
        wanted = list(models)
        columns = schema.FUSED.c
        if any((model, conditions.id) not in self._fused for model in wanted):
            query = sa.select(columns.model, columns.graph).where(columns.conditions == conditions.id)
            needed = {model for model in wanted if (model, conditions.id) not in self._fused}
            with self._reading() as connection:
                for model, text in connection.execute(query):
                    if model in needed:
                        self._fused[model, conditions.id] = OperatorGraph.from_json(text)
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

    @staticmethod
    def _processes(conditions: Conditions) -> sa.Select[tuple[int]]:
        return sa.select(schema.PROCESSES.c.id).where(schema.PROCESSES.c.conditions == conditions.id)


def _own_version() -> str:
    try:
        return version("hwnas")
    except PackageNotFoundError:
        return "unknown"


__all__ = ["BlockRow", "ConditionMismatch", "ModelRow", "ProfileRow", "Store", "StoreFull"]
