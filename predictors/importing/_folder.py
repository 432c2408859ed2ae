"""An imported table on disk: `table.csv` for people and searches, `table.json` for its facts."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.reading import shown
from predictors.folders import replacing
from predictors.importing import _cells
from predictors.importing._files import number, read_csv, read_raw
from predictors.importing.table import SEVERITIES, Column, Finding, Floats, LeftOut, Source, Table
from predictors.sealed import Kind, check_numbers, is_own, read_head, understood, write_head

#: Version of the folder. 1: first (2026-11). 2: digests of both files (2026-11).
SCHEMA = "hwnas.table/2"

#: A cell that begins so is a formula to spreadsheets, and may run what a stranger wrote.
_COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n")
_KIND = Kind(
    "table.json",
    SCHEMA,
    "a table's folder",
    "Make one with: hwnas import. What was changed by hand is a table of kind `plain`.",
    {"hwnas.table/1": "a version of 2026-11"},
)


def save(table: Table, folder: Path) -> None:
    """Write the table into `folder`, whole or not at all; a table that was there before is replaced.

    Raises:
        UsageError: the folder holds something that is no table, or cannot be written.
    """
    folder = Path(folder)
    text = _csv_text(table)
    with replacing(folder, "a table", is_table) as work:
        (work / "table.csv").write_text(text, encoding="utf-8", newline="")
        write_head(work, _KIND, _facts(table))


def load(folder: Path) -> Table:
    """Read what `save` wrote.

    Raises:
        SchemaMismatch: it is no table, is of another schema, or was damaged.
    """
    folder = Path(folder)
    found = facts(folder)
    with understood(f"{folder} is not {_KIND.what}", _KIND.remedy):
        return _table(found, *read_csv(read_raw(folder / "table.csv")))


def is_table(folder: Path) -> bool:
    """Whether a folder was written here, and holds nothing beside it."""
    return is_own(folder, _KIND)


def facts(folder: Path) -> dict[str, Any]:
    """The facts of a table whose files are as they were written.

    Raises:
        SchemaMismatch: it is no table, is of another schema, or was damaged.
    """
    return read_head(folder, _KIND)


def _csv_text(table: Table) -> str:
    heads = ["arch" if table.archs is not None else "key"]
    cells: list[list[str]] = [list(table.keys)]

    numbers: set[int] = set()

    def add(head: str, values: Floats) -> None:
        numbers.add(len(heads))
        heads.append(head)
        cells.append([_cell(value) for value in values.tolist()])

    if table.types is not None:
        heads.append("type")
        cells.append(list(table.types))
    for name, values in table.fields.items():
        add(f"field.{name}", values)
    for column in table.columns:
        add(column.name, column.values)
        if column.std is not None:
            add(f"{column.name}.std", column.std)
        if column.count is not None:
            add(f"{column.name}.count", column.count)
        if column.repeats is not None:
            for i, values in enumerate(column.repeats.T):
                add(f"{column.name}.repeat{i + 1}", values)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_guarded(head) for head in heads])
    for row in zip(*cells, strict=True):
        writer.writerow([cell if place in numbers else _guarded(cell) for place, cell in enumerate(row)])
    return out.getvalue()


def _guarded(text: str) -> str:
    """A text that a spreadsheet takes for a text: with a quote before what it would compute."""
    return f"'{text}" if text.lstrip("'").startswith(_COMPUTED) else text


def _unguarded(cell: str) -> str:
    """What was guarded, as it was."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_COMPUTED) else cell


def _cell(value: float) -> str:
    """The shortest text that reads back as the same number; empty for none."""
    if np.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _facts(table: Table) -> dict[str, Any]:
    return {
        "kind": table.kind,
        "rows": len(table),
        "space": table.space,
        "choices": table.choices,
        "exact": table.exact,
        "types": table.types is not None,
        "fields": list(table.fields),
        "columns": [
            {
                "name": column.name,
                "cost": column.cost,
                "unit": column.unit,
                "device": column.device,
                "workload": column.workload,
                "stated_unit": column.stated_unit,
                "std": column.std is not None,
                "count": column.count is not None,
                "repeats": 0 if column.repeats is None else column.repeats.shape[1],
            }
            for column in table.columns
        ],
        "source": asdict(table.source),
        "left_out": asdict(table.left_out),
        "findings": [finding.to_plain() for finding in table.findings],
    }


def _table(facts: dict[str, Any], heads: list[str], rows: list[list[str]]) -> Table:
    place = {_unguarded(head): i for i, head in enumerate(heads)}

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
    keys = tuple(_unguarded(row[0]) for row in rows)
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
        types=tuple(_unguarded(row[place["type"]]) for row in rows) if facts["types"] else None,
        fields={name: values(f"field.{name}") for name in facts["fields"]},
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
