"""OpenVINO's execution graph, an IR file of what really ran, and `benchmark_app`'s detailed counters.

Layouts: `src/core/xml_util` and `src/plugins/intel_cpu/src/graph_dumper.cpp` of openvinotoolkit/openvino. The graph is
`openvino.serialize(compiled.get_runtime_model(), "graph.xml")` or `benchmark_app -pc -exec_graph_path graph.xml`: each
`<layer type=...>` has a `<data>` with `execTimeMcs` in whole us (or `not_executed`), `primitiveType`,
`runtimePrecision`, `originalLayersNames`. It has times if the model was compiled with `PERF_COUNT`. The counters are a
CSV of `benchmark_app -pc -report_type detailed_counters`, `layerName;execStatus;layerType;execType;realTime (ms)` ...

Times are means over all inferences since compilation, warm-up included. Layers of constants alone, which reorder
weights once, are left out. A layer of less than 1 us is written as one that did not run, so the layers without a time
are counted, and lint says how many there are.
"""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from device_profiles.errors import InvalidTable
from predictors.tables._files import number
from predictors.tables.profiles._rows import Row, label, said, table
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Table

#: `<net>`, `<layers>`, `<layer>`, `<output>`, `<port>`, `<dim>`, and some more in newer versions.
_DEEPEST = 16

_HEADS = ("layerName", "execStatus", "layerType", "execType", "realTime (ms)", "cpuTime (ms)")

#: Types that compute nothing at inference; another layer without a time did not run, or was too fast for the clock.
_IDLE = ("Input", "Parameter", "Const", "Constant", "Output", "Result")

_GRAPH_HINT = (
    "Compile with PERF_COUNT, infer, and write openvino.serialize(compiled.get_runtime_model(), 'graph.xml'), or run "
    "benchmark_app with -pc -exec_graph_path graph.xml."
)
_COUNTERS_HINT = "Give the file of benchmark_app -pc -report_type detailed_counters, whole."


