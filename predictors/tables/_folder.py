"""A table's folder, read: what is not as it was written is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.reading import shown
from predictors.sealed import check_numbers, read_head, understood
from predictors.tables import _cells
from predictors.tables._files import number, read_csv, read_raw
from predictors.tables._written import KIND, unguarded
from predictors.tables.table import SEVERITIES, Column, Finding, Floats, LeftOut, Source, Table


def load(folder: str | Path) -> Table:
    """Read a table's folder.

    Raises:
        SchemaMismatch: it is none, is of another schema, or was damaged.
    """
    folder = Path(folder)
    found = facts(folder)
    with understood(f"{folder} is not {KIND.what}", KIND.remedy):
        return _table(found, *read_csv(read_raw(folder / "table.csv")))


def check(folder: str | Path) -> None:
    """Refuse a table's folder that is not as it was written, without reading its values.

    Raises:
        SchemaMismatch: it is none, is of another schema, or was damaged.
    """
    facts(Path(folder))


def facts(folder: Path) -> dict[str, Any]:
    """The facts of a table whose files are as they were written.

    Raises:
        SchemaMismatch: it is no table, is of another schema, or was damaged.
    """
    return read_head(folder, KIND)


def _table(facts: dict[str, Any], heads: list[str], rows: list[list[str]]) -> Table:
    place = {unguarded(head): i for i, head in enumerate(heads)}

    def values(head: str) -> Floats:
        i = place[head]
        return np.array([number(row[i], f"table.csv, row {r + 1}") for r, row in enumerate(rows)])

    _check(facts)
    columns = []
    for entry in facts["columns"]:
        name = entry["name"]
        repeats = [values(f"{name}.repeat{i + 1}") for i in range(entry["repeats"])]
        columns.append(
            Column(
                **{key: entry[key] for key in ("name", "cost", "unit", "device", "workload", "stated_unit")},
                values=values(name),
                std=values(f"{name}.std") if entry["std"] else None,
                count=values(f"{name}.count") if entry["count"] else None,
                repeats=np.stack(repeats, axis=1) if repeats else None,
            )
        )
    if len(rows) != facts["rows"]:
        raise ValueError(f"table.csv has {len(rows)} rows, table.json says {facts['rows']}")
    if heads[0] not in ("key", "arch") or (heads[0] != "arch" and facts["space"] == _cells.SPACE):
        raise ValueError(f"the first column is {heads[0]!r} in a table of space {facts['space']!r}")
    keys = tuple(unguarded(row[0]) for row in rows)
    archs = _cells.parse(keys, Path("table.csv")) if facts["space"] == _cells.SPACE else None
    left_out = facts["left_out"]
    return Table(
        kind=facts["kind"],
        keys=keys,
        columns=tuple(columns),
        source=Source(**facts["source"]),
        space=facts["space"],
        choices=None if facts["choices"] is None else tuple(facts["choices"]),
        archs=archs,
        constant=None if archs is None else _cells.constant(archs),
        exact=facts["exact"],
        types=tuple(unguarded(row[place["type"]]) for row in rows) if facts["types"] else None,
        fields={name: values(f"field.{name}") for name in facts["fields"]},
        models=facts.get("models", False),
        labels={
            name: tuple(unguarded(row[place[f"label.{name}"]]) for row in rows) for name in facts.get("labels", ())
        },
        stated=facts.get("stated", {}),
        left_out=LeftOut(left_out["rows"], tuple(left_out["columns"])),
        findings=tuple(Finding(**{**finding, "sample": tuple(finding["sample"])}) for finding in facts["findings"]),
    )


def _check(facts: dict[str, Any]) -> None:
    """Refuse facts of other types, or of a space that is not known.

    Raises:
        ValueError: they are.
    """

    def texts(entry: dict[str, Any], names: tuple[str, ...], *, none: bool = False) -> None:
        for name in names:
            if not isinstance(entry[name], str) and not (none and entry[name] is None):
                raise ValueError(f"{name} must be a text, got {shown(entry[name])}")

    def flags(entry: dict[str, Any], *names: str) -> None:
        for name in names:
            if not isinstance(entry[name], bool):
                raise ValueError(f"{name} must be true or false, got {shown(entry[name])}")

    texts(facts, ("kind",))
    flags(facts, "exact", "types")
    flags({"models": facts.get("models", False)}, "models")
    stated = facts.get("stated", {})
    for said in (*facts.get("labels", ()), *stated, *stated.values()):
        texts({"labels and what is stated": said}, ("labels and what is stated",))
    for entry in facts["columns"]:
        texts(entry, ("name", "cost", "unit"))
        texts(entry, ("device", "workload", "stated_unit"), none=True)
        flags(entry, "std", "count")
        check_numbers("repeats", (entry["repeats"],), 1, least=0)
    check_numbers(
        "rows and sizes", (facts["rows"], facts["source"]["size_bytes"], facts["left_out"]["rows"]), 3, least=0
    )
    texts(facts["source"], ("file", "sha256"))
    texts(facts["source"], ("licence",), none=True)
    texts(facts, ("space",), none=True)
    choices = facts["choices"]
    if choices is not None:
        check_numbers("choices", choices, len(choices), least=1)
    if facts["space"] == _cells.SPACE and tuple(choices or ()) != _cells.CHOICES:
        raise ValueError(f"{_cells.SPACE} has options {_cells.CHOICES}, not {shown(choices)}")
    for finding in facts["findings"]:
        if finding["severity"] not in SEVERITIES:
            raise ValueError(f"a finding of severity {shown(finding['severity'])}")
