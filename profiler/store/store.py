"""The store: what a campaign writes, and all that `reading` gives.

Rows are raw: blocks, sentinels, profiles. Summaries are computed when they are asked for, so that a table can be
normalised again. Every block is committed as it comes, so a killed campaign loses at most the block in flight.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from device_profiles.conditions import Conditions
from device_profiles.errors import InvalidData
from profiler import failures, schema
from profiler.operators import OperatorGraph, operator_to_plain
from profiler.records import ModelRow, ProfileRow
from profiler.store.reading import ReadStore

if TYPE_CHECKING:
    from profiler.agent.protocol import Block
    from profiler.meters.protocol import Energy


class Store(ReadStore):
    """A measurement database. Use it as a context manager.

    Args:
        url: a path (SQLite) or an SQLAlchemy URL.
        create: make it if it is not there; otherwise a missing file is an error.
        as_copy: read a file as it is now, from a copy in memory: the file is not locked, and not brought to this
            version; what is written is lost. A server is read, and refuses what would change it.

    Attributes:
        url: where it is, for people: without a password.
        read_only: whether it is a server that is only read.

    Raises:
        SchemaMismatch: the file is cut short, damaged, not a store, or was written by a newer version.
        NoStore: there is none, or one that was never finished, and `create` is False.
        UsageError: the URL cannot be read.
        DeviceError: the database cannot be reached, or its driver is missing.
    """

    def bind(self, target: str, profile: str, conditions: Conditions) -> None:
        """State under which conditions `target` is measured here.

        Raises:
            ConditionMismatch: the store holds this target under other conditions.
        """
        self.check(target, conditions)
        facts = json.dumps(conditions.to_plain(), sort_keys=True)
        with self.transaction() as connection:
            self.insert_once(connection, schema.CONDITIONS, id=conditions.id, facts=facts)
            # Another campaign may have been first; what it said is held against this one below.
            self.insert_once(connection, schema.TARGETS, name=target, conditions=conditions.id, profile=profile)
        self.check(target, conditions)

    def check(self, target: str, conditions: Conditions) -> None:
        """Refuse other conditions than those under which the target was measured here, if it was.

        Raises:
            ConditionMismatch: they differ.
        """
        known = self.conditions(target)
        if known is not None:
            known.require_same(conditions, what=f"target {target!r} in store {self.url}")

    def add_model(self, row: ModelRow, graph: OperatorGraph) -> None:
        """Remember a model; a second time changes nothing."""
        plain = None if row.kernel is None else json.dumps(operator_to_plain(row.kernel))
        with self.transaction() as connection:
            self.insert_once(
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
            row = {"model": model, "conditions": conditions.id, "graph": graph.to_json()}
            with self.transaction() as connection:
                self.insert_once(connection, schema.FUSED, **row)

    def start_process(
        self, conditions: Conditions, invocation: str, seed: int, facts: Sequence[Mapping[str, Any]] = ()
    ) -> int:
        """A new worker process, with what is known of it from its start; its number."""
        row = {"conditions": conditions.id, "invocation": invocation, "seed": seed, "state": "running"}
        row["facts"] = json.dumps(list(facts))
        with self.transaction() as connection:
            return self.insert(connection, schema.PROCESSES, **row)

    def add_block(self, process: int, block: Block) -> None:
        """Commit one block; a second time changes nothing."""
        with self.transaction() as connection:
            self.insert_once(
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
        """Commit one profile; a second time changes nothing."""
        row = {
            "process": process,
            "model": profile.model,
            "kernels": json.dumps(profile.kernels),
            "allocator_peak_bytes": profile.allocator_peak_bytes,
            "sentinel_ns": profile.sentinel_ns,
            "run_ns": profile.run_ns,
        }
        with self.transaction() as connection:
            self.insert_once(connection, schema.PROFILES, **row)

    def add_memory(self, process: int, model: str, process_peak_bytes: int | None, unavailable: str | None) -> None:
        """Commit the peak of a process, or why there is none; a second time changes nothing."""
        row = {"process": process, "model": model, "process_peak_bytes": process_peak_bytes, "unavailable": unavailable}
        with self.transaction() as connection:
            self.insert_once(connection, schema.MEMORY, **row)

    def add_energy(self, process: int, model: str, energy: Energy, number: int | None = None) -> None:
        """Commit the energy of one inference, of a window of many.

        Args:
            process: that ran it.
            model: that was run.
            energy: of one inference.
            number: of the window in the process, from 0: a second time changes nothing. None is the next one.

        Raises:
            InvalidData: it is not above 0 and finite.
        """
        if not (0.0 < energy.net_mj <= energy.gross_mj < math.inf):
            raise InvalidData(
                f"energy must be above 0 and finite, and net no more than gross; got net {energy.net_mj} mJ "
                f"and gross {energy.gross_mj} mJ",
                hint="Measure over a longer window.",
            )
        columns = schema.ENERGY.c
        known = sa.select(sa.func.count()).where(columns.process == process, columns.model == model)
        with self.transaction() as connection:
            place = int(connection.scalar(known) or 0) if number is None else number
            row = {"process": process, "model": model, "number": place, **asdict(energy)}
            self.insert_once(connection, schema.ENERGY, **row)

    def add_failure(self, model: str, conditions: Conditions, *, kind: str, reason: str, hint: str) -> None:
        """Remember that a model cannot be measured; the last reason wins."""
        row = {"model": model, "conditions": conditions.id, "kind": kind, "reason": reason, "hint": hint}
        with self.transaction() as connection:
            self.insert_latest(connection, schema.FAILURES, **row)

    def end_process(self, process: int, *, state: str, device_s: float, facts: Sequence[Mapping[str, Any]]) -> None:
        """Close a process with what it said of the machine."""
        row = {"state": state, "device_s": device_s, "facts": json.dumps(facts)}
        with self.transaction() as connection:
            self.rewrite(connection, schema.PROCESSES, schema.PROCESSES.c.id == process, **row)

    def set_aside(self, conditions: Conditions, address: str, reason: str) -> None:
        """What a device of a fleet measured under conditions is kept, and counts for nothing from now on."""
        for process, of in self.devices(conditions).items():
            if of.address == address and of.aside is None:
                told = json.dumps([*of.facts, {"event": "aside", "reason": reason}])
                with self.transaction() as connection:
                    where = schema.PROCESSES.c.id == process
                    self.rewrite(connection, schema.PROCESSES, where, state=schema.ASIDE, facts=told)

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


def _writable(name: str) -> str:
    """A name as text: that of a file may hold bytes that are none."""
    return name.encode(errors="backslashreplace").decode()
