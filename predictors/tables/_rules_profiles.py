"""Rules about profiles: what a row really ran on, under how many threads, and by which clock.

They look at `Table.labels` and `Table.stated`, which tables of architectures do not have, and are silent without them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from predictors.tables._rules_values import costs, finding
from predictors.tables.table import Column, Finding, Table

#: Words in a device's name or in what was asked for that promise more than a CPU.
_ACCELERATOR = re.compile(
    r"(?:^|[^a-z])(npu|gpu|tpu|edgetpu|dsp|htp|hexagon|cuda|tensorrt|nnapi|coreml|ane|vpu|rtx|gtx|adreno|mali)"
    r"(?=$|[^a-z])",
    re.IGNORECASE,
)

#: Two rows of one network within this of each other, relative, took the same time.
_EQUAL = 0.01

#: From how many pairs on, and which share of them, equal rows are no chance.
_PAIRS = 3
_MOST = 0.5

#: A time of fewer steps of its clock than this is known to 10 % or worse.
_STEPS = 5

#: How far rows may be from adding up to a run, relative.
_WHOLE = 0.2

#: Providers whose kernels are launched by the host and end later.
_LAUNCHED = ("CUDA", "ROCM", "Dml", "WebGpu", "MIGraphX")

#: Precisions that a runtime may choose in place of the 32 bits of the model.
_REDUCED = ("bf16", "f16", "fp16", "float16")


def accelerator(table: Table) -> Iterator[Finding]:
    """Names and wishes for an accelerator, and what the units of the rows say to them."""
    if not table.stated:
        return
    units = _units(table)
    known = [unit for unit in units if unit]
    for column in (column for column in costs(table) if column.cost == "latency"):
        named = table.stated.get("accelerator") or _named(column)
        if named is None:
            continue
        if known and all(unit == "CPU" for unit in known) and len(known) == len(units):
            yield finding(
                table, "error", "accelerator-is-cpu", column.name,
                f"an accelerator is claimed ({named}), and all {len(units)} rows ran on the CPU",
                "These are a CPU's numbers. Mend the delegate or provider, see that it takes the layers, and measure "
                "again; or import them with --device CPU'S NAME.",
            )  # fmt: skip
        elif not known:
            yield finding(
                table, "warning", "unproven-accelerator", column.name,
                f"an accelerator is claimed ({named}), and the file does not say what any row ran on",
                "Claim it only with a list of what ran where: the provider of each node, or the runtime's placement.",
            )  # fmt: skip


def fallback(table: Table) -> Iterator[Finding]:
    """Rows on the CPU among those of an accelerator, and models of which some layers are on the CPU."""
    units = np.array(_units(table), dtype=np.str_)
    on_cpu, elsewhere = units == "CPU", (units != "CPU") & (units != "")
    if table.stated and table.stated.get("units") != "asked for" and on_cpu.any() and elsewhere.any():
        what = "models" if table.models else "layers"
        share = "" if table.models else _share(table, on_cpu)
        yield finding(
            table, "warning", "fallback", None,
            f"{on_cpu.sum()} of {len(table)} {what} ran on the CPU{share}, and the others on "
            f"{' and '.join(sorted(set(units[elsewhere])))}",
            "They are no numbers of the accelerator, and passing data to and fro costs, too: leave them out of what "
            "you learn about it, and avoid these operators on it.", on_cpu,
        )  # fmt: skip
    counts = table.fields.get("layers_cpu"), table.fields.get("layers")
    if counts[0] is None or counts[1] is None:
        return
    partly = (counts[0] > 0) & (counts[0] < counts[1]) & ~on_cpu
    if partly.any():
        worst = float((counts[0][partly] / counts[1][partly]).max())
        yield finding(
            table, "warning", "partly-on-cpu", None,
            f"in {partly.sum()} of {len(table)} rows some layers ran on the CPU, up to {worst:.0%} of them",
            "Their latency is of both; field.layers_cpu says how many layers each has there.", partly,
        )  # fmt: skip


def equals_cpu(table: Table) -> Iterator[Finding]:
    """Rows of an accelerator that took as long as the CPU's of the same network, on most networks of a device."""
    if "model" not in table.labels:
        return
    units = _units(table)
    nowhere = ("",) * len(table)
    device, precision = (table.labels.get(name, nowhere) for name in ("device", "precision"))
    networks: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row, model in enumerate(table.labels["model"]):
        networks[device[row], precision[row], model].append(row)
    for column in (column for column in costs(table) if column.cost == "latency"):
        compared: dict[str, list[int]] = defaultdict(list)
        equal = np.zeros(len(table), dtype=bool)
        for (where, _, _), rows in networks.items():
            cpu = column.values[[row for row in rows if units[row] == "CPU"]]
            others = [row for row in rows if units[row] in ("NPU", "GPU") and column.values[row] > 0]
            if len(cpu) and others:
                compared[where] += others
                for row in others:
                    equal[row] = bool(np.any(np.abs(cpu / column.values[row] - 1) <= _EQUAL))
        for where, rows in compared.items():
            alike = np.zeros(len(table), dtype=bool)
            alike[[row for row in rows if equal[row]]] = True
            if alike.sum() < max(_PAIRS, _MOST * len(rows)):
                continue  # by chance some are
            yield finding(
                table, "error", "equals-cpu", column.name,
                f"{alike.sum()} of {len(rows)} rows of an accelerator{f' of {where}' if where else ''} took as long as "
                f"the CPU's of the same network, to {_EQUAL:.0%}",
                "The accelerator did not run: a fallback that nobody noticed. Leave the rows out.", alike,
            )  # fmt: skip


