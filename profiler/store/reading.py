"""What is in a store: targets with their conditions, models, and what was measured of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from device_profiles.conditions import Conditions
from device_profiles.errors import InvalidData, SchemaMismatch
from profiler import row_checks, schema
from profiler.meters.protocol import Energy
from profiler.operators import Operator, OperatorGraph, operator_from_plain
from profiler.records import BlockRow, ModelRow, OfDevice, ProfileRow
from profiler.store.opened import OpenStore


class ReadStore(OpenStore):
    """A store as those see it who read it."""

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

    def _processes(self, conditions: Conditions, *, aside: bool = False) -> list[dict[str, Any]]:
        """Worker processes under conditions, in the order they were started; with those that count for nothing."""
        query = sa.select(schema.PROCESSES).where(*_of(conditions, aside)).order_by(schema.PROCESSES.c.id)
        return self.rows(schema.PROCESSES, query)

    def _of_processes(
        self, table: sa.Table, conditions: Conditions, order: sa.Column[Any] | None = None, *, aside: bool = False
    ) -> list[dict[str, Any]]:
        """Rows of a table that processes under conditions wrote, in their order."""
        p = schema.PROCESSES.c
        query = sa.select(table).join(schema.PROCESSES, p.id == table.c.process).where(*_of(conditions, aside))
        return self.rows(table, query.order_by(table.c.process if order is None else order))

    def blocks(self, conditions: Conditions, *, aside: bool = False) -> list[BlockRow]:
        """All blocks taken under conditions, in the order they were taken.

        Args:
            conditions: which.
            aside: with those of devices that were set aside.
        """
        invocations = {row["id"]: row["invocation"] for row in self._processes(conditions, aside=aside)}
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
            for row in self._of_processes(schema.BLOCKS, conditions, schema.BLOCKS.c.id, aside=aside)
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

    def metered(self, conditions: Conditions) -> dict[str, list[Energy]]:
        """Energy of one inference, of each window, by model."""
        found: dict[str, list[Energy]] = {}
        for row in self._of_processes(schema.ENERGY, conditions, schema.ENERGY.c.id):
            if not 0.0 < row["net_mj"] <= row["gross_mj"]:
                raise row_checks.damaged(schema.ENERGY, row, self.url, "net energy is 0 or more than gross")
            window = Energy(row["gross_mj"], row["net_mj"], row["sensor"], row["update_ms"])
            found.setdefault(row["model"], []).append(window)
        return found

    def energy(self, conditions: Conditions) -> dict[str, list[float]]:
        """Net energy of one inference in mJ, of each window, by model."""
        return {model: [one.net_mj for one in windows] for model, windows in self.metered(conditions).items()}

    def failures(self, conditions: Conditions) -> dict[str, tuple[str, str, str]]:
        """Kind, reason and hint of what failed under conditions, by model."""
        query = sa.select(schema.FAILURES).where(schema.FAILURES.c.conditions == conditions.id)
        rows = self.rows(schema.FAILURES, query)
        return {row["model"]: (row["kind"], row["reason"], row["hint"]) for row in rows}

    def device_s(self, conditions: Conditions) -> float:
        """Seconds of device time spent under conditions."""
        return math.fsum(row["device_s"] or 0.0 for row in self._processes(conditions, aside=True))

    def process_facts(self, conditions: Conditions) -> list[Mapping[str, Any]]:
        """What the processes said of the machine, in their order: sentinels, frequency, the reference known."""
        return [fact for row in self._processes(conditions) for fact in self._facts(row)]

    def _facts(self, row: dict[str, Any]) -> list[Mapping[str, Any]]:
        facts = self._json(schema.PROCESSES, row, "facts")
        if not isinstance(facts, list) or not all(map(_is_fact, facts)):
            raise row_checks.damaged(schema.PROCESSES, row, self.url, "its facts are none of a machine")
        return facts

    def processes_started(self, conditions: Conditions) -> int:
        """How many worker processes were ever started under conditions."""
        query = sa.select(sa.func.count()).select_from(schema.PROCESSES).where(*_of(conditions, aside=True))
        with self.reading() as connection:
            return int(connection.scalar(query) or 0)

    def devices(self, conditions: Conditions) -> dict[int, OfDevice]:
        """Processes of a fleet under conditions by their numbers, in the order they were started."""
        found = {}
        for row in self._processes(conditions, aside=True):
            facts = self._facts(row)
            address = next((str(fact["address"]) for fact in facts if fact.get("event") == "device"), None)
            if address is not None:
                reasons = [str(fact["reason"]) for fact in facts if fact.get("event") == "aside"]
                aside = reasons[-1] if row["state"] == schema.ASIDE else None
                found[int(row["id"])] = OfDevice(address, aside, facts)
        return found

    def recording(self, conditions: Conditions) -> dict[str, Any]:
        """Blocks in the form that the `replay` runtime plays."""
        rows = self.blocks(conditions)
        models: dict[str, list[float]] = {}
        for row in rows:
            models.setdefault(row.model, []).append(row.ns / row.calls)
        return {"models": models, "sentinel": [row.sentinel_ns for row in rows]}

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


def _process_ids(conditions: Conditions) -> sa.Select[tuple[int]]:
    """Ids of the worker processes under conditions that count."""
    return sa.select(schema.PROCESSES.c.id).where(*_of(conditions))


def _of(conditions: Conditions, aside: bool = False) -> list[sa.ColumnElement[bool]]:
    """Where a process is one under conditions; with those that count for nothing."""
    columns = schema.PROCESSES.c
    return [columns.conditions == conditions.id, *([] if aside else [columns.state != schema.ASIDE])]


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
    if fact.get("event") == "deviation":
        return _is_deviation(fact)
    if fact.get("event") in ("energy", "meter"):
        about = "id" if fact["event"] == "energy" else "name"
        return all(isinstance(fact.get(name), str) for name in (about, "unavailable"))
    if fact.get("event") in ("device", "aside"):
        return isinstance(fact.get({"device": "address", "aside": "reason"}[fact["event"]]), str)
    times = {"reference": ("sentinel_ns",), "state": ("gemm_ns", "memory_ns")}.get(str(fact.get("event")), ())
    return all(_is_number(fact[name], 1e-9) for name in times if name in fact)


def _is_deviation(fact: dict[str, Any]) -> bool:
    """Whether it says how far a model is from what ONNX defines, or why nobody knows."""
    texts = ("id", "calibration", *(["unavailable"] if "unavailable" in fact else []))
    numbers = () if "unavailable" in fact else ("largest", "mean")
    return (
        all(isinstance(fact.get(name), str) for name in texts)
        and all(_is_number(fact.get(name), 0.0) for name in numbers)
        and isinstance(fact.get("sets"), int)
    )


def _is_number(value: Any, least: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < math.inf
