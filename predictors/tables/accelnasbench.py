"""Accel-NASBench: MnasNet-like networks, their accuracies on ImageNet, and throughput and latency of accelerators.

Layout: the data set of afzalxo/Accel-NASBench (Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for
Accelerator-Aware NAS", arXiv 2404.08005, appendix B): `anb_dataset_jsons.tar.gz`, a `result_N.json` for each network.
Its README, `utils.py` (`ConfigLoader`) and `configuration_space_writer.py` tell what is in one:

- `architecture`: for blocks 0 to 6 `blockB_e`, `blockB_k`, `blockB_l`, `blockB_se`: expansion in 1, 4, 6; kernel in
  3, 5; layers in 1, 2, 3, and 4 in block 5; squeeze and excitation, false or true;
- `metrics`: `val_top1`, `val_top5`, in percent; `train_time`, which the published plots divide by 3600 for hours;
- `model_info`, in some: `macs`, `params`, in millions or not, which nothing says;
- `platform_perf`: for `throughput_DEVICE` and `latency_DEVICE` an object with `throughput_mean`, `latency_mean`, and
  the same with `_std`.

The README states images/s for throughput. None of these sources states a unit for latency, so whoever imports it has
to: with `options.part`, see `AccelNasBench.read`. Throughput was measured with other batches and threads than latency,
and is not turned into it.

Other files of the same content are read as well: JSON with one result, a list of them or an object from names to them;
CSV with a column for each gene, `val_top1` ..., `throughput_DEVICE`, `latency_DEVICE` and the same with `_std`, where
`latency_ms_DEVICE` states its unit. Their form is this toolkit's. No copy of the published data was at hand.

The genes are `e` of all blocks, then `k`, `l`, `se`, as in the README's `manual_sample`, with options in the order
above.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from device_profiles.errors import InvalidData, InvalidTable, UsageError
from device_profiles.reading import parse_json
from predictors.tables._columns import UNITS
from predictors.tables._files import number, read_csv
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import COSTS, Column, Floats, Table

LICENCE = "Accel-NASBench: Apache-2.0"

#: Of all JSON; published are about 5,200 results.
LIMIT_BYTES = 64 * 2**20

#: Of one result, and results in an archive.
LIMIT_RESULT_BYTES = 2**20
LIMIT_RESULTS = 100_000

#: Names of throughputs, latencies and their deviations; published are 8 with as many deviations.
LIMIT_COSTS = 100

_BLOCKS = 7
_OPTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "e": (("1", "4", "6"),) * _BLOCKS,
    "k": (("3", "5"),) * _BLOCKS,
    "l": tuple(("1", "2", "3", "4") if block == 5 else ("1", "2", "3") for block in range(_BLOCKS)),
    "se": (("false", "true"),) * _BLOCKS,
}

#: Options of each gene, by its name, in the order of the genes.
GENES = {f"block{b}_{name}": options[b] for name, options in _OPTIONS.items() for b in range(_BLOCKS)}

#: Options per gene.
CHOICES = tuple(map(len, GENES.values()))

#: Published name -> name, cost and unit of the column.
_FACTS = {
    "val_top1": ("accuracy.imagenet.val_top1", "accuracy", "%"),
    "val_top5": ("accuracy.imagenet.val_top5", "accuracy", "%"),
    "train_time": ("train_time_s", "train_time", "s"),
    "macs": ("macs", "macs", ""),
    "params": ("params", "params", ""),
}
_LATENCY_UNITS = UNITS["latency"][1]
_PARTS = ("throughput", *(f"latency_{unit}" for unit in _LATENCY_UNITS))
_UNIT = "|".join(_LATENCY_UNITS)
_COST = re.compile(rf"(throughput|latency(?:_(?:{_UNIT}))?)_(?!(?:{_UNIT})$)([A-Za-z0-9][\w.+-]*)")
_STD = "_std"

#: What a row holds: genes, facts and `METRIC_DEVICE`, each as it was found.
_Row = Mapping[str, Any]


class AccelNasBench:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A tar archive, JSON with `block0_e` at its beginning, or a CSV with that column."""
        if _is_archive(file):
            return True
        if file.head.lstrip()[:1] in ("{", "["):
            return '"block0_e"' in file.head
        return "block0_e" in [head.strip().strip('"') for head in file.first_line.split(",")]

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it; `arch` becomes the genes with commas, which a space of these 28 genes reads.

        Where latencies come without a unit, `options.part` has to say what to do: `throughput` leaves them out,
        `latency_ms` (or `_s`, `_us`, `_ns`) reads them in the unit that it names.

        Raises:
            InvalidData: the archive is damaged.
            InvalidTable: it is not of this layout, a gene is not in the space, a value is no number, accuracies are
                shares, or latencies have no unit and no part was named.
            UsageError: there is no such part.
        """
        if options.part is not None and options.part not in _PARTS:
            raise UsageError(f"{file.path} has no part {options.part!r}", hint=f"Parts are: {', '.join(_PARTS)}.")
        rows = list(_rows(file))
        if not rows:
            raise _no_layout(file, "it has no results")
        archs = np.array([[_gene(row, name, where) for name in GENES] for where, row in rows], dtype=np.int64)
        return Table(
            kind="accelnasbench",
            keys=tuple(",".join(map(str, arch)) for arch in archs.tolist()),
            columns=tuple(_columns(rows, file, options.part)),
            source=file.source(LICENCE),
            space="accelnasbench",
            choices=CHOICES,
            archs=archs,
            constant=np.zeros(len(archs), dtype=bool),
        )


IMPORTER = AccelNasBench()


def _is_archive(file: RawFile) -> bool:
    return file.data[257:262] == b"ustar"


def _rows(file: RawFile) -> Iterator[tuple[str, _Row]]:
    """Where each row stands, and the row."""
    if not _is_archive(file) and file.head.lstrip()[:1] not in ("{", "["):
        heads, cells = read_csv(file)
        yield from ((f"{file.path}, row {r + 1}", dict(zip(heads, row, strict=True))) for r, row in enumerate(cells))
        return
    if len(file.data) > LIMIT_BYTES:
        raise _no_layout(file, f"it has {len(file.data)} bytes, and {LIMIT_BYTES} are allowed")
    if _is_archive(file):
        for name, text in _members(file):
            yield f"{file.path}, {name[:200]}", _flat(_parsed(text, f"{file.path}, {name[:200]}"), file, name)
        return
    data = _parsed(file.data, str(file.path))
    if isinstance(data, Mapping) and "architecture" in data:
        data = [data]
    if len(data) > LIMIT_RESULTS:
        raise _no_layout(file, f"it has {len(data)} results, and {LIMIT_RESULTS} are allowed")
    for key, result in data.items() if isinstance(data, Mapping) else enumerate(data, start=1):
        yield f"{file.path}, {str(key)[:60]}", _flat(result, file, str(key))


def _members(file: RawFile) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of an archive's results, in its order; nothing is written to disk."""
    read: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(file.data), mode="r:") as archive:
            for count, member in enumerate(archive):
                if count >= LIMIT_RESULTS:
                    raise _no_layout(file, f"it has more than {LIMIT_RESULTS} files")
                name = member.name.rpartition("/")[2]
                source = archive.extractfile(member) if member.isreg() else None
                if source is None or name.startswith(".") or not name.endswith(".json"):
                    continue
                data = source.read(LIMIT_RESULT_BYTES + 1)
                if len(data) > LIMIT_RESULT_BYTES:
                    raise _no_layout(file, f"{name[:60]!r} has more than {LIMIT_RESULT_BYTES} bytes")
                if member.name in read:
                    raise _no_layout(file, f"{name[:60]!r} is there twice")
                read.add(member.name)
                yield member.name, data
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidData(f"cannot read {file.path} as a tar archive: {error}", hint="Fetch it again.") from error


