"""A table of costs that somebody published: rows of architectures or of kernels, columns with units and devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable, UsageError

Floats = NDArray[np.float64]
Archs = NDArray[np.int64]
Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

#: Costs that lint judges as quantities above 0; other columns (accuracies) are only checked for holes.
COSTS = ("latency", "energy", "memory")

#: A column of which more than this share of rows is in error is left out instead of its rows.
_HOPELESS = 0.5


@dataclass(frozen=True)
class Finding:
    """Something that lint has to say.

    Attributes:
        severity: `error`: these values are wrong. `warning`: they may mislead. `note`: good to know.
        rule: its name, as in docs/reference/tables.md.
        column: the column, `COLUMN.std` for its standard deviations, or None for the table.
        text: what was found.
        advice: what to do about it.
        rows: of the table, ascending; empty if it is about the whole column.
        count: number of rows.
        sample: keys of some of them.
    """

    severity: Severity
    rule: str
    column: str | None
    text: str
    advice: str
    rows: tuple[int, ...] = ()
    count: int = 0
    sample: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """As data for JSON; all but the rows."""
        names = ("severity", "rule", "column", "count", "sample", "text", "advice")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "sample": list(self.sample)}


@dataclass(frozen=True)
class Column:
    """One quantity of all rows.

    Attributes:
        name: unique; `latency_ms.DEVICE`, `energy_mj.DEVICE.WORKLOAD`, `accuracy.SPLIT`.
        cost: `latency`, `energy`, `memory`, `accuracy` or what else it is.
        unit: of the values: `ms`, `mJ`, `bytes`, `%`, or empty if there is none.
        values: `(n,)`; NaN where there is none.
        device: what it was measured on, or None.
        workload: data set, part of the network or batch, or None.
        stated_unit: unit that the file has; the values were converted from it.
        std: `(n,)`, standard deviation of one measurement, in the unit; or None.
        count: `(n,)`, number of measurements behind each value; or None.
        repeats: `(n, r)`, the single measurements in order, in the unit; or None.
    """

    name: str
    cost: str
    unit: str
    values: Floats
    device: str | None = None
    workload: str | None = None
    stated_unit: str | None = None
    std: Floats | None = None
    count: Floats | None = None
    repeats: Floats | None = None

    @property
    def label(self) -> str:
        """Device and workload: what the column is called among others of its cost."""
        return ".".join(part for part in (self.device, self.workload) if part) or self.name

    @property
    def is_cost(self) -> bool:
        """Whether it is a quantity that has to be above 0."""
        return self.cost in COSTS

    def take(self, rows: NDArray[np.int64]) -> Column:
        """Some rows, `(k,)`."""
        return replace(
            self,
            values=self.values[rows],
            std=None if self.std is None else self.std[rows],
            count=None if self.count is None else self.count[rows],
            repeats=None if self.repeats is None else self.repeats[rows],
        )


@dataclass(frozen=True)
class Source:
    """Where a table comes from.

    Attributes:
        file: name of the file.
        sha256: of the file.
        size_bytes: of the file.
        licence: what is known of it, or None.
    """

    file: str
    sha256: str
    size_bytes: int
    licence: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """What was left out because lint found it wrong.

    Attributes:
        rows: number of rows.
        columns: names of columns, or of a column's `.std`.
    """

    rows: int = 0
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Costs by architecture or by kernel.

    Attributes:
        kind: the layout it was read from.
        keys: `(n,)` texts: the architecture in its space's form, or the key of a block or kernel.
        columns: what is known of each.
        source: the file.
        space: whose architectures the keys are, or None.
        choices: options per gene of that space, or None.
        archs: `(n, d)` genes, or None.
        constant: `(n,)`, networks whose output does not depend on the input; None if the space is not known.
        exact: whether a key stands for one network or kernel; False for averaged features, which several share.
        types: `(n,)`, kind of block or kernel, or None.
        fields: of each key, `(n,)` numbers; NaN where a key has none.
        models: rows are whole models of no one space, and may differ in size by any factor.
        labels: texts of each row, `(n,)`, empty where there is none; `unit` is what a row ran on: `CPU`, `GPU`, `NPU`.
        stated: what holds for all rows: `runtime`, `threads`, `accelerator` that was asked for; see docs/reference.
        left_out: of the file, by lint.
        findings: what lint said of the file.
    """

    kind: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    source: Source
    space: str | None = None
    choices: tuple[int, ...] | None = None
    archs: Archs | None = None
    constant: NDArray[np.bool_] | None = None
    exact: bool = True
    types: tuple[str, ...] | None = None
    fields: Mapping[str, Floats] = field(default_factory=dict)
    models: bool = False
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stated: Mapping[str, str] = field(default_factory=dict)
    left_out: LeftOut = LeftOut()
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.keys)
        if rows == 0 or not self.columns:
            raise InvalidTable(
                f"a table needs rows and columns, got {rows} rows and {len(self.columns)} columns",
                hint="Give a file with values in it.",
            )
        names = [column.name for column in self.columns]
        for text in (*self.keys, *names, *(self.types or ())):
            if not text or not text.isprintable():
                raise InvalidTable(
                    f"{text[:60]!r} is no name of a row or column: it is empty or has control characters",
                    hint="Repair the file.",
                )
        for name, texts in self.labels.items():
            odd = next((text for text in texts if text and not text.isprintable()), None)
            if odd is not None or len(texts) != rows:
                why = f"has {len(texts)} texts, the table {rows} rows" if odd is None else f"holds {odd[:60]!r}"
                raise InvalidTable(f"label {name!r} {why}", hint="Repair the file.")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidTable(f"column {twice!r} is there twice", hint="Give each column a name of its own.")
        for column in self.columns:
            if column.values.shape != (rows,):
                raise InvalidTable(f"column {column.name!r} has {len(column.values)} values, the table {rows} rows")

    def __len__(self) -> int:
        return len(self.keys)

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            UsageError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns[:12])
        raise UsageError(f"the table has no column {name!r}", hint=f"It has: {known}.")

    def as_sources(self, cost: str = "latency") -> dict[str, tuple[Archs, Floats]]:
        """What `predictors.transfer.TransferPredictor.fit_sources` takes: each device's architectures and values.

        Of each column, rows without a value are left out.

        Args:
            cost: `latency` or `energy` or `memory`.

        Returns:
            By device (and workload), `(k, d)` genes and `(k,)` values in the column's unit.

        Raises:
            UsageError: the rows are no architectures of a known space, or no column has this cost.
        """
        if self.archs is None:
            raise UsageError(
                f"the rows of this {self.kind} table are not architectures of a known space",
                hint="Sources need one; nasbench201 and hwnasbench tables have it.",
            )
        found: dict[str, tuple[Archs, Floats]] = {}
        for column in self.columns:
            if column.cost == cost:
                known = np.isfinite(column.values)
                found[column.label] = (self.archs[known], column.values[known])
        if not found:
            costs = sorted({column.cost for column in self.columns})
            raise UsageError(f"the table has no column of {cost}", hint=f"It has: {', '.join(costs)}.")
        return found

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Table:
        """Some rows, `(k,)`, in the order given."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            keys=tuple(self.keys[i] for i in index),
            columns=tuple(column.take(index) for column in self.columns),
            archs=None if self.archs is None else self.archs[index],
            constant=None if self.constant is None else self.constant[index],
            types=None if self.types is None else tuple(self.types[i] for i in index),
            fields={name: values[index] for name, values in self.fields.items()},
            labels={name: tuple(texts[i] for i in index) for name, texts in self.labels.items()},
        )

    def without_errors(self, findings: Sequence[Finding]) -> Table:
        """The table without what lint found wrong, and with the findings.

        Rows in error are left out of the whole table, so that each column of it can be searched on. A column is left
        out where an error is about all of it, or about more than half of its rows.

        Raises:
            InvalidTable: nothing would be left.
        """
        columns, rows = _condemned(self, findings)
        kept = tuple(
            replace(column, std=None) if f"{column.name}.std" in columns else column
            for column in self.columns
            if column.name not in columns
        )
        index = np.array([row for row in range(len(self)) if row not in rows], dtype=np.int64)
        if not kept or not len(index):
            raise InvalidTable(
                f"nothing is left of {self.source.file}: {len(rows)} of {len(self)} rows and {len(columns)} of "
                f"{len(self.columns)} columns are in error",
                hint="See `hwnas lint FILE`; --keep imports them all the same.",
            )
        # A column that was in error may have been the only reason to know of a row.
        clean = replace(self, columns=kept).take(index)
        return replace(clean, left_out=LeftOut(len(rows), tuple(sorted(columns))), findings=tuple(findings))

    def save(self, folder: str | Path) -> None:
        """Write the folder, whole or not at all; see `predictors.tables._written.save`."""
        from predictors.tables._written import save

        save(self, Path(folder))


def _condemned(table: Table, findings: Sequence[Finding]) -> tuple[set[str], set[int]]:
    """Names of columns and numbers of rows to leave out."""
    errors = [finding for finding in findings if finding.severity == "error"]
    by_column: dict[str, set[int]] = {}
    columns: set[str] = set()
    for finding in errors:
        if finding.column is not None:
            by_column.setdefault(finding.column, set()).update(finding.rows)
            if not finding.rows:
                columns.add(finding.column)
    columns |= {name for name, rows in by_column.items() if len(rows) > _HOPELESS * len(table)}
    rows: set[int] = set()
    for finding in errors:
        if finding.column not in columns:
            rows.update(finding.rows)
    return columns, rows