def threads(table: Table) -> Iterator[Finding]:
    """Rows of a CPU without a number of threads."""
    if "runtime" not in table.stated or "threads" in table.stated:
        return
    known = table.fields.get("threads")
    unknown = np.isnan(known) if known is not None else np.ones(len(table), dtype=bool)
    units = np.array(_units(table), dtype=np.str_)
    claimed = table.stated.get("accelerator") or any(_named(column) for column in costs(table))
    rows = unknown & ((units == "CPU") | (units == "" if not claimed else False))
    if rows.any():
        yield finding(
            table, "warning", "threads-unknown", None,
            f"the file does not say how many threads {rows.sum()} rows had that ran, or may have run, on the CPU",
            "Defaults differ between runtimes, and published numbers were wrong by 2 times for it: ask who measured, "
            "and say it with --part threads=N.", rows if not rows.all() else None,
        )  # fmt: skip


def throughput(table: Table) -> Iterator[Finding]:
    """Latencies that were made of throughput."""
    batch = table.fields.get("batch")
    if table.stated.get("from") != "throughput" or batch is None or not np.isfinite(batch).any():
        return
    for column in (column for column in costs(table) if column.cost == "latency"):
        sizes = np.unique(batch[np.isfinite(batch)])
        which = f"{sizes[0]:g} inputs" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g} inputs"
        yield finding(
            table, "warning", "from-throughput", column.name,
            f"the file gives throughput: these are times of whole batches, batch over throughput, of {which}",
            "Compare rows of one field.batch alone. A batch's time over its size is no latency of one input: that is "
            "longer, and another network may be the fastest.",
        )  # fmt: skip


def clock(table: Table) -> Iterator[Finding]:
    """Times near the step of the clock, below it, and of the wrong clock."""
    step = _stated(table, "clock_ms")
    for column in (column for column in costs(table) if column.cost == "latency"):
        zero = column.values == 0
        if np.isfinite(step) and zero.any():
            yield finding(
                table, "error", "below-clock", column.name,
                f"{zero.sum()} rows took less than a step of the clock, {step * 1e3:g} us, and were rounded to 0",
                f"They cost something: a sum over the rows lacks up to {zero.sum() * step:.3g} ms. Leave them out of "
                "what you learn from, and measure such kernels many times in a row.", zero,
            )  # fmt: skip
        near = (column.values > 0) & (column.values < _STEPS * step)
        if np.isfinite(step) and not table.models and near.any():
            yield finding(
                table, "warning", "near-clock", column.name,
                f"{near.sum()} of {len(table)} rows took less than {_STEPS} steps of the clock, which counts whole "
                f"{step * 1e3:g} us: each is known to 10 % or worse",
                "Ratios of such rows mean little; measure them many times in a row.", near,
            )  # fmt: skip
        if table.stated.get("clock_of") == "delegate":
            yield finding(
                table, "warning", "delegate-clock", column.name,
                "a delegate's own clock counted these, which may be cycles whatever the head says",
                "Hold their sum against the delegate's call before you use them as times.",
            )  # fmt: skip
        yield from _host(table, column)
    silent = _stated(table, "silent")
    if silent > 0:
        yield finding(
            table, "warning", "silent-layers", None,
            f"{silent:g} layers that are neither inputs, constants nor results have no time: they did not run in an "
            "inference, or took less than a step of the clock",
            "They are not in the table; a sum over the rows may lack them.",
        )  # fmt: skip


