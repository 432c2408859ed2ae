"""nn-Meter's kernel data: for each kernel type configurations and the latency measured for each, in ms.

Layout: microsoft/nn-Meter (Zhang et al., MobiSys 2021, section 5), `docs/builder/build_kernel_latency_predictor.md` and
`nn_meter/builder/kernel_predictor_builder/predictor_builder/extract_features.py`: a JSON object from the kernel type
(`conv-bn-relu`) to ids (`id_0`) to `config` (`HW`, `CIN`, `COUT`, `KERNEL_SIZE`, `STRIDES` ...) and `latency`, which
its class `Latency` writes as the text `MEAN +- STD`. Its profilers give milliseconds. Files from a run without
`DETAIL: TRUE` hold ids and latencies alone and mean nothing without the other file.

The same as CSV: a column `kernel` (or `kernel_type`), a column for each field of the configurations, `latency_ms` (or
`latency`), and `std` (or `latency_std`, `latency_std_ms`) and `count` where they are known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_profiles.errors import InvalidTable
from device_profiles.reading import parse_json
from predictors.tables._files import number, read_csv
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Column, Table

LICENCE = "nn-Meter: MIT"

_TYPE = ("kernel", "kernel_type")
_LATENCY = ("latency_ms", "latency")
_STD = ("std", "std_ms", "latency_std", "latency_std_ms")
_COUNT = ("count", "runs")

#: Braces and brackets in one another: the object, types, ids, a configuration, a list of shapes, a shape.
_DEPTH = 8

_NAN = float("nan")


@dataclass(frozen=True)
class _Kernel:
    kind: str
    config: dict[str, str | float]
    ms: float
    std: float = _NAN
    count: float = _NAN
    repeats: tuple[float, ...] = ()


class NnMeter:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A JSON object, or a CSV with a kernel and a latency."""
        if file.head.lstrip().startswith("{"):
            return True
        heads = {head.strip().lower() for head in file.first_line.split(",")}
        return bool(heads & set(_TYPE)) and bool(heads & set(_LATENCY))

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: it is not of this layout, or a value is no number.
        """
        kernels = _from_json(file) if file.head.lstrip().startswith("{") else _from_csv(file)
        device = options.device_of(file)
        names = sorted(
            {name for kernel in kernels for name, value in kernel.config.items() if not isinstance(value, str)}
        )
        width = max(len(kernel.repeats) for kernel in kernels)
        repeats = np.array([kernel.repeats + (_NAN,) * (width - len(kernel.repeats)) for kernel in kernels])
        std = np.array([kernel.std for kernel in kernels])
        count = np.array([kernel.count for kernel in kernels])
        column = Column(
            name=f"latency_ms.{device}",
            cost="latency",
            unit="ms",
            values=np.array([kernel.ms for kernel in kernels]),
            device=device,
            stated_unit="ms",
            std=None if np.isnan(std).all() else std,
            count=None if np.isnan(count).all() else count,
            repeats=repeats if width else None,
        )

        def field(kernel: _Kernel, name: str) -> float:
            value = kernel.config.get(name, _NAN)
            return _NAN if isinstance(value, str) else value

        return Table(
            kind="nnmeter",
            keys=tuple(_key(kernel) for kernel in kernels),
            columns=(column,),
            source=file.source(LICENCE),
            types=tuple(kernel.kind for kernel in kernels),
            fields={name.lower(): np.array([field(kernel, name) for kernel in kernels]) for name in names},
        )


IMPORTER = NnMeter()


def _key(kernel: _Kernel) -> str:
    parts = (f"{name}={value if isinstance(value, str) else f'{value:g}'}" for name, value in kernel.config.items())
    return ";".join((kernel.kind, *parts))


def _from_json(file: RawFile) -> list[_Kernel]:
    _check_depth(file)
    data = parse_json(file.text, str(file.path), kind=InvalidTable, hint="Fetch the file again.")
    kernels = []
    for kind, entries in data.items():
        if not isinstance(entries, Mapping):
            raise _no_layout(file, f"{kind!r} is no object of ids")
        for name, entry in entries.items():
            where = f"{file.path}, {kind}, {name}"
            if not isinstance(entry, Mapping) or "latency" not in entry:
                raise _no_layout(file, f"{kind}, {name} has no latency")
            config = entry.get("config", entry.get("configs"))
            if not isinstance(config, Mapping):
                raise _no_layout(file, f"{kind}, {name} has no config, so nobody can tell which kernel it is")
            ms, std, repeats = _latency(entry["latency"], where)
            kernels.append(_Kernel(kind, _config(config, where), ms, std, repeats=repeats))
    if not kernels:
        raise InvalidTable(f"{file.path} has no kernels", hint="Give a file with values in it.")
    return kernels


def _check_depth(file: RawFile) -> None:
    """Bound braces and brackets before anything recursive sees them; those in texts count too, which does no harm."""
    depth = 0
    for match in re.finditer(rb"[\[\]{}]", file.data):
        depth += 1 if match.group() in b"{[" else -1
        if depth > _DEPTH:
            raise _no_layout(file, f"it is nested deeper than {_DEPTH}")


def _latency(value: Any, where: str) -> tuple[float, float, tuple[float, ...]]:
    """Mean or median, standard deviation, and single measurements, in ms."""
    if isinstance(value, str):
        mean, sign, std = value.partition("+-")
        return number(mean, where), number(std, where) if sign else _NAN, ()
    if isinstance(value, Mapping):
        return number(value.get("avg", ""), where), number(value.get("std", ""), where), ()
    if isinstance(value, list) and value:
        repeats = tuple(number(part, where) for part in value)
        return float(np.median(repeats)), _NAN, repeats
    return number(value, where), _NAN, ()


def _config(config: Mapping[str, Any], where: str) -> dict[str, str | float]:
    found: dict[str, str | float] = {}
    for name, value in config.items():
        if value is None or isinstance(value, str):
            found[name] = value or ""
        elif isinstance(value, list):
            found[name] = "x".join(f"{number(part, where):g}" for part in value)
        else:
            found[name] = number(value, where)
    return found


def _from_csv(file: RawFile) -> list[_Kernel]:
    heads, rows = read_csv(file)
    lower = [head.lower() for head in heads]

    def place(names: tuple[str, ...]) -> int | None:
        return next((lower.index(name) for name in names if name in lower), None)

    kind, latency, std, count = (place(names) for names in (_TYPE, _LATENCY, _STD, _COUNT))
    if kind is None or latency is None:
        raise _no_layout(file, f"a column of {' or '.join(_TYPE)} and one of {' or '.join(_LATENCY)} are needed")
    unknown = [head for head in lower if head.startswith("latency") and head not in (*_LATENCY, *_STD)]
    if unknown:
        raise _no_layout(file, f"the unit of column {unknown[0]!r} is not known")
    others = [i for i in range(len(heads)) if i not in (kind, latency, std, count)]
    kernels = []
    for r, row in enumerate(rows):
        where = f"{file.path}, row {r + 1}"
        config: dict[str, str | float] = {
            heads[i]: number(row[i], f"{where}, {heads[i]}") for i in others if row[i].strip()
        }
        ms, spread, _ = _latency(row[latency], where)
        if std is not None:
            spread = number(row[std], where)
        runs = _NAN if count is None else number(row[count], where)
        kernels.append(_Kernel(row[kind].strip(), config, ms, spread, runs))
    return kernels


def _no_layout(file: RawFile, why: str) -> InvalidTable:
    return InvalidTable(
        f"{file.path} is not of nn-Meter's layout: {why}",
        hint="Give kernel types -> ids -> config and latency; profile with DETAIL: TRUE to have both in one file.",
    )
