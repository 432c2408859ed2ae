"""ncnn's `benchncnn`: its text, also where it stands in Markdown under headings of devices, in ms.

Layout: `benchmark/benchncnn.cpp` of Tencent/ncnn: `loop_count = 8`, `num_threads = 4`, `powersave = 2` (0 all cores,
1 little, 2 big), `gpu_device = -1` (the CPU) or a GPU's number, then `squeezenet  min = 2.70  max = 2.90  avg = 2.75`.

A row is a model in one run of the program; its latency is the mean over the loops, `field.min_ms` and `field.max_ms`
are beside it. Where a file has several runs, the key says which: `MODEL@DEVICE;threads=4;powersave=2;gpu=-1`, with
`run=2` where a run is there again. `--part section=TEXT` takes the devices whose heading has TEXT in it. What of a
network Vulkan cannot do, ncnn computes on the CPU and does not say so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from device_profiles.errors import InvalidTable, UsageError
from predictors.tables._files import number
from predictors.tables.profiles._rows import Row, label, said, table
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Table

LICENCE = "ncnn: BSD-3-Clause, for its own benchmark/README.md"

_SETTING = re.compile(r"^\s*(loop_count|num_threads|powersave|gpu_device|cooling_down) = (-?\d+)\s*$")
_TIMES = re.compile(r"^\s*(\S.*?)\s+min =\s*(\S+)\s+max =\s*(\S+)\s+avg =\s*(\S+)\s*$")
#: A line of more characters is none of these.
_LONGEST = 400
_HEADING = re.compile(r"^#{1,6}\s+(.*)$")
_GPU = re.compile(r"^\[(\d+)\s+(.*?)\]\s")
_ANY = re.compile(rb"min = {0,16}\S{1,24} {1,8}max = {0,16}\S{1,24} {1,8}avg =")
_HINT = "Give what benchncnn prints: loop_count = ... and lines NAME min = A max = B avg = C."
_POWERSAVE = {"0": "all", "1": "little", "2": "big"}


@dataclass
class _Run:
    """A run of the program: what it was told, and its lines."""

    section: str
    settings: dict[str, str] = field(default_factory=dict)
    gpus: dict[str, str] = field(default_factory=dict)
    times: list[tuple[str, float, float, float]] = field(default_factory=list)


class BenchNcnn:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """Text with a line of `min = ... max = ... avg = ...`."""
        return _ANY.search(file.data) is not None

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: it has no such lines, a time is no number, or a mean is outside of its minimum and maximum.
            UsageError: no heading has the section that was asked for.
        """
        told = said(file, options, ("section",))
        section = told.pop("section", None)
        runs = [run for run in _runs(file) if run.times]
        if section is not None:
            runs = [run for run in runs if section.lower() in run.section.lower()]
            if not runs:
                raise UsageError(f"{file.path} has no section {section!r}", hint="Sections are its headings.")
        several = len(runs) > 1
        seen: Counter[str] = Counter()
        rows = []
        for run in runs:
            name = _name(run)
            seen[name] += 1
            name += f";run={seen[name]}" if seen[name] > 1 else ""
            rows += list(_rows(run, name if several else ""))
        stated = {"runtime": "ncnn", "units": "asked for", **told}
        of_one = {run.settings["num_threads"] for run in runs if "num_threads" in run.settings}
        if len(of_one) == 1 and all("num_threads" in run.settings for run in runs):
            stated = {"threads": of_one.pop(), **stated}
        return table("benchncnn", rows, file, options, stated=stated, licence=LICENCE, models=True)


IMPORTER = BenchNcnn()


def _runs(file: RawFile) -> Iterator[_Run]:
    """Runs in the order of the file; a new one begins with a heading, and where `loop_count` is stated again."""
    run = _Run("")
    for at, line in enumerate(file.text.splitlines(), start=1):
        if len(line) > _LONGEST:
            continue
        heading, setting, gpu = _HEADING.match(line), _SETTING.match(line), _GPU.match(line)
        times = _TIMES.match(line)
        if heading is not None:
            yield run
            run = _Run(label(heading.group(1)))
        elif setting is not None:
            name, value = setting.groups()
            if name == "loop_count" and (run.times or name in run.settings):
                yield run
                run = _Run(run.section, gpus=run.gpus)
            run.settings[name] = value
        elif gpu is not None:
            run.gpus.setdefault(gpu.group(1), label(gpu.group(2)))
        elif times is not None:
            run.times.append(_times(times, f"{file.path}, line {at}"))
    yield run


def _times(match: re.Match[str], where: str) -> tuple[str, float, float, float]:
    name = label(match.group(1))
    low, high, mean = (number(match.group(i), f"{where}, {what}") for i, what in ((2, "min"), (3, "max"), (4, "avg")))
    if not low <= mean <= high:
        raise InvalidTable(
            f"{where}: a mean of {mean:g} ms is not between {low:g} and {high:g}", hint=f"Repair the line. {_HINT}"
        )
    return name, low, high, mean


def _name(run: _Run) -> str:
    """What tells a run from others."""
    found = {"threads": "num_threads", "powersave": "powersave", "gpu": "gpu_device"}
    parts = [f"{ours}={run.settings[theirs]}" for ours, theirs in found.items() if theirs in run.settings]
    return ";".join([run.section or "run", *parts])


def _rows(run: _Run, name: str) -> Iterator[Row]:
    gpu = run.settings.get("gpu_device", "")
    unit = "" if not gpu else "CPU" if gpu.startswith("-") else "GPU"
    numbers = {ours: float(run.settings[theirs]) for ours, theirs in _NUMBERS.items() if theirs in run.settings}
    for model, low, high, mean in run.times:
        yield Row(
            name=f"{model}@{name}" if name else model,
            ms=mean,
            count=numbers.get("loops", float("nan")),
            labels={
                "model": model,
                "device": run.section,
                "unit": unit,
                "provider": run.gpus.get(gpu, ""),
                "cores": _POWERSAVE.get(run.settings.get("powersave", ""), ""),
            },
            numbers={**{key: value for key, value in numbers.items() if key != "loops"}, "min_ms": low, "max_ms": high},
        )


_NUMBERS = {"loops": "loop_count", "threads": "num_threads"}
