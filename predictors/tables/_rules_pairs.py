"""Rules about two columns: energy against latency, and one device under two names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from device_profiles.errors import UsageError
from predictors.tables._columns import SPELLING, UNITS
from predictors.tables._rules_values import costs, finding
from predictors.tables.table import Column, Finding, Floats, Table

#: Power that a device may draw, in W: a microcontroller asleep, and a large accelerator.
POWER_W = (1e-4, 1e3)

#: Rank correlation and relative deviation of the ratio from which two columns are one.
_SAME_RANKS = 0.9999
_SAME_RATIO = 0.005
_SAME_SHARE = 0.95

#: A column needs this share of distinct values to say that equal entries are no chance.
_DISTINCT = 0.5


def power(table: Table) -> Iterator[Finding]:
    """Energy over latency, which is power."""
    latencies = {column.label: column for column in table.columns if column.cost == "latency"}
    for column in table.columns:
        latency = latencies.get(column.label)
        if column.cost != "energy" or latency is None:
            continue
        known = (latency.values > 0) & (column.values > 0)
        known &= np.isfinite(latency.values) & np.isfinite(column.values)
        if not known.any():
            continue
        watts = float(np.median(column.values[known] / latency.values[known]))  # mJ / ms
        if POWER_W[0] <= watts <= POWER_W[1]:
            continue
        yield finding(
            table, "error", "power", column.name,
            f"energy over latency is {watts:.3g} W, which no device draws ({POWER_W[0]:g} to {POWER_W[1]:g} W are "
            f"plausible): the unit {column.stated_unit or column.unit} is wrong{_better(watts, column)}",
            "See at the source which unit it is, and name the column by that; an import leaves the column out.",
        )  # fmt: skip


def _better(watts: float, column: Column) -> str:
    """Units with which the power would be plausible."""
    factors = UNITS["energy"][1]
    stated = (column.stated_unit or "mJ").lower()
    if stated not in factors:
        return ""
    fitting = {
        unit: watts / factors[stated] * factor
        for unit, factor in factors.items()
        if POWER_W[0] <= watts / factors[stated] * factor <= POWER_W[1]
    }
    said = [f"{SPELLING.get(unit, unit)} would make it {value:.3g} W" for unit, value in fitting.items()]
    return f"; {', '.join(said)}" if said else ", or that of the latency is"


def same_columns(table: Table) -> Iterator[Finding]:
    """Two columns that are one."""
    yield from _same(table, _pairs(costs(table)))


def copied_entries(table: Table) -> Iterator[Finding]:
    """Some entries that equal another column's, beyond chance."""
    yield from _copied(table, _pairs(costs(table)))


def across(table: Table, other: Table) -> Iterator[Finding]:
    """The two rules above between the columns of two tables, over the rows that both have.

    Raises:
        UsageError: they have no rows in common.
    """
    places = {key: row for row, key in reversed(list(enumerate(other.keys)))}
    rows = [row for row, key in enumerate(table.keys) if key in places]
    if not rows:
        raise UsageError(
            f"{table.source.file} and {other.source.file} have no rows in common",
            hint="Give two tables of the same architectures or kernels.",
        )
    mine, theirs = table.take(rows), other.take([places[table.keys[row]] for row in rows])
    renamed = [replace(column, name=f"{column.name} of {other.source.file}") for column in costs(theirs)]
    pairs = [(first, second) for second in costs(mine) for first in renamed if first.cost == second.cost]
    for found in (*_same(mine, pairs), *_copied(mine, pairs)):
        yield replace(found, rows=tuple(rows[row] for row in found.rows))


def _same(table: Table, pairs: Iterable[tuple[Column, Column]]) -> Iterator[Finding]:
    for first, second in pairs:
        known = np.isfinite(first.values) & np.isfinite(second.values) & (first.values > 0) & (second.values > 0)
        if known.sum() < 10 or np.ptp(first.values[known]) == 0 or np.ptp(second.values[known]) == 0:
            continue
        a, b = first.values[known], second.values[known]
        equal = float((a == b).mean())
        ratio = b / a
        steady = float(np.std(ratio) / np.mean(ratio)) < _SAME_RATIO
        if equal <= _SAME_SHARE and not steady:
            continue
        correlation = float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])
        if equal <= _SAME_SHARE and correlation < _SAME_RANKS:
            continue
        how = f"{equal:.0%} of the values are equal"
        if equal <= _SAME_SHARE:
            how = f"it is {np.mean(ratio):.4g} times that, to +-{np.std(ratio) / np.mean(ratio):.2%}"
        yield finding(
            table, "error", "same-column", second.name,
            f"practically identical to {first.name}: {how} (rank correlation {correlation:.5f})",
            "One device is there under two names, and nobody can tell which one it is: do not use the two as evidence "
            "for each other. An import keeps the first of a table.",
        )  # fmt: skip


def _copied(table: Table, pairs: Iterable[tuple[Column, Column]]) -> Iterator[Finding]:
    digits: dict[str, int] = {}
    for first, second in pairs:
        for column in (first, second):
            if column.name not in digits:
                digits[column.name] = _digits(column.values) if _fine(column) else 0
        if not digits[first.name] or not digits[second.name]:
            continue
        known = np.isfinite(first.values) & np.isfinite(second.values) & (first.values > 0)
        equal = known & (first.values == second.values)
        if equal.sum() < 4 or equal.sum() > _SAME_SHARE * known.sum():
            continue
        # By chance as many as lie, on average, in each of the 100 steps around.
        figures = min(digits[first.name], digits[second.name])
        safe = np.where(known, first.values, 1.0)
        step = 10.0 ** (np.floor(np.log10(safe)) - figures + 1)
        near = known & ~equal & (np.abs(first.values - second.values) <= 50.5 * step)
        chance = near.sum() / 100
        if equal.sum() <= 5 * chance + 3:
            continue
        yield finding(
            table, "warning", "copied-entries", second.name,
            f"{equal.sum()} of {known.sum()} values equal those of {first.name} to the last of {figures} digits; "
            f"by chance it would be {chance:.2g}",
            "These rows were taken from one device for the other: do not use them for both.", equal,
        )  # fmt: skip


def _pairs(columns: list[Column]) -> Iterator[tuple[Column, Column]]:
    """Those of one cost."""
    for first, second in combinations(columns, 2):
        if first.cost == second.cost:
            yield first, second


def _fine(column: Column) -> bool:
    known = column.values[np.isfinite(column.values)]
    return len(known) >= 10 and len(np.unique(known)) >= _DISTINCT * len(known)


def _digits(values: Floats) -> int:
    """Significant digits that the values were written with, 1 to 15."""
    known = values[np.isfinite(values) & (values != 0)]
    scale = 10.0 ** np.floor(np.log10(np.abs(known)))
    mantissa = known / scale
    for digits in range(1, 15):
        if np.all(np.abs(np.round(mantissa, digits - 1) - mantissa) < 1e-12):
            return digits
    return 15


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, ties share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts + 1) / 2)[inverse.reshape(-1)])
