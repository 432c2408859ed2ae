"""HW-NAS-Bench: a pickle of latencies and energies on edge devices, for NAS-Bench-201's cells and FBNet's blocks.

Layout: `HW-NAS-Bench-v1_0.pickle` of GATECH-EIC/HW-NAS-Bench (Li et al., "HW-NAS-Bench: Hardware-Aware Neural
Architecture Search Benchmark", ICLR 2021, section 3), as its `HWNASBenchAPI` reads it:

- `nasbench201`: for each data set `config`, 15,625 dicts with the cell in `arch_str`, and `DEVICE_latency`,
  `DEVICE_energy`, `eyeriss_arithmetic_intensity`: a number for each cell;
- `fbnet`: for each `DEVICE_latency` and `DEVICE_energy` a dict from the key of a block, such as
  `ConvBlock_H112_W112_Cin16_Cout16_exp1_kernel3_stride1_group1`, to its cost.

Its README states the units: latency in ms, energy in mJ. Files with one of the two parts at the top are read as well.
The energy is that of one inference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from device_profiles.errors import InvalidTable, UsageError
from predictors.tables import _cells
from predictors.tables._files import number
from predictors.tables._pickle_reader import read_pickle
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Column, Floats, Table

LICENCE = "HW-NAS-Bench: MIT"

#: Ending of a metric -> prefix of the column's name, cost, unit.
_METRICS = {
    "_latency": ("latency_ms", "latency", "ms"),
    "_energy": ("energy_mj", "energy", "mJ"),
    "_arithmetic_intensity": ("arithmetic_intensity", "arithmetic", ""),
}
_PARTS = ("nasbench201", "fbnet")

#: Of one part; HW-NAS-Bench has half a million.
LIMIT_VALUES = 50_000_000

_FIELD = re.compile(r"^([A-Za-z]+?)(\d+)$")
_NAMES = {"H": "hw", "Cin": "cin", "Cout": "cout", "exp": "expand"}


class HwNasBench:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A pickle."""
        data = file.data
        return data[:1] == b"\x80" or (data[-1:] == b"." and data[:2] in (b"(d", b"(l", b"}q"))

    def read(self, file: RawFile, options: Options) -> Table:
        """Read one part; `options.part` is `nasbench201` (the default where it is there) or `fbnet`.

        Raises:
            InvalidData: the pickle has more than data in it, or is damaged; nothing of it was run.
            InvalidTable: it is not of this layout, or lengths differ.
            UsageError: it has no such part.
        """
        found = read_pickle(file)
        if not isinstance(found, Mapping):
            raise _no_layout(file, f"it is a {type(found).__name__}")
        parts = {name: found[name] for name in _PARTS if isinstance(found.get(name), Mapping)}
        if not parts:
            # One part alone, at the top.
            inner = next(iter(found.values()), None)
            is_cells = isinstance(inner, Mapping) and "config" in inner
            parts = {"nasbench201" if is_cells else "fbnet": found}
        name = options.part or next(iter(parts))
        if name not in parts:
            raise UsageError(f"{file.path} has no part {name!r}", hint=f"It has: {', '.join(parts)}.")
        return _cells_table(parts[name], file) if name == "nasbench201" else _blocks_table(parts[name], file)


IMPORTER = HwNasBench()


def _cells_table(data: Mapping[str, Any], file: RawFile) -> Table:
    rows_of: dict[str, list[str]] = {}
    for dataset, metrics in data.items():
        if not isinstance(metrics, Mapping) or "config" not in metrics:
            raise _no_layout(file, f"{dataset!r} has no 'config'")
        configs = _sequence(metrics["config"], file, f"{dataset}.config")
        if len(configs) * len(metrics) * len(data) > LIMIT_VALUES:
            raise InvalidTable(f"{file.path} has more than {LIMIT_VALUES} values", hint="Cut the table down.")
        rows_of[dataset] = [_text_of(config, file) for config in configs]
    keys = list(dict.fromkeys(text for texts in rows_of.values() for text in texts))
    # A data set that has a cell twice keeps both rows, for lint to see.
    longest = max(rows_of.values(), key=len, default=[])
    order = longest if len(set(longest)) == len(keys) else keys
    if not order:
        raise _no_layout(file, "it has no architectures")
    columns: list[Column] = []
    for dataset, metrics in data.items():
        texts = rows_of[dataset]
        for metric, entry in metrics.items():
            if metric == "config":
                continue
            series = _sequence(entry, file, f"{dataset}.{metric}")
            if len(series) != len(texts):
                raise InvalidTable(
                    f"{file.path}: {dataset}.{metric} has {len(series)} values for {len(texts)} architectures",
                    hint="Fetch the file again.",
                )
            values, repeats = _numbers(series, f"{file.path}, {dataset}.{metric}")
            if texts != order:
                values, repeats = _aligned(values, repeats, texts, order)
            columns.append(_column(metric, dataset, values, repeats, file))
    archs = _cells.parse(order, file.path)
    return Table(
        kind="hwnasbench",
        keys=tuple(order),
        columns=tuple(columns),
        source=file.source(LICENCE),
        space=_cells.SPACE,
        choices=_cells.CHOICES,
        archs=archs,
        constant=_cells.constant(archs),
    )