def _parsed(data: bytes, where: str) -> Any:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidTable(f"cannot read {where} as JSON: {error}", hint="Fetch the file again.") from error
    return parse_json(text, where, kind=InvalidTable, hint="Fetch the file again.")


def _flat(result: Any, file: RawFile, name: str) -> _Row:
    """A result as one row; what is neither a gene, a fact nor a cost is left behind."""
    parts = ("architecture", "metrics", "model_info", "platform_perf")
    found = {part: result.get(part, {}) for part in parts} if isinstance(result, Mapping) else {}
    if not found or not all(isinstance(part, Mapping) for part in found.values()) or not found["architecture"]:
        raise _no_layout(file, f"{name[:60]} has no architecture, or one of {', '.join(parts)} is no object")
    row = {key: value for part in parts[:3] for key, value in found[part].items()}
    for key, measured in found["platform_perf"].items():
        metric = key.partition("_")[0]
        if not isinstance(measured, Mapping) or f"{metric}_mean" not in measured:
            raise _no_layout(file, f"{name[:60]}, {key[:60]!r} has no {metric[:60]}_mean")
        row[key] = measured[f"{metric}_mean"]
        if f"{metric}_std" in measured:
            row[key + _STD] = measured[f"{metric}_std"]
    return row


def _gene(row: _Row, name: str, where: str) -> int:
    value = row.get(name)
    text = f"{value:g}" if isinstance(value, float) else str(value).strip().lower()
    if name not in row or text not in GENES[name]:
        got = repr(value)[:60] if name in row else "nothing"
        raise InvalidTable(f"{where}: {name} is {got}", hint=f"It has to be one of {', '.join(GENES[name])}.")
    return GENES[name].index(text)


