"""From timed rows to a table; and what a user says of a file that does not say it: `--part threads=4,warmup=2`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from device_profiles.errors import InvalidTable, UsageError
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Column, Floats, Table

NAN = float("nan")

#: What may be said of any profile; a layout adds its own.
SAID = ("threads", "accelerator")

#: Rows of a profile; a large network has some thousand layers.
LIMIT_ROWS = 1_000_000

_MOST_THREADS = 65_536


@dataclass(frozen=True)
class Row:
    """A layer, kernel or model, and what it took.

    Attributes:
        name: of it; need not be unique among layers.
        ms: latency in ms.
        kind: type of the layer; empty for a whole model.
        std: sample standard deviation in ms, or NaN.
        count: measurements behind `ms`, or NaN.
        labels: texts, see `Table.labels`.
        numbers: see `Table.fields`.
    """

    name: str
    ms: float
    kind: str = ""
    std: float = NAN
    count: float = NAN
    labels: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


def said(file: RawFile, options: Options, more: Sequence[str] = ()) -> dict[str, str]:
    """What `options.part` says, by its name.

    Args:
        file: for messages.
        options: `part` is `NAME=VALUE,NAME=VALUE`, or None.
        more: names that a layout knows beside `SAID`.

    Raises:
        UsageError: it has another form, a name that is not known, or a number of threads that is none.
    """
    allowed = (*SAID, *more)
    found: dict[str, str] = {}
    for part in (options.part or "").split(","):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if not options.part:
            break
        if not sign or name not in allowed or not value or not value.isprintable() or name in found:
            raise UsageError(
                f"{part[:60]!r} says nothing of {file.path}",
                hint=f"--part takes NAME=VALUE with commas between; names are {', '.join(allowed)}.",
            )
        found[name] = value
    if "threads" in found:
        found["threads"] = str(whole(found["threads"], "threads", _MOST_THREADS))
    return found


def whole(text: str, name: str, most: int) -> int:
    """A whole number from 1 that a user gave.

    Raises:
        UsageError: it is none, or above `most`.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise UsageError(f"{name} is {text[:60]!r}", hint=f"Give a whole number from 1 to {most}.")
    return int(text)


def label(text: object) -> str:
    """A name as a row's key can hold it: what is not printable, such as TensorRT's separators, becomes `|`."""
    return re.sub(r"\s+", " ", "".join(sign if sign.isprintable() else "|" for sign in str(text))).strip()


def table(
    kind: str,
    rows: Sequence[Row],
    file: RawFile,
    options: Options,
    *,
    stated: Mapping[str, str],
    stated_unit: str = "ms",
    licence: str | None = None,
    models: bool = False,
    more: Sequence[Column] = (),
) -> Table:
    """A table of them, with one column of latency in ms.

    Layers with one name are told apart by `#2`, `#3` in their order; models are not, so that lint sees them.

    Args:
        kind: the layout.
        rows: `(n,)` of them, as they are in the file.
        file: where they are from.
        options: of the import; the device is the column's.
        stated: what holds for all rows.
        stated_unit: the file's unit of time.
        licence: of the data.
        models: whether rows are whole models.
        more: columns beside the latency, `(n,)` values each.

    Raises:
        InvalidTable: no rows, too many, or a time that is negative or no finite number.
        UsageError: the device's name cannot be one.
    """
    if not rows:
        raise InvalidTable(
            f"{file.path} has no times in it", hint="Profile again with times switched on; docs/reference/tables.md."
        )
    if len(rows) > LIMIT_ROWS:
        raise InvalidTable(f"{file.path} has {len(rows)} rows; {LIMIT_ROWS} are allowed", hint="Split it.")
    for row in rows:
        if not np.isfinite(row.ms) or row.ms < 0:
            raise InvalidTable(
                f"{file.path}, {row.name[:80]!r}: {row.ms:g} ms is no time",
                hint="No time is below 0 or infinite: the file is damaged, or its clock ran over. Profile again.",
            )
    device = options.device_of(file)
    column = Column(
        name=f"latency_ms.{device}",
        cost="latency",
        unit="ms",
        values=_numbers([row.ms for row in rows]),
        device=device,
        stated_unit=stated_unit,
        std=_known([row.std for row in rows]),
        count=_known([row.count for row in rows]),
    )
    labels = dict.fromkeys(name for row in rows for name in row.labels)
    fields = sorted({name for row in rows for name in row.numbers})
    return Table(
        kind=kind,
        keys=tuple(row.name for row in rows) if models else _unique([row.name for row in rows]),
        columns=(column, *(_of(one, device) for one in more)),
        source=file.source(licence),
        types=None if models else tuple(row.kind or "layer" for row in rows),
        fields={name: _numbers([row.numbers.get(name, NAN) for row in rows]) for name in fields},
        models=models,
        labels={name: tuple(label(row.labels.get(name, "")) for row in rows) for name in labels},
        stated={name: label(text) for name, text in stated.items() if text},
    )


def _of(column: Column, device: str) -> Column:
    return replace(column, name=".".join(filter(None, (column.name, device, column.workload))), device=device)


def _numbers(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)


def _known(values: Sequence[float]) -> Floats | None:
    found = _numbers(values)
    return None if np.isnan(found).all() else found


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    taken = set(names)
    found = []
    for name in names:
        seen[name] += 1
        text = name
        while seen[name] > 1 and (text == name or text in taken):
            text = f"{name} #{seen[name]}"
            seen[name] += text in taken
        taken.add(text)
        found.append(text)
    return tuple(found)
