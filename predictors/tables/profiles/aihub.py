"""Qualcomm AI Hub's `perf.yaml`: latency of a model on many phones and boards, by runtime and precision.

Layout: `src/qai_hub_models/models/*/perf.yaml` of quic/ai-hub-models (now qualcomm/ai-hub-models), in two forms:

- `precisions` -> PRECISION -> `components` -> MODEL -> `performance_metrics` -> DEVICE -> RUNTIME, with
  `inference_time_milliseconds`, `estimated_peak_memory_range_mb` (`min`, `max`), `primary_compute_unit`, and
  `layer_counts` (`total`, `npu`, `gpu`, `cpu`);
- older: `models`, a list of `name` and `performance_metrics`, a list of objects with RUNTIME ->
  `inference_time` (us), `throughput` (its inverse), `estimated_peak_memory_range` (bytes), `primary_compute_unit`,
  `layer_info` (`layers_on_npu`, ...), and `reference_device_info` (`name`).

A row is a model on a device: `MODEL@DEVICE;PRECISION;RUNTIME`; `--part precision=float,runtime=onnx` takes some. Jobs
that failed have no time and are left out. Peak memory is `peak_memory_bytes`, in whole MB of 10^6 bytes where the file
has those, so that 0 is less than half of one; it is the end of an estimated range, and no cost that a search should add
up. What a layer's count says is what ran: a row whose layers are on the CPU is no number of an NPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from device_profiles.errors import InvalidTable, UsageError
from predictors.tables._files import number
from predictors.tables._yaml_reader import read_tree
from predictors.tables.profiles._rows import NAN, Row, label, said, table
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Column, Table

LICENCE = "Qualcomm AI Hub Models: BSD-3-Clause"

_UNITS = ("npu", "gpu", "cpu")
_HINT = "Give a perf.yaml of ai-hub-models, whole."

#: How far throughput may be from the inverse of the time in us, relative; both are rounded.
_APART = 0.05


class AiHub:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """YAML with performance metrics and a primary compute unit."""
        return b"performance_metrics:" in file.data and b"primary_compute_unit:" in file.data

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidData: it is no YAML, or one with aliases and tags.
            InvalidTable: it is of neither form, is cut short, or times, throughputs and layers do not fit.
            UsageError: `options.part` names a runtime or precision that is not there.
        """
        told = said(file, options, ("precision", "runtime"))
        wanted = {name: told.pop(name) for name in ("precision", "runtime") if name in told}
        tree = read_tree(file)
        entries = _new(tree, file) if "precisions" in tree else _old(tree, file)
        rows, peaks, failed = [], [], 0
        for names, metrics in entries:
            where = f"{file.path}, {', '.join(names.values())[:160]}"
            made = _row(names, metrics, where)
            if any(names[name] != value for name, value in wanted.items()):
                continue
            if made is None:
                failed += 1
                continue
            rows.append(made)
            peaks.append(_peak(metrics, where))
        more = []
        if not np.isnan(peaks).all():
            more = [Column("peak_memory_bytes", "peak_memory", "bytes", np.array(peaks), stated_unit=_memory(tree))]
        if wanted and not rows and not failed:
            said_so = ", ".join(f"{name}={value}" for name, value in wanted.items())
            raise UsageError(f"{file.path} has no row of {said_so}", hint="Import it whole to see which it has.")
        failed_so = str(failed or "")
        stated = {"runtime": "qai_hub", "accelerator": "npu", "clock_ms": "0.001", "failed": failed_so, **told}
        clock = "ms" if "precisions" in tree else "us"
        return table(
            *("aihub", rows, file, options),
            stated=stated,
            stated_unit=clock,
            licence=LICENCE,
            models=True,
            more=more,
        )


IMPORTER = AiHub()


def _memory(tree: Mapping[str, object]) -> str:
    return "MB" if "precisions" in tree else "bytes"


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidTable(f"{where} is no mapping", hint=_HINT)
    return value


