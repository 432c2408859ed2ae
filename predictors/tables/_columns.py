"""Heads of columns: `latency_ms.DEVICE.WORKLOAD`, with the unit in the name; and values brought to our units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from device_profiles.errors import InvalidTable
from predictors.tables._files import number
from predictors.tables.table import COSTS, Column, Floats

#: For each cost our unit, and the factor that takes each unit a name may end with to it.
UNITS: dict[str, tuple[str, dict[str, float]]] = {
    "latency": ("ms", {"ms": 1.0, "s": 1e3, "us": 1e-3, "ns": 1e-6}),
    "energy": ("mJ", {"mj": 1.0, "j": 1e3, "uj": 1e-3, "wh": 3.6e6, "kwh": 3.6e9}),
    "memory": (
        "bytes",
        {"bytes": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30},
    ),
}

#: As people write them.
SPELLING = {"mj": "mJ", "j": "J", "uj": "uJ", "wh": "Wh", "kwh": "kWh"}

_PERCENT = ("accuracy", "error")


def read_columns(heads: Sequence[str], rows: Sequence[Sequence[str]], path: Path) -> tuple[Column, ...]:
    """The columns of a CSV whose heads say what they are.

    `COST_UNIT.LABEL` holds values; after it `.std` standard deviations in the same unit, `.count` numbers of
    measurements, `.repeat1`, `.repeat2` ... single measurements.

    Raises:
        InvalidTable: a cell is no number, or a latency, energy or memory has no unit that we know.
    """
    found: dict[str, Column] = {}
    extras: dict[str, dict[str, Floats]] = {}
    for i, head in enumerate(heads):
        values = np.array([number(row[i], f"{path}, row {r + 1}, column {head!r}") for r, row in enumerate(rows)])
        base, _, last = head.rpartition(".")
        if base and (last in ("std", "count") or (last.startswith("repeat") and last[6:].isdigit())):
            extras.setdefault(base, {})[last] = values
        else:
            found[head] = column(head, values, path)
    for base, parts in extras.items():
        if base not in found:
            raise InvalidTable(
                f"{path} has column {base}.{next(iter(parts))!s} and no column {base}", hint="Give the values too."
            )
        found[base] = _with_extras(found[base], base, parts, path)
    return tuple(found.values())


def column(head: str, values: Floats, path: Path) -> Column:
    """A column by its head; the values are brought to our unit.

    Raises:
        InvalidTable: it is a latency, energy or memory without a unit that we know.
    """
    name, _, label = head.partition(".")
    words = name.lower().split("_")
    cost = next((word for word in words if word in COSTS), None)
    if cost is None:
        unit = "%" if words[0] in _PERCENT else ""
        return Column(head, words[0], unit, values, workload=label or None)
    unit, factors = UNITS[cost]
    stated = words[-1]
    if stated not in factors:
        allowed = ", ".join(factors)
        raise InvalidTable(
            f"{path}, column {head!r}: a {cost} has to say its unit",
            hint=f"Name it {cost}_{unit.lower()}.DEVICE; units are {allowed}. Do not guess: see where it is from.",
        )
    device, _, workload = label.partition(".")
    prefix = "_".join([*words[:-1], unit.lower()])
    return Column(
        name=prefix + (f".{label}" if label else ""),
        cost=cost,
        unit=unit,
        values=values * factors[stated],
        device=device or None,
        workload=workload or None,
        stated_unit=SPELLING.get(stated, stated),
    )


def _with_extras(base: Column, head: str, parts: dict[str, Floats], path: Path) -> Column:
    factor = 1.0
    if base.stated_unit is not None:
        factor = UNITS[base.cost][1][base.stated_unit.lower()]
    numbers = sorted(int(part.removeprefix("repeat")) for part in parts if part.startswith("repeat"))
    if numbers != list(range(1, len(numbers) + 1)):
        raise InvalidTable(f"{path}: repeats of {head} are {numbers}", hint="Number them from 1 without a gap.")
    repeats = None
    if numbers:
        repeats = np.stack([parts[f"repeat{i}"] for i in numbers], axis=1) * factor
    std = parts["std"] * factor if "std" in parts else None
    return replace(base, std=std, count=parts.get("count"), repeats=repeats)
