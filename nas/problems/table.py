"""A table of costs as a problem: every architecture was evaluated by somebody, and the front is exact.

Source of the protocol: Lu et al., "Neural architecture search as multiobjective optimization benchmarks", IEEE TEVC
    28(2), 2024 (EvoXBench): a noisy validation in the search, the true test in the report.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable, UnknownName, UsageError
from nas import moo, spaces
from nas.problems.protocol import Problem
from nas.spaces.protocol import Archs, Space

Floats = NDArray[np.float64]

_RULE = re.compile(r"^\s*(\S+)\s*(<=|>=|<|>)\s*(\S+)\s*$")


def table(
    file: str,
    search: Sequence[str],
    report: Sequence[str] | None = None,
    space: str = "nasbench201",
    known: Sequence[str] = (),
    keep: str = "",
) -> Problem:
    """The problem.

    Args:
        file: a CSV, gzipped or not, with a column `arch` in the space's text form.
        search: columns that a search is told, `COLUMN` or `COLUMN:max`.
        report: columns that are scored, as many; those of the search if not given.
        space: spec of the space.
        known: those of `search` that cost nothing.
        keep: rows that count, such as `accuracy > 10`; all if not given. The others are told to the search as they are,
            and score nothing.

    Raises:
        InvalidTable: the file has no such column, a cell that is no number, or no row that counts.
        UsageError: the columns of search and report are not equally many.
    """
    whole = spaces.load(space)
    archs, columns = _read(str(Path(file).resolve()), space)
    scored = tuple(report or search)
    if len(scored) != len(search) or not search:
        raise UsageError(f"search has {len(search)} columns, report {len(scored)}; they must be as many, at least one")
    told, judged = _costs(columns, search), _costs(columns, scored)
    kept = _kept(columns, keep)
    if not kept.any():
        raise InvalidTable(f"no row of {file} is left by keep = {keep!r}")
    front = judged[kept]
    ideal, nadir = front.min(axis=0), front.max(axis=0)
    judged = np.where(kept[:, None], judged, np.nan)
    names = tuple(column.partition(":")[0] for column in search)
    for column in known:
        if column not in names:
            raise UnknownName("known column", column, names)
    place = _places(whole, archs)
    return Problem(
        f"table {Path(file).name} {', '.join(scored)}",
        whole.choices,
        names,
        lambda rows: _found(told, place, whole, rows),
        lambda rows: _found(judged, place, whole, rows),
        ideal,
        nadir,
        front[moo.nondominated(front)],
        known=tuple(names.index(column) for column in known),
        space=whole,
    )


@lru_cache(maxsize=4)
def _read(file: str, space: str) -> tuple[Archs, dict[str, Floats]]:
    """Genomes `(n, d)` and columns of a file; kept, as many problems are of one file."""
    path = Path(file)
    if not path.is_file():
        raise InvalidTable(f"there is no table {path}", hint="Give the path of a CSV file.")
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as handle:
        reader = csv.reader(handle)
        heads = next(reader, [])
        rows = [row for row in reader if row]
    if "arch" not in heads:
        raise InvalidTable(f"{path} has no column 'arch'", hint=f"It has: {', '.join(heads[:12])}.")
    short = next((number for number, row in enumerate(rows, start=2) if len(row) != len(heads)), None)
    if short is not None:
        raise InvalidTable(f"line {short} of {path} has {len(rows[short - 2])} cells, the head has {len(heads)}")
    text = heads.index("arch")
    whole = spaces.load(space)
    archs = np.array([whole.parse(row[text]) for row in rows], dtype=np.int64).reshape(len(rows), len(whole.choices))
    columns = {}
    for number, head in enumerate(heads):
        if number != text:
            columns[head] = np.array([_number(row[number]) for row in rows])
    return archs, columns


def _number(cell: str) -> float:
    """NaN for a cell that is no number: an architecture that failed, or a column of words."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _costs(columns: dict[str, Floats], names: Sequence[str]) -> Floats:
    found = []
    for name in names:
        column, _, direction = name.partition(":")
        if column not in columns:
            raise UnknownName("column", column, columns)
        if direction not in ("", "max", "min"):
            raise UsageError(f"column {name!r} has direction {direction!r}", hint="Write COLUMN or COLUMN:max.")
        found.append(-columns[column] if direction == "max" else columns[column])
    return np.stack(found, axis=1)


def _kept(columns: dict[str, Floats], rule: str) -> NDArray[np.bool_]:
    """Rows that count."""
    finite = np.ones(len(next(iter(columns.values()))), dtype=np.bool_)
    if not rule:
        return finite
    match = _RULE.match(rule)
    if match is None:
        raise UsageError(f"cannot read keep = {rule!r}", hint="Write it like 'accuracy > 10'.")
    column, sign, bound = match.groups()
    if column not in columns:
        raise UnknownName("column", column, columns)
    values, limit = columns[column], _number(bound)
    tests = {"<=": values <= limit, ">=": values >= limit, "<": values < limit, ">": values > limit}
    return np.asarray(tests[sign])


def _places(space: Space, archs: Archs) -> NDArray[np.int64] | dict[bytes, int]:
    """Rows of the table by number of the genome in a small space, by genome in a large one."""
    if prod(space.choices) <= 10_000_000:
        found = np.full(prod(space.choices), -1, dtype=np.int64)
        found[np.ravel_multi_index(tuple(archs.T), space.choices)] = np.arange(len(archs))
        return found
    return {row.tobytes(): number for number, row in enumerate(archs)}


def _found(costs: Floats, place: NDArray[np.int64] | dict[bytes, int], space: Space, archs: Archs) -> Floats:
    """Costs of genomes; NaN for those that the table does not have."""
    archs = np.ascontiguousarray(archs, dtype=np.int64)
    if isinstance(place, dict):
        rows = np.array([place.get(row.tobytes(), -1) for row in archs], dtype=np.int64)
    else:
        rows = place[np.ravel_multi_index(tuple(archs.T), space.choices)]
    return np.where(rows[:, None] >= 0, costs[rows], np.nan)


PROBLEM = table