class OpenVino:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """An IR file whose layers have `execTimeMcs`, or a CSV with the heads of the counters."""
        return file.first_line.startswith("layerName;execStatus") or (
            "<net " in file.head and b"execTimeMcs" in file.data
        )

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: it is neither, is cut short, declares entities, or has no times.
            UsageError: `options.part` says something else than threads and accelerator.
        """
        told = said(file, options)
        is_graph = file.head.lstrip().startswith("<")
        layers, clock = (_layers(file), "us") if is_graph else (_counters(file), "ms")
        rows, silent = [], 0
        for kind, ms, row in layers:
            if ms is not None:
                rows.append(row)
            elif kind not in _IDLE and row.labels["primitive"] != "undef":  # which is fused into another
                silent += 1
        if not rows:
            raise InvalidTable(
                f"{file.path} has {silent} layers and no time of any: they were not counted",
                hint=_GRAPH_HINT if is_graph else _COUNTERS_HINT,
            )
        stated = {
            "runtime": "openvino",
            "clock_ms": "0.001",
            "warm_up": "included",
            "silent": str(silent) if silent else "",
            **told,
        }
        return table("openvino", rows, file, options, stated=stated, stated_unit=clock)


IMPORTER = OpenVino()


def _layers(file: RawFile) -> Iterator[tuple[str, float | None, Row]]:
    """Type, time in ms or None, and row of each layer of a graph that depends on an input."""
    layers, edges = _graph(file)
    given = _given_once(layers, edges)
    for place, (number_of, attributes) in enumerate(layers.items()):
        name = label(attributes.get("name", ""))
        kind = label(attributes.get("layerType") or attributes.get("type") or "")
        where = f"{file.path}, layer {place + 1} ({name[:60]!r})"
        if "execTimeMcs" not in attributes or not kind:
            raise InvalidTable(f"{where} has no execTimeMcs or no type: it is no execution graph", hint=_GRAPH_HINT)
        text = attributes["execTimeMcs"]
        ms = None if text == "not_executed" else number(text, f"{where}, execTimeMcs") / 1e3
        if number_of in given:
            continue
        labels = {
            "unit": _unit(attributes.get("outputLayouts", "")),
            "primitive": attributes.get("primitiveType", ""),
            "precision": attributes.get("runtimePrecision", ""),
            "original": attributes.get("originalLayersNames", ""),
        }
        yield kind, ms, Row(name or kind, ms or 0.0, kind, labels=labels)


def _given_once(layers: Mapping[str, Mapping[str, str]], edges: Sequence[tuple[str, str]]) -> set[str]:
    """Layers of constants alone: the plug-in reorders weights by them, once and not in each inference."""
    sources: dict[str, set[str]] = {}
    for source, target in edges:
        sources.setdefault(target, set()).add(source)
    given = {name for name, layer in layers.items() if layer.get("type") in ("Const", "Constant")}
    waiting = {target: set(of) - given for target, of in sources.items()}
    ready = [target for target, of in waiting.items() if not of]
    users: dict[str, list[str]] = {}
    for source, target in edges:
        users.setdefault(source, []).append(target)
    while ready:
        done = ready.pop()
        given.add(done)
        for user in users.get(done, ()):
            if user in waiting and user not in given and done in waiting[user]:
                waiting[user].discard(done)
                if not waiting[user]:
                    ready.append(user)
    return given


def _graph(file: RawFile) -> tuple[dict[str, dict[str, str]], list[tuple[str, str]]]:
    """Attributes of each layer and its `<data>` by its id, and edges; entities are refused, depth is bounded."""
    text = file.text
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InvalidTable(f"{file.path} declares a document type; graphs have none", hint="Remove the declaration.")
    parser: Any = ET.XMLPullParser(("start", "end"))
    layers: dict[str, dict[str, str]] = {}
    edges: list[tuple[str, str]] = []
    depth, bodies, inside = 0, 0, None
    try:
        parser.feed(text)
        parser.close()
        for event, element in parser.read_events():
            depth += 1 if event == "start" else -1
            if depth > _DEEPEST:
                raise InvalidTable(f"{file.path} is nested deeper than {_DEEPEST}", hint=_GRAPH_HINT)
            if element.tag == "body":  # of a loop, whose time is the loop's
                bodies += 1 if event == "start" else -1
            elif bodies:
                continue
            elif element.tag == "layer":
                inside = element.get("id", f"layer {len(layers)}") if event == "start" else None
                if inside is not None:
                    if inside in layers:
                        raise InvalidTable(f"{file.path} has layer {inside[:40]!r} twice", hint=_GRAPH_HINT)
                    layers[inside] = dict(element.attrib)
            elif element.tag == "data" and event == "start" and inside is not None:
                layers[inside].update(element.attrib)
            elif element.tag == "edge" and event == "start":
                edges.append((element.get("from-layer", ""), element.get("to-layer", "")))
    except (ET.ParseError, ValueError) as error:
        raise InvalidTable(f"cannot read {file.path} as XML: {error}", hint=_GRAPH_HINT) from error
    return layers, edges


def _counters(file: RawFile) -> Iterator[tuple[str, float | None, Row]]:
    """The same of a file of counters."""
    lines = file.text.splitlines()
    heads = tuple(lines[0].strip().rstrip(";").split(";")) if lines else ()
    if heads != _HEADS:
        raise InvalidTable(
            f"{file.path} begins with {'; '.join(heads)[:80]!r}: neither an execution graph nor detailed counters",
            hint=f"{_GRAPH_HINT} Counters begin with {';'.join(_HEADS)}.",
        )
    is_whole = False
    try:
        for at, cells in enumerate(csv.reader(lines[1:], delimiter=";"), start=2):
            where = f"{file.path}, line {at}"
            if is_whole and any(cell.strip() for cell in cells):
                raise InvalidTable(f"{where}: counters of a second request", hint="Run benchmark_app with -nireq 1.")
            if not any(cells):
                continue
            if len(cells) < len(_HEADS):
                raise InvalidTable(f"{where}: {len(cells)} cells, {len(_HEADS)} are needed", hint=_COUNTERS_HINT)
            name, status, kind, primitive, real, _ = (label(cell) for cell in cells[: len(_HEADS)])
            if name == "Total" and not status:
                is_whole = True
                continue
            ms = number(real, f"{where}, {_HEADS[4]}") if status.endswith("EXECUTED") else None
            precision = primitive.rpartition("_")[2] if "_" in primitive else ""
            labels = {"unit": "", "primitive": primitive, "precision": precision.lower()}
            yield kind, ms, Row(name or kind, ms or 0.0, kind, labels=labels)
    except csv.Error as error:
        raise InvalidTable(f"cannot read {file.path} as CSV: {error}", hint=_COUNTERS_HINT) from error
    if not is_whole:
        raise InvalidTable(f"{file.path} has no line of totals: it is cut short", hint=_COUNTERS_HINT)


def _unit(layouts: str) -> str:
    """What names its memory layouts so: the CPU's have letters from a, the GPU's are called bfyx and the like."""
    first = layouts.partition(",")[0]
    if re.fullmatch(r"[A-Ha-h0-9]+", first):
        return "GPU" if re.match(r"b?f?y?x?$", first) and "fyx" in first else "CPU"
    return "GPU" if "fyx" in first or "yxf" in first or first.startswith(("b_fs", "bs_fs")) else ""
