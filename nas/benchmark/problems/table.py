"""A table of costs as a problem: every architecture was evaluated by somebody, and the front is exact.

Source of the protocol: Lu et al., "Neural architecture search as multiobjective optimization benchmarks", IEEE TEVC
    28(2), 2024 (EvoXBench): a noisy validation in the search, the true test in the report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable, UnknownName, UsageError
from nas.arrays import Archs, Floats
from nas.benchmark.problems import _table_rows
from nas.benchmark.problems.protocol import Problem
from nas.pareto import dominance

_RULE = re.compile(r"^\s*(\S+)\s*(<=|>=|<|>)\s*(\S+)\s*$")


def table(
    file: str,
    search: Sequence[str],
    report: Sequence[str] | None = None,
    space: str | None = None,
    known: Sequence[str] = (),
    keep: str = "",
) -> Problem:
    """The problem.

    Args:
        file: a CSV, gzipped or not, with a column `arch` in the space's text form, or a folder that `hwnas import`
            wrote, whose columns are those of its `table.csv`.
        search: columns that a search is told, `COLUMN` or `COLUMN:max`.
        report: columns that are scored, as many; those of the search if not given.
        space: spec of the space; if not given, the folder's own, which may be no more than its genes, and NAS-Bench-201
            for a CSV.
        known: those of `search` that cost nothing.
        keep: rows that count, such as `accuracy > 10`; all if not given. The others are told to the search as they are,
            and score nothing; so are rows with no number in a column of the report.

    Raises:
        InvalidTable: the file cannot be read, or has no row that counts.
        UnknownName: the file has no such column.
        UsageError: the columns of search and report are not equally many, or are no list.
    """
    if any(isinstance(names, str) for names in (search, report, known)) or not all(
        isinstance(name, str) for name in (*search, *(report or ()), *known)
    ):
        raise UsageError("search, report and known are lists of columns", hint='Write search = ["COLUMN", "COLUMN"].')
    rows = _table_rows.read(Path(file), space)
    columns = rows.columns
    scored = tuple(report or search)
    if len(scored) != len(search) or not search:
        raise UsageError(f"search has {len(search)} columns, report {len(scored)}; they must be as many, at least one")
    told, judged = _costs(columns, search), _costs(columns, scored)
    kept = _kept(columns, keep, len(rows.archs)) & np.isfinite(judged).all(axis=1)
    if not kept.any():
        rule = f", or none for which {keep}" if keep else ""
        raise InvalidTable(
            f"no row of {file} has numbers in {', '.join(scored)}{rule}", hint="Name other columns, or another keep."
        )
    front = judged[kept]
    ideal, nadir = front.min(axis=0), front.max(axis=0)
    judged = np.where(kept[:, None], judged, np.nan)
    names = tuple(column.partition(":")[0] for column in search)
    for column in known:
        if column not in names:
            raise UnknownName("known column", column, names)
    place = _places(rows)
    return Problem(
        f"table {Path(file).name} {', '.join(scored)}",
        rows.choices,
        names,
        lambda archs: _found(told, place, rows.choices, archs),
        lambda archs: _found(judged, place, rows.choices, archs),
        ideal,
        nadir,
        np.unique(front[dominance.nondominated(front)], axis=0),
        known=tuple(names.index(column) for column in known),
        space=rows.space,
    )


def _costs(columns: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    found = []
    for name in names:
        column, _, direction = name.partition(":")
        if column not in columns:
            raise UnknownName("column", column, columns)
        if direction not in ("", "max", "min"):
            raise UsageError(f"column {name!r} has direction {direction!r}", hint="Write COLUMN or COLUMN:max.")
        found.append(-columns[column] if direction == "max" else columns[column])
    return np.stack(found, axis=1)


def _kept(columns: Mapping[str, Floats], rule: str, rows: int) -> NDArray[np.bool_]:
    """Rows that a rule keeps, `(n,)`."""
    if not rule:
        return np.ones(rows, dtype=np.bool_)
    match = _RULE.match(rule)
    column, sign, bound = match.groups() if match is not None else ("", "", "")
    try:
        limit = float(bound)
    except ValueError as error:
        raise UsageError(f"cannot read keep = {rule!r}", hint="Write it like 'accuracy > 10'.") from error
    if column not in columns:
        raise UnknownName("column", column, columns)
    values = columns[column]
    tests = {"<=": values <= limit, ">=": values >= limit, "<": values < limit, ">": values > limit}
    return np.asarray(tests[sign])


def _places(rows: _table_rows.Rows) -> NDArray[np.int64] | dict[bytes, int]:
    """Rows of the table by number of the genome in a small space, by genome in a large one."""
    if prod(rows.choices) <= 10_000_000:
        found = np.full(prod(rows.choices), -1, dtype=np.int64)
        found[np.ravel_multi_index(tuple(rows.archs.T), rows.choices)] = np.arange(len(rows.archs))
        return found
    return {row.tobytes(): number for number, row in enumerate(rows.archs)}


def _found(
    costs: Floats, place: NDArray[np.int64] | dict[bytes, int], choices: tuple[int, ...], archs: Archs
) -> Floats:
    """Costs of genomes, `(n, m)`; NaN for those that the table does not have."""
    archs = np.ascontiguousarray(archs, dtype=np.int64)
    if isinstance(place, dict):
        rows = np.array([place.get(row.tobytes(), -1) for row in archs], dtype=np.int64)
    else:
        rows = place[np.ravel_multi_index(tuple(archs.T), choices)]
    return np.where(rows[:, None] >= 0, costs[rows], np.nan)


PROBLEM = table