def _columns(rows: Sequence[tuple[str, _Row]], file: RawFile, part: str | None) -> Iterator[Column]:
    """Facts first, then costs in the order of the file."""
    names = dict.fromkeys(name for _, row in rows for name in row)
    costs = [name for name in names if any(cost in name.lower() for cost in (*COSTS, "throughput"))]
    odd = [name for name in costs if _COST.fullmatch(name) is None or name.removesuffix(_STD) not in names]
    if odd or len(costs) > LIMIT_COSTS:
        why = f"{odd[0][:60]!r} is no METRIC_DEVICE" if odd else f"it has {len(costs)} costs, {LIMIT_COSTS} are allowed"
        raise _no_layout(file, why)

    def values(name: str) -> Floats:
        return np.array([number(row.get(name, ""), f"{where}, {name[:60]}") for where, row in rows])

    for name, (column, cost, unit) in _FACTS.items():
        if name in names:
            found = values(name)
            if cost == "accuracy" and np.isfinite(found).any() and np.nanmax(found) <= 1:
                raise _no_layout(file, f"no {name} is above 1 % (the highest is {np.nanmax(found):g}): they are shares")
            yield Column(column, cost, unit, found)
    for name in costs:
        match = _COST.fullmatch(name)
        if match is None or name.endswith(_STD):
            continue
        std = values(name + _STD) if name + _STD in names else None
        metric, device = match.groups()
        if metric == "throughput":
            yield Column(f"throughput.{device}", metric, "images/s", values(name), device, std=std)
            continue
        stated = metric if metric != "latency" else part
        if stated is None:
            raise InvalidTable(
                f"{file.path}, {name!r}: the layout states no unit for latencies",
                hint="Do not guess: --part latency_ms (_s, _us, _ns) states it, --part throughput leaves them out.",
            )
        if stated == "throughput":
            continue
        unit = stated.removeprefix("latency_")
        factor = _LATENCY_UNITS[unit]
        yield Column(
            name=f"latency_ms.{device}",
            cost="latency",
            unit="ms",
            values=values(name) * factor,
            device=device,
            stated_unit=unit,
            std=None if std is None else std * factor,
        )


def _no_layout(file: RawFile, why: str) -> InvalidTable:
    return InvalidTable(
        f"{file.path} is not of Accel-NASBench's layout: {why}",
        hint="Give results with architecture, metrics and platform_perf, or a CSV with block0_e ... and METRIC_DEVICE.",
    )
