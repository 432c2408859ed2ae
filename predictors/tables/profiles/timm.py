"""timm's benchmark results: a CSV of models with throughput on one device, in images a second at a batch.

Layout: `benchmark.py` of huggingface/pytorch-image-models, and its `results/benchmark-*.csv`: `model`,
`infer_img_size`, `infer_samples_per_sec`, `infer_step_time` (ms of one step), `infer_batch_size`, `param_count` (in
millions), `infer_gmacs`, `infer_macts`; with training the same with `train_`.

A row is a model at an image size. The file gives throughput, and the latency here is that of a whole batch: batch size
over throughput, in ms, not that of one image, and batches differ between the rows (`field.infer_batch`). Both are said
by lint. Where `infer_step_time` is there, it has to agree.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from device_profiles.errors import InvalidTable
from predictors.tables._files import number, read_csv
from predictors.tables.profiles._rows import Row, label, said, table
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Column, Floats, Table

LICENCE = "timm: Apache-2.0, for its own results"

#: How far a stated time of a step may be from batch over throughput, relative: both are means over the same steps.
_APART = 0.1

_HINT = "Give a CSV of timm's benchmark.py: model, infer_samples_per_sec, infer_batch_size, infer_img_size."
_OTHERS = {"param_count": "params_m", "infer_gmacs": "gmacs", "infer_macts": "macts_m"}


class Timm:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A CSV with `model` and samples a second."""
        heads = [head.strip() for head in file.first_line.split(",")]
        return "model" in heads and ("infer_samples_per_sec" in heads or "train_samples_per_sec" in heads)

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: a column is missing, a cell is no number, a throughput is not above 0, or the time of a step
                is another than the throughput says.
            UsageError: `options.part` says something else than threads and accelerator.
        """
        told = said(file, options)
        heads, cells = read_csv(file)
        rows = [dict(zip(heads, row, strict=True)) for row in cells]
        phases = [phase for phase in ("infer", "train") if f"{phase}_samples_per_sec" in heads]
        lacking = [
            name for name in ("model", *(f"{phase}_batch_size" for phase in phases or ["infer"])) if name not in heads
        ]
        if lacking or not phases:
            raise InvalidTable(f"{file.path} lacks {', '.join(lacking) or 'samples a second'}", hint=_HINT)
        first, *others = phases
        made = [_row(row, first, f"{file.path}, row {i + 1}") for i, row in enumerate(rows)]
        more = [
            Column(
                "latency_ms",
                "latency",
                "ms",
                _latencies(rows, phase, file),
                workload="train",
                stated_unit="samples/s",
            )
            for phase in others
        ]
        stated = {"runtime": "pytorch", "from": "throughput", **told}
        return table(
            *("timm", made, file, options),
            stated=stated,
            stated_unit="samples/s",
            licence=LICENCE,
            models=True,
            more=more,
        )


IMPORTER = Timm()


def _row(row: Mapping[str, str], phase: str, where: str) -> Row:
    name = label(row["model"])
    if not name:
        raise InvalidTable(f"{where} has no model", hint=_HINT)
    size = row.get(f"{phase}_img_size", "").strip()
    numbers = {"batch": number(row[f"{phase}_batch_size"], f"{where}, {phase}_batch_size")}
    if size:
        numbers["img_size"] = number(size, f"{where}, {phase}_img_size")
    for theirs, ours in _OTHERS.items():
        if row.get(theirs, "").strip():
            numbers[ours] = number(row[theirs], f"{where}, {theirs}")
    return Row(
        name=f"{name}@{size}" if size else name,
        ms=_latency(row, phase, where),
        labels={"model": name},
        numbers=numbers,
    )


def _latency(row: Mapping[str, str], phase: str, where: str) -> float:
    """Milliseconds of one batch."""
    batch = number(row[f"{phase}_batch_size"], f"{where}, {phase}_batch_size")
    rate = number(row[f"{phase}_samples_per_sec"], f"{where}, {phase}_samples_per_sec")
    if not (np.isfinite(batch) and np.isfinite(rate) and batch > 0 and rate > 0):
        raise InvalidTable(
            f"{where}: {rate:g} samples a second at a batch of {batch:g} give no latency",
            hint=f"Leave out models that failed. {_HINT}",
        )
    ms = batch / rate * 1e3
    step = number(row.get(f"{phase}_step_time", ""), f"{where}, {phase}_step_time")
    if not np.isnan(step) and abs(step - ms) > _APART * ms:
        raise InvalidTable(
            f"{where}: a step of {step:g} ms, and batch over throughput is {ms:.4g} ms",
            hint=f"One of batch, throughput and step is of another run, or in another unit. {_HINT}",
        )
    return ms


def _latencies(rows: list[dict[str, str]], phase: str, file: RawFile) -> Floats:
    found = [_latency(row, phase, f"{file.path}, row {i + 1}") for i, row in enumerate(rows)]
    return np.array(found, dtype=np.float64)