def _new(tree: Mapping[str, object], file: RawFile) -> Iterator[tuple[dict[str, str], Mapping[str, Any]]]:
    where = f"{file.path}, precisions"
    for precision, of_precision in _mapping(tree["precisions"], where).items():
        components = _mapping(of_precision, f"{where}, {precision}").get("components")
        for model, component in _mapping(components, f"{where}, {precision}, components").items():
            there = f"{where}, {precision}, {model}, performance_metrics"
            devices = _mapping(component, there).get("performance_metrics")
            for device, runtimes in _mapping(devices, there).items():
                for runtime, metrics in _mapping(runtimes, f"{there}, {device}").items():
                    names = {"model": model, "device": device, "precision": precision, "runtime": runtime}
                    yield names, _mapping(metrics, f"{there}, {device}, {runtime}")


def _old(tree: Mapping[str, object], file: RawFile) -> Iterator[tuple[dict[str, str], Mapping[str, Any]]]:
    models = tree.get("models")
    if not isinstance(models, list):
        raise InvalidTable(f"{file.path} has neither precisions nor a list of models", hint=_HINT)
    for place, model in enumerate(models):
        where = f"{file.path}, model {place + 1}"
        entries = _mapping(model, where).get("performance_metrics")
        if not isinstance(entries, list):
            raise InvalidTable(f"{where} has no list of performance_metrics", hint=_HINT)
        for entry in entries:
            device = _mapping(_mapping(entry, where).get("reference_device_info", {}), where).get("name", "")
            for runtime, metrics in entry.items():
                if isinstance(metrics, Mapping) and "inference_time" in metrics:
                    names = {
                        "model": str(model.get("name", "")),
                        "device": str(device),
                        "precision": str(metrics.get("precision", "")),
                        "runtime": runtime,
                    }
                    yield names, metrics


def _row(names: Mapping[str, str], metrics: Mapping[str, Any], where: str) -> Row | None:
    """None for a job without a time."""
    ms = number(metrics.get("inference_time_milliseconds", ""), f"{where}, inference_time_milliseconds")
    if metrics.get("inference_time"):
        us = number(metrics["inference_time"], f"{where}, inference_time")
        rate = number(metrics.get("throughput", ""), f"{where}, throughput")
        if us > 0 and rate > 0 and abs(us * rate / 1e6 - 1) > _APART:
            raise InvalidTable(
                f"{where}: {us:g} us and {rate:g} inferences a second do not fit", hint=f"A unit is another. {_HINT}"
            )
        ms = us / 1e3
    if np.isnan(ms):
        return None
    unit = label(metrics.get("primary_compute_unit", ""))
    shown = [label(text) for text in names.values()]
    return Row(
        name=f"{shown[0] or 'model'}@{';'.join(filter(None, shown[1:]))}",
        ms=ms,
        labels={**names, "unit": unit if unit.upper() in ("CPU", "GPU", "NPU") else ""},
        numbers=_layers(metrics, where),
    )


def _layers(metrics: Mapping[str, Any], where: str) -> dict[str, float]:
    """Layers in all, and on each unit."""
    counts, form = metrics.get("layer_counts"), "{}"
    if counts is None:
        counts, form = metrics.get("layer_info"), "layers_on_{}"
    if counts is None:
        return {}
    counts = _mapping(counts, f"{where}, layers")
    on = {unit: number(counts.get(form.format(unit), "0"), f"{where}, {unit}") for unit in _UNITS}
    total = number(counts.get("total", counts.get("total_layers", "")), f"{where}, total")
    if not np.isfinite([total, *on.values()]).all() or sum(on.values()) != total or min(on.values()) < 0:
        raise InvalidTable(
            f"{where}: {total:g} layers, and {', '.join(f'{n:g} on {unit}' for unit, n in on.items())}", hint=_HINT
        )
    return {"layers": total, **{f"layers_{unit}": value for unit, value in on.items()}}


def _peak(metrics: Mapping[str, Any], where: str) -> float:
    """The upper end of the peak memory, in bytes."""
    for name, factor in (("estimated_peak_memory_range_mb", 1e6), ("estimated_peak_memory_range", 1.0)):
        if isinstance(metrics.get(name), Mapping):
            value = number(metrics[name].get("max", ""), f"{where}, {name}")
            if value < 0 or np.isinf(value):
                raise InvalidTable(f"{where}, {name}: {value:g} is no memory", hint=_HINT)
            return value * factor
    return NAN
