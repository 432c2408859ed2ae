"""ONNX Runtime's profile: the JSON that `end_profiling()` names, one event a kernel and run, in whole microseconds.

Layout: `onnxruntime/core/common/profiler.cc` and `sequential_executor.cc` of microsoft/onnxruntime: a list of Chrome's
trace events. Those of `"cat": "Node"` whose name ends in `_kernel_time` are kernels: `dur` in us, `args.op_name`,
`node_index`, `provider`. `model_run` events say where a run begins and ends. Written with
`SessionOptions.enable_profiling = True`.

A row is a node: the median over runs of what it took in one. The first tenth of the runs, at least one, is left out as
warm-up, or as many as `--part warmup=N` says; a file with one run has nothing else. For providers that only launch
kernels (CUDA and the like) these are times of the host, and lint says so. A profile does not say how many threads there
were: `--part threads=N` does.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from device_profiles.errors import InvalidTable, UsageError
from device_profiles.reading import parse_json
from predictors.tables._files import number
from predictors.tables.profiles._rows import NAN, Row, label, said, table, whole
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Table

#: What is known of a provider's units; others (OpenVINO, NNAPI, Core ML) choose one by themselves.
UNITS = {
    **dict.fromkeys(("CPU", "Xnnpack", "Dnnl", "ACL", "ArmNN", "Azure"), "CPU"),
    **dict.fromkeys(("CUDA", "Tensorrt", "NvTensorRTRTX", "ROCM", "MIGraphX", "Dml", "WebGpu", "Js"), "GPU"),
    **dict.fromkeys(("QNN", "VitisAI", "CANN", "Rknpu", "SNPE", "VSINPU"), "NPU"),
}

_KERNEL = "_kernel_time"
_HINT = (
    "Give the file that session.end_profiling() names, after it was called; what a killed process left is cut short."
)
_MOST_RUNS = 10**6

_Event = Mapping[str, Any]
_Node = tuple[str, str, str, str]


class OnnxRuntime:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A list of events, of which the first are of a session or of nodes."""
        head = "".join(file.head.split())
        return head.startswith("[{") and '"cat":"' in head and ('"Session"' in head or '"Node"' in head)

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: it is no such profile, is cut short, or has no kernels.
            UsageError: `options.part` says something else, or leaves out all runs.
        """
        told = said(file, options, ("warmup",))
        events = parse_json(file.text, str(file.path), kind=InvalidTable, hint=_HINT)
        if not isinstance(events, list) or not all(isinstance(event, Mapping) for event in events):
            raise InvalidTable(f"{file.path} is no list of events", hint=_HINT)
        events = [event for event in events if event.get("ph", "X") == "X"]
        spans = _runs(events, file)
        times, sizes, runs = _by_node(events, spans, file)
        warm = min(max(1, runs // 10), runs - 1)
        if "warmup" in told:
            warm = whole(told.pop("warmup"), "warmup", _MOST_RUNS)
        if warm >= runs > 1:
            raise UsageError(f"{file.path} has {runs} runs, and {warm} are left out", hint="Leave out fewer.")
        rows = [_row(node, by_run, sizes[node], warm) for node, by_run in times.items()]
        kept = [row for row in rows if row is not None]
        units = {row.labels["unit"] for row in kept}
        return table(
            "onnxruntime",
            kept,
            file,
            options,
            stated={
                "runtime": "onnxruntime",
                "clock_ms": "0.001",
                "runs": str(runs),
                "warm_up": str(warm) if warm else "included",
                "run_ms": f"{np.median([us for _, us in spans[warm:]]) / 1e3:g}" if spans else "",
                "timed": "host" if "GPU" in units else "",
                **told,
            },
            stated_unit="us",
        )


IMPORTER = OnnxRuntime()


def _row(node: _Node, by_run: Mapping[int, float], numbers: Mapping[str, float], warm: int) -> Row | None:
    """A node that ran after the warm-up, with the sum of its times in each run."""
    name, index, op, provider = node
    us = np.array([time for run, time in by_run.items() if run >= warm])
    if not len(us):
        return None
    return Row(
        name=name or f"{op}_{index}",
        ms=float(np.median(us)) / 1e3,
        kind=op,
        std=float(us.std(ddof=1)) / 1e3 if len(us) > 1 else NAN,
        count=len(us),
        labels={"unit": UNITS.get(provider.removesuffix("ExecutionProvider"), ""), "provider": provider},
        numbers=numbers,
    )


def _by_node(
    events: Sequence[_Event], spans: Sequence[tuple[float, float]], file: RawFile
) -> tuple[dict[_Node, dict[int, float]], dict[_Node, dict[str, float]], int]:
    """Microseconds of each node by run, its numbers, and the number of runs."""
    kernels = [event for event in events if event.get("cat") == "Node" and _name(event).endswith(_KERNEL)]
    if not kernels:
        raise InvalidTable(f"{file.path} has no kernels: no event of a node ends in {_KERNEL}", hint=_HINT)
    begins = [at for at, _ in spans]
    times: dict[_Node, dict[int, float]] = defaultdict(dict)
    numbers: dict[_Node, dict[str, float]] = {}
    for place, event in enumerate(kernels):
        where = f"{file.path}, kernel {place + 1} ({_name(event)[:60]!r})"
        args = event.get("args")
        if not isinstance(args, Mapping) or not isinstance(args.get("op_name"), str):
            raise InvalidTable(f"{where} has no op_name in its args", hint=_HINT)
        us, at = _time(event, "dur", where), _time(event, "ts", where)
        name = label(_name(event).removesuffix(_KERNEL))
        texts = (label(args.get(key, "")) for key in ("node_index", "op_name", "provider"))
        node: _Node = (name, *texts)  # type: ignore[assignment]
        run = bisect.bisect_right(begins, at) - 1
        if begins and (run < 0 or at > sum(spans[run])):
            continue  # of a run that did not end
        seen = times[node]
        run = run if begins else len(seen)
        seen[run] = seen.get(run, 0.0) + us
        sizes = (("output_bytes", "output_size"), ("parameter_bytes", "parameter_size"))
        numbers[node] = {ours: number(args[theirs], where) for ours, theirs in sizes if theirs in args}
    if not times:
        raise InvalidTable(f"{file.path} has kernels, and none of them in a whole run", hint=_HINT)
    return times, numbers, len(begins) or max(map(len, times.values()))


def _runs(events: Sequence[_Event], file: RawFile) -> list[tuple[float, float]]:
    """Beginning and length of each run, in us, ascending."""
    spans = sorted(
        (_time(event, "ts", f"{file.path}, a run"), _time(event, "dur", f"{file.path}, a run"))
        for event in events
        if event.get("cat") == "Session" and _name(event) == "model_run"
    )
    if any(after[0] < sum(before) for before, after in pairwise(spans)):
        raise InvalidTable(
            f"{file.path} has runs that overlap, so nobody can tell which run a kernel is of",
            hint="Profile with one run at a time.",
        )
    return spans


def _name(event: _Event) -> str:
    name = event.get("name")
    return name if isinstance(name, str) else ""


def _time(event: _Event, key: str, where: str) -> float:
    us = number(event.get(key, ""), f"{where}, {key}")
    if not (np.isfinite(us) and us >= 0):
        raise InvalidTable(f"{where}: {key} is {us:g}", hint=_HINT)
    return us
