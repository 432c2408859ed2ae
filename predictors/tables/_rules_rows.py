"""Rules about rows: what they are, which are there twice, and what they add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from predictors.tables._rules_values import costs, finding
from predictors.tables.table import Column, Finding, Table

#: Residual of a sum over genes, relative to the median, up to which a table is one: rounding to six digits.
_ADDITIVE = 2e-5

#: More channels and less time by more than this factor is odd.
_FASTER = 0.8

#: Fields that mean more work when they are larger and all else is equal.
_CHANNELS = ("cin", "cout", "expand", "mid", "c", "channels")


def duplicates(table: Table) -> Iterator[Finding]:
    """Keys that are there twice."""
    places: dict[bytes | str, list[int]] = defaultdict(list)
    for row, key in enumerate(table.keys):
        places[key if table.archs is None else table.archs[row].tobytes()].append(row)
    twice = [rows for rows in places.values() if len(rows) > 1]
    if not twice:
        return
    later, contradicting = np.zeros(len(table), dtype=bool), np.zeros(len(table), dtype=bool)
    worst = 1.0
    for rows in twice:
        later[rows[1:]] = True
        for column in table.columns:
            values = column.values[rows]
            if not np.allclose(values, values[0], rtol=1e-9, atol=0.0, equal_nan=True):
                contradicting[rows] = True
                if column.is_cost and np.nanmin(values) > 0:
                    worst = max(worst, float(np.nanmax(values) / np.nanmin(values)))
    what = "architectures" if table.types is None else "keys"
    if not table.exact:
        yield finding(
            table, "note", "repeated-features", None,
            f"{len(twice)} sets of features are there more than once, with costs up to {worst:.2f} times apart",
            "Features are averages that several networks share: take the spread as noise of a predictor.", later,
        )  # fmt: skip
        return
    if contradicting.any():
        yield finding(
            table, "error", "contradiction", None,
            f"{contradicting.sum()} rows are of {what} that are there again with other values, up to {worst:.2f} "
            "times apart",
            "Nobody can tell which is right: measure them again, or leave all of them out.", contradicting,
        )  # fmt: skip
    again = later & ~contradicting
    if again.any():
        yield finding(
            table, "error", "duplicate", None, f"{again.sum()} rows repeat earlier {what} with the same values",
            "Keep one row of each: a search refuses a table that has an architecture twice.", again,
        )  # fmt: skip


def constant_networks(table: Table) -> Iterator[Finding]:
    """Architectures that compute nothing."""
    if table.constant is not None and table.constant.any():
        yield finding(
            table, "note", "constant-network", None,
            f"{table.constant.sum()} rows are networks whose output does not depend on the input",
            "What they cost depends on how much a runtime deletes; leave them out of what you learn from.",
            table.constant,
        )  # fmt: skip


def coverage(table: Table) -> Iterator[Finding]:
    """Architectures of the space that are not there."""
    if table.archs is None or table.choices is None:
        return
    size = int(np.prod(table.choices))
    have = len(np.unique(table.archs, axis=0))
    if have < size:
        yield finding(
            table, "note", "coverage", None, f"{have} of the {size} architectures of {table.space} are there",
            "A search with this table alone wastes evaluations on the others: fit a predictor on it.",
        )  # fmt: skip


def additive(table: Table) -> Iterator[Finding]:
    """Columns that are exact sums over genes."""
    if table.archs is None or table.choices is None:
        return
    blocks = [table.archs[:, [gene]] == np.arange(options) for gene, options in enumerate(table.choices)]
    hot = np.concatenate(blocks, axis=1).astype(np.float64)
    for column in costs(table):
        known = np.isfinite(column.values)
        # With few rows anything is a sum.
        if known.sum() < 3 * hot.shape[1] or np.ptp(column.values[known]) == 0:
            continue
        fitted = hot[known] @ np.linalg.lstsq(hot[known], column.values[known], rcond=None)[0]
        residual = float(np.abs(fitted - column.values[known]).max() / np.median(np.abs(column.values[known])))
        if residual < _ADDITIVE:
            yield finding(
                table, "note", "additive", column.name,
                f"each value is a sum of one cost for each gene, to {residual:.0e}: it was added up, not measured",
                "It cannot test how kernels compose to a network; any linear model reaches it exactly.",
            )  # fmt: skip


def kernels_only(table: Table) -> Iterator[Finding]:
    """Rows that are blocks."""
    if table.types is not None and costs(table):
        yield finding(
            table, "note", "no-networks", None,
            f"the rows are {len(set(table.types))} types of blocks or kernels; no whole network is among them",
            "What they add up to was never measured: check sums on networks before you believe them.",
        )  # fmt: skip


def shared_features(table: Table) -> Iterator[Finding]:
    """Rows that do not say which network they are."""
    if not table.exact:
        yield finding(
            table, "note", "averaged-features", None,
            f"rows are described by {len(table.fields)} averaged features, which several networks share",
            "Learn from the features; the networks themselves cannot be named, looked up or measured again.",
        )  # fmt: skip


def monotone(table: Table) -> Iterator[Finding]:
    """Kernels with more channels that take much less time."""
    channels = [name for name in table.fields if name.lower() in _CHANNELS]
    if table.types is None or not channels:
        return
    names = list(table.fields)
    matrix = np.stack([np.nan_to_num(table.fields[name], nan=-1.0) for name in names], axis=1)
    kinds = np.unique(np.array(table.types), return_inverse=True)[1].reshape(-1, 1)
    for column in costs(table):
        odd = np.zeros(len(table), dtype=bool)
        worst, which, compared = 1.0, (0, 0), 0
        for channel in channels:
            others = np.concatenate([kinds, np.delete(matrix, names.index(channel), axis=1)], axis=1)
            value = table.fields[channel]
            for before, after in _neighbours(others, value, column):
                compared += 1
                change = column.values[after] / column.values[before]
                if change < _FASTER:
                    odd[after] = True
                    if change < worst:
                        worst, which = float(change), (before, after)
        if odd.any():
            small, large = (table.keys[i] for i in which)
            yield finding(
                table, "note", "not-monotone", column.name,
                f"{odd.sum()} kernels have more channels and take less than {_FASTER:g} of the time of the next "
                f"smaller one, of {compared} pairs; the oddest is {large} at {worst:.2f} of {small}",
                "Some devices have such steps; if many are there, the measurements are noisy.", odd,
            )  # fmt: skip


def _neighbours(
    others: np.ndarray[tuple[int, int], np.dtype[np.float64]], value: np.ndarray[tuple[int], np.dtype[np.float64]],
    column: Column,
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Pairs of rows that differ in one field alone and are next to each other in it."""
    usable = np.flatnonzero(np.isfinite(value) & np.isfinite(column.values) & (column.values > 0))
    if len(usable) < 2:
        return
    group = np.unique(others[usable], axis=0, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((value[usable], group))
    for i, j in pairwise(order):
        if group[i] == group[j] and value[usable[i]] < value[usable[j]]:
            yield int(usable[i]), int(usable[j])
