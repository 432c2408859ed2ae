"""Rows of a table: genomes and columns of numbers, from a CSV or from a folder that `hwnas import` wrote."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from device_profiles.errors import HwnasError, InvalidTable, UsageError
from nas import spaces
from nas.arrays import Archs, Floats
from nas.spaces.protocol import Space

#: What a CSV has architectures of where nobody says.
_SPACE = "nasbench201"


@dataclass(frozen=True)
class Rows:
    """A table in memory.

    Attributes:
        archs: `(n, d)`, all different.
        columns: by name, `(n,)`; NaN where a cell is empty or no number.
        choices: options per gene, `(d,)`.
        space: of the architectures, or None where only their genes are known.
    """

    archs: Archs
    columns: dict[str, Floats]
    choices: tuple[int, ...]
    space: Space | None


def read(path: Path, space: str | None) -> Rows:
    """A table; kept in memory, as many problems are of one file, and read again when the file has changed.

    Args:
        path: of a CSV, gzipped or not, with a column `arch`, or of an imported folder.
        space: spec of the space whose text form the architectures have; if not given, the folder's own, and
            NAS-Bench-201 for a CSV.

    Raises:
        InvalidTable: it cannot be read, has no architectures, or has one twice.
    """
    path = path.resolve()
    file = path / "table.csv" if path.is_dir() else path
    if not file.is_file():
        raise InvalidTable(
            f"there is no table {path}", hint="Give the path of a CSV file, or of a folder that `hwnas import` wrote."
        )
    facts = file.stat()
    return _read(path, space, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, space: str | None, changed: int, size: int) -> Rows:
    texts, columns, choices, named = _folder(path) if path.is_dir() else _csv(path)
    chosen = space or named
    whole = None if chosen is None else spaces.load(chosen)
    if whole is not None:
        choices = whole.choices
    if choices is None:
        raise InvalidTable(f"the rows of {path} are no architectures of a known space", hint="Give the space.")
    parse = _integers(choices) if whole is None else whole.parse
    archs = np.empty((len(texts), len(choices)), dtype=np.int64)
    for number, text in enumerate(texts):
        try:
            archs[number] = parse(text)
        except HwnasError as error:
            raise InvalidTable(f"{path}, row {number + 1}: {error.message}", hint=error.hint) from error
    _, first, count = np.unique(archs, axis=0, return_index=True, return_counts=True)
    if len(first) < len(archs):
        raise InvalidTable(f"{path} has {texts[first[count > 1][0]]} more than once", hint="Keep one row of it.")
    return Rows(archs, columns, choices, whole)


def _integers(choices: Sequence[int]) -> Callable[[str], Archs]:
    """What reads genes with commas."""

    def parse(text: str) -> Archs:
        genes = [int(gene) if gene.strip().isdecimal() else -1 for gene in text.split(",")]
        if len(genes) != len(choices) or any(not 0 <= g < n for g, n in zip(genes, choices, strict=True)):
            options = ", ".join(map(str, choices))
            raise UsageError(f"{text[:80]!r} is no architecture of {len(choices)} genes", hint=f"Options: {options}.")
        return np.array(genes, dtype=np.int64)

    return parse


def _folder(path: Path) -> tuple[Sequence[str], dict[str, Floats], tuple[int, ...] | None, str | None]:
    """Texts, columns with their deviations and single measurements, choices and space of an imported table."""
    from predictors import tables

    table = tables.load(path)
    if not table.exact:
        raise InvalidTable(f"rows of {path} are averages of several architectures", hint="Take another table.")
    columns = {}
    for column in table.columns:
        columns[column.name] = column.values
        for part, values in (("std", column.std), ("count", column.count)):
            if values is not None:
                columns[f"{column.name}.{part}"] = values
        if column.repeats is not None:
            columns.update({f"{column.name}.repeat{i + 1}": values for i, values in enumerate(column.repeats.T)})
    return table.keys, columns, table.choices, table.space if table.space in spaces.names() else None


def _csv(path: Path) -> tuple[Sequence[str], dict[str, Floats], tuple[int, ...] | None, str | None]:
    """Likewise of a CSV."""
    try:
        with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as handle:
            reader = csv.reader(handle)
            heads = next(reader, [])
            rows = [row for row in reader if row]
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        raise InvalidTable(f"cannot read {path}: {error}", hint="Give a CSV file, gzipped or not.") from error
    if "arch" not in heads:
        raise InvalidTable(f"{path} has no column 'arch'", hint=f"It has: {', '.join(heads[:12])}.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(heads):
            raise InvalidTable(f"{path}, row {number}: {len(row)} cells, and the head has {len(heads)}")
    text = heads.index("arch")
    columns = {
        head: np.array([_number(row[place]) for row in rows]) for place, head in enumerate(heads) if place != text
    }
    return [row[text] for row in rows], columns, None, _SPACE


def _number(cell: str) -> float:
    """NaN for a cell that is no number: an architecture that failed, or a column of words."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")