def whole(table: Table) -> Iterator[Finding]:
    """Rows that do not add up to a run."""
    run_ms = _stated(table, "run_ms")
    for column in (column for column in costs(table) if column.cost == "latency"):
        total = float(column.values[column.values > 0].sum())
        if not (run_ms > 0 and np.isfinite([run_ms, total]).all()) or abs(total / run_ms - 1) <= _WHOLE:
            continue
        yield finding(
            table, "warning", "sum-apart", column.name,
            f"the rows add up to {total:.3g} ms, and a run took {run_ms:.3g} ms",
            "Where the sum is below, the runtime spent the rest between kernels, or something else kept the machine "
            "busy; where it is above, kernels ran side by side, or another machine ran them. See which before you add.",
        )  # fmt: skip


def _host(table: Table, column: Column) -> Iterator[Finding]:
    providers = table.labels.get("provider", ())
    launched = np.array([provider.startswith(_LAUNCHED) for provider in providers], dtype=bool)
    if table.stated.get("timed") == "host" and launched.any():
        yield finding(
            table, "error", "host-times", column.name,
            f"{launched.sum()} rows are times in which the host launched a kernel, not in which the GPU ran it",
            "Take the kernels' times from the GPU: torch.profiler or CUPTI around the run.", launched,
        )  # fmt: skip


def conditions(table: Table) -> Iterator[Finding]:
    """Warm-up, precision, rows of many kernels, and what failed."""
    if table.stated.get("warm_up") == "included":
        yield finding(
            table, "note", "warm-up-included", None,
            "the times are over all runs, the first ones among them",
            "Profile enough runs that the first do not count, or leave them out where the runtime can.",
        )  # fmt: skip
    precisions = table.labels.get("precision", ())
    reduced = np.array([precision.lower() in _REDUCED for precision in precisions], dtype=bool)
    if not table.models and reduced.any():
        which = " and ".join(sorted({precisions[row] for row in np.flatnonzero(reduced)}))
        yield finding(
            table, "note", "reduced-precision", None,
            f"{reduced.sum()} of {len(table)} layers ran in {which}",
            "The runtime may have chosen it by itself (OpenVINO: INFERENCE_PRECISION_HINT): compare with tables of the "
            "same precision alone.", reduced,
        )  # fmt: skip
    calls = table.fields.get("calls")
    if calls is not None and (calls > 1).any():
        yield finding(
            table, "note", "merged-rows", None,
            f"{(calls > 1).sum()} rows are several kernels of one name, up to {np.nanmax(calls):g}, added up",
            "They are no costs of one kernel: field.calls says of how many.", calls > 1,
        )  # fmt: skip
    failed = _stated(table, "failed")
    if failed > 0:
        yield finding(
            table, "note", "failed-rows", None,
            f"{failed:g} entries of the file are marked as failed, and are not in the table",
            "A network that does not run on a device is an answer, too: see at the source which ones.",
        )  # fmt: skip


def _share(table: Table, rows: NDArray[np.bool_]) -> str:
    for column in costs(table):
        known = np.where(column.values > 0, column.values, 0.0)
        if column.cost == "latency" and np.isfinite(known.sum()) and known.sum() > 0:
            return f", {known[rows].sum() / known.sum():.0%} of the time"
    return ""


def _stated(table: Table, name: str) -> float:
    """A number that is stated; NaN if it is none."""
    try:
        return float(table.stated.get(name, "nan"))
    except ValueError:
        return float("nan")


def _units(table: Table) -> tuple[str, ...]:
    return tuple(unit.upper() for unit in table.labels.get("unit", ("",) * len(table)))


def _named(column: Column) -> str | None:
    match = _ACCELERATOR.search((column.device or "").replace("_", " "))
    return match.group(1) if match else None
