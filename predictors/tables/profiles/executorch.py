"""ExecuTorch's ETDump, as its Inspector writes it: TSV or CSV, an event a row, in the unit that the heads name.

Layout: `Inspector.save_data_to_tsv(FILE)`, or `Inspector.to_dataframe(include_units=True).to_csv(FILE)`, of
`devtools/inspector/_inspector.py` of pytorch/executorch: `event_block_name`, `event_name`, `p10 (ms)`, `p50 (ms)`, `p90
(ms)`, `avg (ms)`, `min (ms)`, `max (ms)`, `op_types`, `is_delegated_op`, `delegate_backend_name`. The `.etdp` file
itself is a flatbuffer that only the Inspector reads, and is refused with the command that does:

    python -c "from executorch.devtools import Inspector; Inspector(etdump_path='x.etdp').save_data_to_tsv('x.tsv')"

A row is an operator or a delegate's call, and its latency the median over runs: together they are a run. What holds
others (`Method::execute`) or is not of a run (`Method::init`) is left out, and so is what a delegate says of its own
inside, which its call holds already; `--part rows=delegated` takes that instead, whose clock may be the delegate's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from device_profiles.errors import InvalidTable, UsageError
from predictors.tables._columns import UNITS as OF_COSTS
from predictors.tables._files import number, read_csv
from predictors.tables.profiles._rows import NAN, Row, label, said, table
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Table

#: Units of backends; Core ML chooses one by itself.
UNITS = {
    **dict.fromkeys(("XnnpackBackend", "CortexMBackend"), "CPU"),
    **dict.fromkeys(("VulkanBackend", "MPSBackend", "CudaBackend"), "GPU"),
    **dict.fromkeys(("QnnBackend", "EthosUBackend", "NeuropilotBackend", "EnnBackend", "HexagonBackend"), "NPU"),
}

_FACTORS = OF_COSTS["latency"][1]
_MEDIAN = re.compile(r"p50 \((\w+)\)")
_COMMAND = (
    'python -c "from executorch.devtools import Inspector; '
    "Inspector(etdump_path='{0}.etdp').save_data_to_tsv('{0}.tsv')\""
)
#: How a flatbuffer of this kind names itself.
_MAGIC = b"ED00"
_CALL = "DELEGATE_CALL"
_RUN = "Method::execute"


class ExecuTorch:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A CSV or TSV with the heads of an Inspector, or an ETDump itself."""
        return _is_dump(file) or ("event_name" in file.first_line and "is_delegated_op" in file.first_line)

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: it is an ETDump itself, has no such columns, states no unit, or has no times.
            UsageError: `options.part` says something else than threads, accelerator and `rows=delegated`.
        """
        told = said(file, options, ("rows",))
        inside = told.pop("rows", None)
        if inside not in (None, "delegated"):
            raise UsageError(f"{file.path} has no rows {inside!r}", hint="--part rows=delegated, or none.")
        hint = f"Write it with {_COMMAND.format('x')}"
        if _is_dump(file):
            raise InvalidTable(
                f"{file.path} is an ETDump, which only ExecuTorch's Inspector reads",
                hint=f"Where executorch is installed: {_COMMAND.format(label(file.path.name).removesuffix('.etdp'))}",
            )
        heads, cells = read_csv(file, "\t" if "\t" in file.first_line else ",")
        if "event_name" not in heads or "is_delegated_op" not in heads:
            raise InvalidTable(f"{file.path} has no event_name or no is_delegated_op: no Inspector wrote it", hint=hint)
        medians = [(head, match.group(1)) for head in heads if (match := _MEDIAN.fullmatch(head))]
        if len(medians) != 1 or medians[0][1] not in _FACTORS:
            raise InvalidTable(
                f"{file.path} has no median with a unit that is known: a column 'p50 (ms)'",
                hint=f"to_dataframe needs include_units=True; a unit is not guessed. {hint}",
            )
        ((median, unit),) = medians
        rows, whole = [], ""
        for place, row in enumerate(cells):
            where = f"{file.path}, row {place + 1}"
            event = dict(zip(heads, row, strict=True))
            if event["event_name"] == _RUN:
                whole = f"{number(event[median], where) * _FACTORS[unit]:g}"
            made = _row(event, median, _FACTORS[unit], where, inside=inside is not None)
            rows += [] if made is None else [made]
        stated = {
            "runtime": "executorch",
            "warm_up": "included",
            "clock_of": "delegate" if inside else "",
            "run_ms": "" if inside else whole,
            **told,
        }
        return table("executorch", rows, file, options, stated=stated, stated_unit=unit)


IMPORTER = ExecuTorch()


def _is_dump(file: RawFile) -> bool:
    return file.data[4:8] == _MAGIC or (b"\0" in file.data[:64] and file.path.name.endswith((".etdp", ".etdump")))


def _row(row: Mapping[str, str], median: str, factor: float, where: str, *, inside: bool) -> Row | None:
    """An event that is a part of a run, or with `inside` a part of a delegate's call; None for others."""
    name = label(row["event_name"])
    is_delegated = {"True": True, "False": False}.get(row["is_delegated_op"].strip())
    if is_delegated is None and row["is_delegated_op"].strip():
        raise InvalidTable(f"{where}: is_delegated_op is {row['is_delegated_op'][:40]!r}", hint="Repair the file.")
    if not name or "::" in name or name == "OPERATOR_CALL" or bool(is_delegated) != inside:
        return None
    value = number(row[median], f"{where}, {median}")
    if np.isnan(value):
        return None  # an event of debugging, without a time
    backend = label(row.get("delegate_backend_name", ""))
    is_native = not inside and name != _CALL
    starts = row.get("start_time", "").count(",") + 1 if row.get("start_time", "").startswith("[") else NAN
    return Row(
        name=name.removeprefix("native_call_"),
        ms=value * factor,
        kind=re.sub(r" #\d+$", "", name).removeprefix("native_call_"),
        count=float(starts),
        labels={
            "unit": "CPU" if is_native else UNITS.get(backend, ""),
            "provider": "portable" if is_native else backend,
        },
    )