def _aligned(
    values: Floats, repeats: Floats | None, texts: Sequence[str], order: Sequence[str]
) -> tuple[Floats, Floats | None]:
    """The values of one data set in the order of all; NaN where it has none."""
    place = {text: i for i, text in reversed(list(enumerate(texts)))}
    index = np.array([place.get(text, -1) for text in order], dtype=np.int64)
    known = index >= 0
    moved = np.where(known, values[index], np.nan)
    return moved, None if repeats is None else np.where(known[:, None], repeats[index], np.nan)


def _blocks_table(data: Mapping[str, Any], file: RawFile) -> Table:
    metrics = {name: values for name, values in data.items() if isinstance(values, Mapping)}
    if not metrics or len(metrics) != len(data):
        raise _no_layout(file, "it has neither 'config' nor tables of blocks")
    if len(metrics) * max(map(len, metrics.values())) > LIMIT_VALUES:
        raise InvalidTable(f"{file.path} has more than {LIMIT_VALUES} values", hint="Cut the table down.")
    keys = list(dict.fromkeys(str(key) for values in metrics.values() for key in values))
    columns = []
    for metric, values in metrics.items():
        made = np.array([number(_plain(values.get(key, "")), f"{file.path}, {metric}, {key[:60]}") for key in keys])
        columns.append(_column(metric, None, made, None, file))
    parsed = [_parse_block(key) for key in keys]
    fields = {name for _, numbers in parsed for name in numbers}
    return Table(
        kind="hwnasbench",
        keys=tuple(keys),
        columns=tuple(columns),
        source=file.source(LICENCE),
        types=tuple(kind for kind, _ in parsed),
        fields={name: np.array([numbers.get(name, np.nan) for _, numbers in parsed]) for name in sorted(fields)},
    )


def _parse_block(key: str) -> tuple[str, dict[str, float]]:
    kind, *parts = key.split("_")
    matches = [_FIELD.match(part) for part in parts]
    return kind, {_NAMES.get(m.group(1), m.group(1)): float(m.group(2)) for m in matches if m is not None}


def _column(metric: str, dataset: str | None, values: Floats, repeats: Floats | None, file: RawFile) -> Column:
    for ending, (prefix, cost, unit) in _METRICS.items():
        if metric.endswith(ending):
            device = metric.removesuffix(ending)
            label = device if dataset is None else f"{device}.{dataset}"
            return Column(
                name=f"{prefix}.{label}",
                cost=cost,
                unit=unit,
                values=values,
                device=device,
                workload=dataset,
                stated_unit=unit or None,
                repeats=repeats,
            )
    raise InvalidTable(
        f"{file.path}: the unit of {metric!r} is not known", hint=f"Metrics end with {', '.join(_METRICS)}."
    )


def _numbers(series: Sequence[Any], where: str) -> tuple[Floats, Floats | None]:
    """Values, and single measurements where each entry is a list of them: then the value is their median."""
    if series and all(
        isinstance(entry, list) or (isinstance(entry, np.ndarray) and entry.ndim == 1) for entry in series
    ):
        width = max(map(len, series))
        if width * len(series) > LIMIT_VALUES:
            raise InvalidTable(f"{where}: more than {LIMIT_VALUES} measurements", hint="Cut the table down.")
        rows = [[number(_plain(part), where) for part in entry] for entry in series]
        repeats = np.array([row + [np.nan] * (width - len(row)) for row in rows])
        return np.array([float(np.median(row)) for row in rows]), repeats
    return np.array([number(_plain(entry), where) for entry in series]), None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and np.size(value) == 1 else value


def _sequence(value: Any, file: RawFile, where: str) -> list[Any]:
    if isinstance(value, np.ndarray) and value.ndim in (1, 2):
        return list(value)
    if isinstance(value, list):
        return value
    raise _no_layout(file, f"{where} is a {type(value).__name__}, not a list")


def _text_of(config: Any, file: RawFile) -> str:
    text = config.get("arch_str") if isinstance(config, Mapping) else config
    if not isinstance(text, str):
        raise _no_layout(file, f"an entry of 'config' is a {type(config).__name__} without 'arch_str'")
    return str(text).strip()


def _no_layout(file: RawFile, why: str) -> InvalidTable:
    return InvalidTable(
        f"{file.path} is not of HW-NAS-Bench's layout: {why}",
        hint="It maps a data set to config and DEVICE_latency, or DEVICE_latency to a dict of blocks.",
    )
