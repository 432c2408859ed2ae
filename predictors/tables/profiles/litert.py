"""LiteRT's (TensorFlow Lite's) operator profile: `benchmark_model --enable_op_profiling=true`, as CSV or as its log.

Layout: `tensorflow/lite/profiling/profile_summary_formatter.cc` and `tensorflow/core/util/stats_calculator.cc`: under
`Operator-wise Profiling Info for Regular Benchmark Runs:` a table `Run Order` with `node type`, `start` (older
versions), `first`, `avg_ms`, `%`, `cdf%`, `mem KB`, `times called`, `name`. `--op_profiling_output_file=FILE`, with
`--profiling_output_csv_file=FILE` in older versions, writes it as CSV; a log has the same with tabs.

Events are counted in whole us. A row is an operator, or all kernels of a delegate that share a name: its latency is the
mean of one call times the calls in one run, and `field.calls` says how many. What came before the regular runs is not
read. A log says how many threads there were and which delegate was asked for; the CSV does not: `--part
threads=4,accelerator=gpu` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from device_profiles.errors import InvalidTable
from predictors.tables._files import number
from predictors.tables.profiles._rows import NAN, Row, label, said, table
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Table

_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_ORDER = "= Run Order ="
_HEADS = (
    ("node type", "first", "avg_ms", "%", "cdf%", "mem kb", "times called", "name"),
    ("node type", "start", "first", "avg_ms", "%", "cdf%", "mem kb", "times called", "name"),
)
_HINT = (
    "Run benchmark_model --graph=MODEL --enable_op_profiling=true --op_profiling_output_mode=csv "
    "--op_profiling_output_file=FILE, and give FILE, whole."
)

#: What a log says of threads, and of delegates that were asked for.
_THREADS = re.compile(r"(?:Num threads|#threads used for CPU inference) ?: \[([1-9]\d{0,4})\]")
_ASKED = re.compile(r"Use (gpu|nnapi|hexagon|coreml) ?: \[?(?:1|true)\b", re.IGNORECASE)

#: Between the cells of a log; where it was copied, tabs have become blanks.
_BETWEEN = re.compile(r"\s*\t\s*|\s{2,}")
_WHOLE = re.compile(r"Inference \(avg\): (\d{1,12}(?:\.\d{1,9})?)")
_COUNT = re.compile(r"^Timings \(microseconds\): count=(\d+)")

#: Units of delegates, by how the type of their node begins; NNAPI chooses one by itself.
_DELEGATES = (
    ("TfLiteXNNPackDelegate", "CPU"),
    ("TfLiteGpuDelegate", "GPU"),
    ("TfLiteMetalDelegate", "GPU"),
    ("TfLiteHexagonDelegate", "NPU"),
    ("TfLiteQnnDelegate", "NPU"),
    ("EdgeTpuDelegate", "NPU"),
    ("edgetpu-custom-op", "NPU"),
    ("DarwinnDelegate", "NPU"),
    ("TfLiteNnapiDelegate", ""),
    ("TfLiteCoreMlDelegate", ""),
    ("DISPATCH_OP", "NPU"),
)


class LiteRt:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """Text with the line that stands before the profile of the regular runs, or before that of initialisation."""
        return b"Profiling Info for " in file.data and (
            _REGULAR.encode() in file.data or b"Profiling Info for Benchmark Initialization:" in file.data
        )

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: it has no profile of regular runs, another set of columns, or is cut short.
            UsageError: `options.part` says something else than threads and accelerator.
        """
        told = said(file, options)
        lines = file.text.splitlines()
        asked = _ASKED.search(file.text)
        threads = _THREADS.search(file.text)
        whole = _WHOLE.search(file.text)
        rows, runs = _profile(lines, file)
        # A delegate's kernels and the delegate itself are the same time twice.
        if any(row.name.startswith("Delegate/") for row in rows):
            rows = [row for row in rows if row.labels["provider"] == ""] or rows
        stated = {
            "runtime": "litert",
            "clock_ms": "0.001",
            "accelerator": asked.group(1).lower() if asked else "",
            "threads": threads.group(1) if threads else "",
            "runs": runs,
            "run_ms": f"{float(whole.group(1)) / 1e3:g}" if whole else "",
            **told,
        }
        return table("litert", rows, file, options, stated=stated)


IMPORTER = LiteRt()


def _profile(lines: Sequence[str], file: RawFile) -> tuple[list[Row], str]:
    """Rows of the table `Run Order` of the regular runs, and how many runs there were."""
    at = next((i for i, line in enumerate(lines) if line.strip().endswith(_REGULAR)), None)
    if at is None:
        raise InvalidTable(f"{file.path} has no profile of regular runs", hint=_HINT)
    order = next((i for i in range(at, len(lines)) if _ORDER in lines[i]), None)
    if order is None or order + 1 == len(lines):
        raise InvalidTable(f"{file.path} has no table in run order: it is cut short", hint=_HINT)
    is_csv = "[" not in lines[order + 1]
    heads = _heads(lines[order + 1], is_csv=is_csv)
    if heads not in _HEADS:
        raise InvalidTable(
            f"{file.path}, line {order + 2}: columns {', '.join(heads)[:120]!r} are not known", hint=_HINT
        )
    end = next((i for i in range(order + 2, len(lines)) if not lines[i].strip()), None)
    timings = [match.group(1) for line in lines[order:] if (match := _COUNT.match(line.strip()))]
    if end is None or not timings:
        raise InvalidTable(f"{file.path} ends before the summary of its timings: it is cut short", hint=_HINT)
    count = float(timings[0])
    rows = [_row(lines[i], heads, count, f"{file.path}, line {i + 1}", is_csv=is_csv) for i in range(order + 2, end)]
    return rows, timings[0]


def _heads(line: str, *, is_csv: bool) -> tuple[str, ...]:
    cells = line.split(",") if is_csv else _BETWEEN.split(line.strip())
    names = (cell.strip().strip("[]").lower().replace("avg ms", "avg_ms") for cell in cells)
    return tuple(name for name in names if name)


def _row(line: str, heads: Sequence[str], runs: float, where: str, *, is_csv: bool) -> Row:
    """An operator; a type may hold commas, a name has none (they were replaced by tabs)."""
    cells = line.rsplit(",", len(heads) - 1) if is_csv else _BETWEEN.split(line.strip(), len(heads) - 1)
    if len(cells) != len(heads):
        raise InvalidTable(f"{where}: {len(cells)} cells, and the head has {len(heads)}", hint=_HINT)
    found = dict(zip(heads, (label(cell) for cell in cells), strict=True))
    ms = number(found["avg_ms"], f"{where}, avg_ms")
    calls = number(found["times called"], f"{where}, times called")
    if not (np.isfinite(calls) and calls >= 0):
        raise InvalidTable(f"{where}: called {calls:g} times", hint=_HINT)
    kind = found["node type"] or "operator"
    delegate = next(((text, unit) for text, unit in _DELEGATES if kind.startswith(text)), None)
    inside = found["name"].startswith("Delegate/")
    unit = "" if inside else "CPU" if delegate is None else delegate[1]
    if delegate is None and "delegate" in kind.lower():
        unit = ""
    return Row(
        name=found["name"] or kind,
        # A node that is called less than once a run is printed as called 0 times.
        ms=ms * max(calls, 1.0),
        kind=kind,
        count=runs if np.isfinite(runs) else NAN,
        labels={"unit": unit, "provider": kind if "delegate" in kind.lower() else ""},
        numbers={"calls": calls},
    )
