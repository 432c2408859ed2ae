"""An imported table on disk: `table.csv` for people and searches, `table.json` for its facts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import HwnasError, SchemaMismatch
from predictors.folders import replacing
from predictors.importing import _cells
from predictors.importing._files import number, read_csv, read_raw
from predictors.importing.table import Column, Finding, Floats, LeftOut, Source, Table

#: Version of the folder. 1: first (2026-11).
SCHEMA = "hwnas.table/1"

_FILES = ("table.csv", "table.json")


def save(table: Table, folder: Path) -> None:
    """Write the table into `folder`, whole or not at all; a table that was there before is replaced.

    Raises:
        UsageError: the folder holds something that is no table, or cannot be written.
    """
    folder = Path(folder)
    text = _csv_text(table)
    facts = _facts(table, hashlib.sha256(text.encode()).hexdigest())
    with replacing(folder, "a table", is_table) as work:
        (work / "table.csv").write_text(text, encoding="utf-8", newline="")
        (work / "table.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load(folder: Path) -> Table:
    """Read what `save` wrote.

    Raises:
        SchemaMismatch: it is no table, is of another schema, or was damaged.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        schema = facts["schema"]
        if schema != SCHEMA:
            raise SchemaMismatch(
                f"{folder}/table.json has schema {schema!r}; this version reads {SCHEMA!r}",
                hint="Import the table again.",
            )
        raw = read_raw(folder / "table.csv")
        if raw.sha256 != facts["table_sha256"]:
            raise SchemaMismatch(
                f"{folder}/table.csv is not the file that was written: its SHA-256 differs",
                hint="Import the table again. What was changed by hand is a table of kind `plain`.",
            )
        return _table(facts, *read_csv(raw))
    except SchemaMismatch:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, HwnasError) as error:
        raise SchemaMismatch(
            f"{folder} is not a table's folder: {error}", hint="Make one with: hwnas import"
        ) from error


def is_table(folder: Path) -> bool:
    """Whether a folder was written here: no other files, and the facts say so."""
    if {path.name for path in folder.iterdir()} - set(_FILES):
        return False
    try:
        schema = json.loads((folder / "table.json").read_text(encoding="utf-8"))["schema"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return str(schema).startswith("hwnas.table/")


def _csv_text(table: Table) -> str:
    heads = ["arch" if table.archs is not None else "key"]
    cells: list[list[str]] = [list(table.keys)]

    def add(head: str, values: Floats) -> None:
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
    writer.writerow(heads)
    writer.writerows(zip(*cells, strict=True))
    return out.getvalue()


def _cell(value: float) -> str:
    """The shortest text that reads back as the same number; empty for none."""
    if np.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _facts(table: Table, digest: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
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
        "table_sha256": digest,
    }


def _table(facts: dict[str, Any], heads: list[str], rows: list[list[str]]) -> Table:
    place = {head: i for i, head in enumerate(heads)}

    def values(head: str) -> Floats:
        i = place[head]
        return np.array([number(row[i], f"table.csv, row {r + 1}") for r, row in enumerate(rows)])

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
    keys = tuple(row[0] for row in rows)
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
        types=tuple(row[place["type"]] for row in rows) if facts["types"] else None,
        fields={name: values(f"field.{name}") for name in facts["fields"]},
        left_out=LeftOut(left_out["rows"], tuple(left_out["columns"])),
        findings=tuple(Finding(**{**finding, "sample": tuple(finding["sample"])}) for finding in facts["findings"]),
    )
