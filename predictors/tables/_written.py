"""A table as a folder: `table.csv` for people and searches, `table.json` for its facts."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from predictors.folders import replacing
from predictors.sealed import Kind, is_own, write_head

if TYPE_CHECKING:
    from predictors.tables.table import Floats, Table

#: Version of the folder. 1: first (2026-11). 2: digests of both files (2026-11). 3: `models`, `labels` and `stated`
#: (2026-11); 2 is read as well.
SCHEMA = "hwnas.table/3"

KIND = Kind(
    "table.json",
    SCHEMA,
    "a table's folder",
    "Make one with: hwnas import. What was changed by hand is a table of kind `plain`.",
    {"hwnas.table/1": "a version of 2026-11"},
    also=("hwnas.table/2",),
)

#: A cell that begins so is a formula to spreadsheets, and may run what a stranger wrote.
_COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n")


def save(table: Table, folder: Path) -> None:
    """Write the table into `folder`, whole or not at all; a table that was there before is replaced.

    Raises:
        UsageError: the folder holds something that is no table, or cannot be written.
    """
    folder = Path(folder)
    text = _csv_text(table)
    with replacing(folder, "a table", is_table) as work:
        (work / "table.csv").write_text(text, encoding="utf-8", newline="")
        write_head(work, KIND, _facts(table))


def is_table(folder: Path) -> bool:
    """Whether a folder was written here, and holds nothing beside it."""
    return is_own(folder, KIND)


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
    for name, texts in table.labels.items():
        heads.append(f"label.{name}")
        cells.append(list(texts))
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


def unguarded(cell: str) -> str:
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
        "models": table.models,
        "labels": list(table.labels),
        "stated": dict(table.stated),
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
