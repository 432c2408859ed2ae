"""Rows are checked as they come out of a database and before they go in: types, ranges, and a seal.

SQLite keeps text in a column of integers without a word, and a flipped bit of a file makes one number another. So a row
that is written carries a checksum of its values (its seal); one that was damaged is refused by name. Rows without a
seal, of older versions or edited by hand, are held to types and ranges alone.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa

from device_profiles.errors import InvalidData, SchemaMismatch

#: Longest text of a column that states no length; graphs of 100,000 nodes have less.
LONGEST = 64 << 20
#: Integers of a database are of 64 bits.
_LARGEST = 2**63 - 1
#: Columns with a seal of their own, so that rows are read without them.
APART = {"models": {"graph_seal": "graph"}}
_SEALS = ("seal", *(name for columns in APART.values() for name in columns))


@dataclass(frozen=True)
class _Column:
    """What a column may hold; `least` and `most` are of its value, or of the length of its text."""

    name: str
    kinds: tuple[type, ...]
    nullable: bool
    least: float
    most: float
    counted: bool


@cache
def _columns(table: sa.Table) -> tuple[_Column, ...]:
    found = []
    for column in table.columns:
        least = column.info.get("least")
        kinds: tuple[type, ...] = (str,)
        low, high = float(least or 0), float(getattr(column.type, "length", None) or LONGEST)
        if isinstance(column.type, sa.Integer):
            kinds, low, high = (int,), -_LARGEST if least is None else least, _LARGEST
        elif isinstance(column.type, sa.Float):
            kinds, low, high = (float, int), -math.inf if least is None else least, sys.float_info.max
        found.append(_Column(column.name, kinds, bool(column.nullable), low, high, str in kinds))
    return tuple(found)


def problem(table: sa.Table, row: Mapping[str, Any]) -> str:
    """What is wrong with a row, or with some columns of one; empty if nothing is."""
    for column in _columns(table):
        if column.name not in row:
            continue
        value = row[column.name]
        if value is None:
            if not column.nullable:
                return f"{column.name} is missing"
            continue
        if type(value) not in column.kinds:
            return f"{column.name} is {type(value).__name__} {str(value)[:40]!r}, not {column.kinds[0].__name__}"
        size = len(value) if column.counted else value
        if not column.least <= size <= column.most:
            what = f"the length of {column.name}" if column.counted else column.name
            return f"{what} is {size}, outside of {column.least} to {column.most}"
    return ""


def checked(table: sa.Table, row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """A row as it was read.

    Args:
        table: of it.
        row: columns of the table, and maybe more.
        where: the database, for messages.

    Raises:
        SchemaMismatch: a value is of another type or outside of its range, or is not what was written.
    """
    wrong = problem(table, row)
    for name in _SEALS:
        if not wrong and row.get(name) is not None and row[name] != _seal(table, row, name):
            wrong = "its values are not those that were written"
    if wrong:
        raise damaged(table, row, where, wrong)
    return row


def damaged(table: sa.Table, row: Mapping[str, Any], where: str, wrong: str) -> SchemaMismatch:
    """The error that names table and row."""
    keys = [str(row[column.name])[:40] for column in table.primary_key if column.name in row]
    return SchemaMismatch(
        f"row {', '.join(keys) or '?'} of table {table.name!r} in {where} is damaged: {wrong}",
        hint="Restore the file from a copy, or delete that row with sqlite3; nothing was changed.",
    )


def sealed(table: sa.Table, row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row to be written, with its seals: nothing is written that could not be read.

    Raises:
        InvalidData: a value is of another type or outside of its range.
    """
    row = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    wrong = problem(table, row)
    if wrong:
        raise InvalidData(f"cannot write a row of table {table.name!r} to {where}: {wrong}")
    names = [name for name in _SEALS if name in table.c and (name == "seal" or APART[table.name][name] in row)]
    return {**row, **{name: _seal(table, row, name) for name in names}}


def checked_all(
    table: sa.Table, names: Sequence[str], rows: Iterable[Sequence[Any]], where: str
) -> list[dict[str, Any]]:
    """Rows as they were read; `names` are those of their columns. It takes some us a row.

    Raises:
        SchemaMismatch: as of `checked`.
    """
    place = {name: at for at, name in enumerate(names)}
    plan = [
        (place[c.name], c.kinds, c.nullable, c.least, c.most, c.counted) for c in _columns(table) if c.name in place
    ]
    seals = [
        (place[seal], [(f"{name}=", place[name], fraction) for name, fraction in _covered(table, seal)])
        for seal in _SEALS
        if seal in place
    ]
    found = []
    for row in rows:
        for at, kinds, nullable, least, most, counted in plan:
            value = row[at]
            if value is None:
                if nullable:
                    continue
            elif type(value) in kinds and least <= (len(value) if counted else value) <= most:
                continue
            checked(table, dict(zip(names, row, strict=True)), where)  # which says what is wrong
        for at, covered in seals:
            if row[at] is not None:
                values = [(mark, row[i], fraction) for mark, i, fraction in covered if row[i] is not None]
                if row[at] != _crc(table.name, values):
                    checked(table, dict(zip(names, row, strict=True)), where)
        found.append(dict(zip(names, row, strict=True)))
    return found


def _crc(table: str, values: Iterable[tuple[str, Any, bool]]) -> int:
    """CRC-32 of values, each with its mark; that of a fraction is the same whether it came as an integer."""
    parts = [f"{mark}{float(value) if fraction else value}" for mark, value, fraction in values]
    return zlib.crc32("\x1f".join([table, *parts]).encode(errors="surrogatepass"))


@cache
def _covered(table: sa.Table, seal: str) -> tuple[tuple[str, bool], ...]:
    """Columns that a seal covers, in the order of their names, and whether they are of floats.

    Numbers that the database gives out itself are not known when a row is written.
    """
    apart = APART.get(table.name, {})
    counted = table.autoincrement_column
    if seal in apart:
        return ((apart[seal], False),)
    names = sorted(
        column.name
        for column in table.columns
        if column is not counted and column.name not in _SEALS and column.name not in apart.values()
    )
    return tuple((name, isinstance(table.c[name].type, sa.Float)) for name in names)


def _seal(table: sa.Table, row: Mapping[str, Any], seal: str) -> int:
    """Checksum of the values that are not NULL: a column that is added later changes no seal."""
    covered = [(f"{name}=", row.get(name), fraction) for name, fraction in _covered(table, seal)]
    return _crc(table.name, [part for part in covered if part[1] is not None])
