"""Rules about the values of one column."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from predictors.tables.table import Column, Finding, Floats, Severity, Table

#: A network's cost below this share of its column's median is near zero: published networks of one space lie within a
#: factor of 8 of their median, while those that a runtime deleted lie 20 to 3000 times below.
NEAR_ZERO = 0.05

#: Values that differ by a factor of about 1000 may be of two units.
_THOUSAND = (300.0, 3000.0)

#: Two groups of values are apart if no value lies within this factor between them.
_GAP = 10.0

#: A low group without such a gap, and without a reason, is believed wrong if it is this far below the rest.
_SMALL_GAP = 3.0

#: Half a step of a quantised column, relative to its low values (5th percentile): from where on it is said.
_COARSE = 0.01
_FINE = 0.001

#: A column with fewer distinct values than this share of its rows is written in steps.
_FEW = 0.2

#: So many rows of a profile may be equal by chance.
_LAYERS = 4

_SAMPLE = 3


def finding(
    table: Table,
    severity: Severity,
    rule: str,
    column: str | None,
    text: str,
    advice: str,
    rows: NDArray[np.bool_] | None = None,
) -> Finding:
    """A finding with its rows, their number and some of their keys."""
    index = () if rows is None else tuple(int(i) for i in np.flatnonzero(rows))
    return Finding(
        severity, rule, column, text, advice, index, len(index), tuple(table.keys[i][:120] for i in index[:_SAMPLE])
    )


def missing(table: Table) -> Iterator[Finding]:
    """Rows without a value."""
    for column in table.columns:
        rows = np.isnan(column.values)
        if rows.any():
            yield finding(
                table, "error", "missing", column.name,
                f"{rows.sum()} of {len(table)} rows have no value",
                "Measure them, or go on without: an import leaves these rows out.", rows,
            )  # fmt: skip


def not_finite(table: Table) -> Iterator[Finding]:
    """Infinite values."""
    for column in table.columns:
        rows = np.isinf(column.values)
        if rows.any():
            yield finding(
                table, "error", "not-finite", column.name,
                f"{rows.sum()} values are infinite",
                "These measurements failed: leave the rows out.", rows,
            )  # fmt: skip


def out_of_range(table: Table) -> Iterator[Finding]:
    """Shares in percent that are none."""
    for column in table.columns:
        rows = (column.values < 0) | (column.values > 100)
        if column.unit == "%" and rows.any():
            yield finding(
                table, "error", "out-of-range", column.name,
                f"{rows.sum()} values are outside of 0..100 %",
                "See what these values are before you use the column.", rows,
            )  # fmt: skip


def not_positive(table: Table) -> Iterator[Finding]:
    """Costs of 0 and below."""
    for column in costs(table):
        negative, zero = column.values < 0, column.values == 0
        if column.cost == "latency" and "clock_ms" in table.stated:
            zero[:] = False  # `below-clock` says of these why they are 0
        if negative.any():
            yield finding(
                table, "error", "negative", column.name,
                f"{negative.sum()} values are negative, the lowest {np.nanmin(column.values):g} {column.unit}",
                "No cost is below 0: they are marks of failure or come from extrapolation. Leave the rows out.",
                negative,
            )  # fmt: skip
        if zero.any():
            yield finding(
                table, "error", "zero", column.name,
                f"{zero.sum()} values are 0",
                "Nothing costs 0: such a value is a hole that a sum hides. Leave the rows out.", zero,
            )  # fmt: skip
    for column in costs(table):
        if column.std is not None and (column.std < 0).any():
            rows = column.std < 0
            yield finding(
                table, "error", "negative", f"{column.name}.std",
                f"{rows.sum()} standard deviations or variances are negative",
                "A deviation is 0 or above: do not use those of this column.",
            )  # fmt: skip


def constant_column(table: Table) -> Iterator[Finding]:
    """Columns with one value in all rows."""
    for column in table.columns:
        known = column.values[np.isfinite(column.values)]
        # Two layers of a profile may well take as many whole microseconds.
        if len(known) > (_LAYERS if table.stated else 1) and np.ptp(known) == 0:
            yield finding(
                table, "error", "constant", column.name,
                f"all {len(known)} values are {known[0]:g}",
                "There is nothing to search for or to learn from in it.",
            )  # fmt: skip


def sentinel(table: Table) -> Iterator[Finding]:
    """One value in many rows that stands for something else, such as -1 or 999999."""
    for column in costs(table):
        known = np.unique(column.values[np.isfinite(column.values)], return_counts=True)
        for value, count in zip(*known, strict=True):
            if count < 3 or len(known[0]) < 3:
                continue
            others = known[0][known[0] != value]
            positive = others[others > 0]
            far = len(positive) > 0 and value > _GAP * positive.max() and count > known[1][known[0] != value].max()
            if value <= 0 or far:
                rows = column.values == value
                yield finding(
                    table, "error", "sentinel", column.name,
                    f"{count} rows hold {value:g}, which looks like a mark for a failed measurement",
                    "Leave these rows out; it is no cost.", rows,
                )  # fmt: skip


def scales(table: Table) -> Iterator[Finding]:
    """Values that are far off the rest: near zero, or in another unit."""
    for column in costs(table):
        marked = sentinels(column)
        for group in groups(table):
            rows = group & np.isfinite(column.values) & (column.values > 0) & ~marked
            if rows.sum() >= 20:
                yield from _scales_of(table, column, rows)


def _scales_of(table: Table, column: Column, rows: NDArray[np.bool_]) -> Iterator[Finding]:
    values = column.values
    median = float(np.median(values[rows]))
    low = rows & (values < NEAR_ZERO * median)
    # Blocks may well be 20 times cheaper than other blocks; networks of one space are not.
    is_network = table.types is None and table.exact and not table.models
    dead = low & table.constant if table.constant is not None else np.zeros(len(values), dtype=bool)
    if is_network and low.any() and dead.sum() >= 0.9 * low.sum():
        assert table.constant is not None
        how_many = "all" if dead.sum() == low.sum() else f"{dead.sum()}"
        yield finding(
            table, "error", "near-zero", column.name,
            f"{low.sum()} values are far too small, {_times(median, values[low])} below the median of {median:.3g} "
            f"{column.unit}; {how_many} of them are networks whose output does not depend on the input (the table has "
            f"{table.constant.sum()} such networks): the runtime deleted the network and timed what was left",
            "Leave these rows out: a search would take them for the fastest networks.", low,
        )  # fmt: skip
        return
    split = _split(values, rows)
    if split is not None:
        minority, ratio, fits = split
        if fits:
            yield finding(
                table, "error", "mixed-units", column.name,
                f"{minority.sum()} of {rows.sum()} values are about {ratio:.0f} times "
                f"{'smaller' if values[minority].mean() < median else 'larger'} than the rest, and fit in when taken "
                "by 1000: the column mixes two units, such as s and ms",
                "See at the source which rows have the other unit, and convert them; an import leaves them out.",
                minority,
            )  # fmt: skip
            return
        if is_network or minority.sum() < NEAR_ZERO * rows.sum():
            is_low = values[minority].mean() < median
            yield finding(
                table, "error" if is_low and is_network else "warning", "near-zero" if is_low else "far-above",
                column.name,
                f"{minority.sum()} values are about {ratio:.0f} times {'smaller' if is_low else 'larger'} than all "
                f"others, with nothing in between",
                "Look at these rows: a network that was deleted or did not run, or one disturbed measurement.",
                minority,
            )  # fmt: skip
            return
    if is_network and low.any() and low.sum() < _FEW * rows.sum():
        rest = values[rows & ~low].min()
        apart = rest > _SMALL_GAP * values[low].max()
        yield finding(
            table, "error" if apart else "warning", "near-zero", column.name,
            f"{low.sum()} values are far too small: {_times(median, values[low])} below the median of {median:.3g} "
            f"{column.unit}",
            "Look at these rows: networks that a runtime deleted, or that did not run, look like this.", low,
        )  # fmt: skip


def _split(values: Floats, rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float, bool] | None:
    """The smaller of two groups with a gap between them, how far apart, and whether it is a matter of units."""
    order = np.sort(values[rows])
    ratios = order[1:] / order[:-1]
    at = int(np.argmax(ratios))
    if ratios[at] < _GAP:
        return None
    low, high = rows & (values <= order[at]), rows & (values > order[at])
    ratio = float(np.median(values[high]) / np.median(values[low]))
    minority = low if low.sum() <= high.sum() else high
    scaled = values[low] * 1000.0
    inside = (scaled > values[high].min() / 2) & (scaled < values[high].max() * 2)
    varies = len(np.unique(values[minority])) > 1
    fits = _THOUSAND[0] <= ratio <= _THOUSAND[1] and bool(inside.mean() > 0.9) and varies
    return minority, ratio, fits


def quantised(table: Table) -> Iterator[Finding]:
    """Values in whole steps, such as milliseconds."""
    for column in costs(table):
        known = np.unique(column.values[np.isfinite(column.values) & (column.values > 0) & ~sentinels(column)])
        if len(table) < 50 or len(known) < 2 or len(known) > _FEW * len(table):
            continue
        step = _step(known)
        if step is None:
            continue
        values = column.values[np.isfinite(column.values) & (column.values > 0)]
        usual, worst = step / 2 / np.median(values), step / 2 / np.percentile(values, 5)
        if worst < _FINE:
            continue
        yield finding(
            table, "warning" if worst >= _COARSE else "note", "quantised", column.name,
            f"values come in steps of {step:g} {column.unit}, {len(known)} distinct ones: each is known to "
            f"+-{usual:.1%} at the median and to +-{worst:.1%} among the low ones",
            "No predictor can be better than that here; ranks within one step mean nothing.",
        )  # fmt: skip


def _step(distinct: Floats) -> float | None:
    """The largest power of ten, or half or a fifth of it, of which all values are multiples."""
    for exponent in range(6, -7, -1):
        for factor in (1.0, 0.5, 0.2):
            step = factor * 10.0**exponent
            multiples = distinct / step
            if (
                np.all(np.abs(multiples - np.round(multiples)) < 1e-6 * np.maximum(multiples, 1.0))
                and multiples[0] > 0.9
            ):
                return step
    return None


def deviations(table: Table) -> Iterator[Finding]:
    """Standard deviations that are none."""
    for column in costs(table):
        if column.std is None:
            continue
        known = np.isfinite(column.std) & np.isfinite(column.values) & (column.values != 0)
        if not known.any():
            continue
        std, values = column.std[known], column.values[known]
        equal = np.isclose(std, values, rtol=1e-6, atol=0.0)
        if equal.mean() > 0.95 and len(std) > 1:
            yield finding(
                table, "error", "deviation-is-mean", f"{column.name}.std",
                f"the standard deviation equals the mean in {equal.sum()} of {len(std)} rows",
                "It is a copy of the mean and says nothing of the noise; an import leaves the deviations out.",
            )  # fmt: skip
        elif (std == 0).all() and len(std) > 1:
            yield finding(
                table, "warning", "no-deviation", f"{column.name}.std", "all standard deviations are 0",
                "Nothing was repeated, or it was not written down: the noise is not known.",
            )  # fmt: skip
        else:
            wide = np.zeros(len(table), dtype=bool)
            wide[known] = std > np.abs(values)
            if wide.sum() > 0.01 * len(std):
                yield finding(
                    table, "warning", "wide-deviation", f"{column.name}.std",
                    f"the standard deviation is above the mean in {wide.sum()} of {len(std)} rows",
                    "The means are of disturbed or mixed samples: use medians if the single measurements exist.", wide,
                )  # fmt: skip


def repeats(table: Table) -> Iterator[Finding]:
    """Single measurements that do not belong together."""
    for column in costs(table):
        if column.repeats is None or column.repeats.shape[1] < 3:
            continue
        samples = np.where(column.repeats > 0, column.repeats, np.nan)
        usable = np.isfinite(samples[:, 0]) & (np.isfinite(samples[:, 1:]).sum(axis=1) >= 2)
        if not usable.any():
            continue
        ratio, spread = np.ones(len(table)), np.ones(len(table))
        rest = np.nanmedian(samples[usable, 1:], axis=1)
        ratio[usable] = samples[usable, 0] / rest
        spread[usable] = np.nanmax(samples[usable, 1:], axis=1) / np.nanmin(samples[usable, 1:], axis=1)
        spiky = ratio >= 5
        if spiky.sum() > 0.01 * usable.sum():
            yield finding(
                table, "warning", "first-sample", column.name,
                f"in {spiky.sum()} of {usable.sum()} rows the first measurement is at least 5 times the median of the "
                f"others, up to {ratio.max():.0f} times: it holds what happens once",
                "Use medians, or drop the first: means are off by a multiple.", spiky,
            )  # fmt: skip
        mixed = (spread >= _THOUSAND[0]) & (spread <= _THOUSAND[1])
        if mixed.any():
            yield finding(
                table, "error", "mixed-units", column.name,
                f"in {mixed.sum()} rows the measurements of one row differ about 1000 times: two units, such as s and "
                "ms, are averaged",
                "See at the source which have the other unit; an import leaves the rows out.", mixed,
            )  # fmt: skip


def costs(table: Table) -> list[Column]:
    """Columns that are quantities above 0."""
    return [column for column in table.columns if column.is_cost]


def groups(table: Table) -> list[NDArray[np.bool_]]:
    """Rows that may be compared in size: all networks, or the blocks of one type."""
    if table.types is None:
        return [np.ones(len(table), dtype=bool)]
    types = np.array(table.types)
    return [types == kind for kind in dict.fromkeys(table.types)]


def sentinels(column: Column) -> NDArray[np.bool_]:
    """Rows that hold one value, many times, far above all others."""
    distinct, counts = np.unique(column.values[np.isfinite(column.values)], return_counts=True)
    if len(distinct) < 3 or counts[-1] < 3 or distinct[-1] <= _GAP * distinct[-2] or counts[-1] <= counts[:-1].max():
        return np.zeros(len(column.values), dtype=bool)
    return np.asarray(column.values == distinct[-1])


def _times(median: float, values: Floats) -> str:
    low, high = median / values.max(), median / values.min()
    return f"{low:.0f} times" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f} times"
