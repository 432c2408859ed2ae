"""What compiling the networks of a space costs: ms a network on one core, by stage, and what stages leave.

Stages: `stitch` puts a network together, `fuse` is the runtime's optimiser, `read` reads what it made, `wires` codes
it; `rest` is files and bookkeeping. Times are of the CPU, so neighbours count little; blocks are exported before.
Run: `python -m benchmarks.compiling`. With `--before FOLDER`, a checkout of an older revision, the code there compiles
the same networks at the same time, on a CPU of its own, and the share that is left is said:

    python -m benchmarks.compiling --space nasbench201 --networks 5259 --before FOLDER
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import nas
from benchmarks.machine import machine
from device_profiles.cache import cache_folder
from profiler import catalogue, compiling, runtimes

SPACES = ("nasbench201", "mobilenetv3")
STAGES = {
    "stitch": (compiling, "stitch_for_compiling"),
    "read": (compiling, "read_fused"),
    "wires": (catalogue, "to_wires"),
}


#: Networks that the blocks of all are exported with; what else a space has is exported while the time runs.
_EXPORTING = 60
#: Compiles networks with the code of a folder: `argv` is the space, how many, the target, and a folder for blocks.
_WHOLE = f"""
import multiprocessing, sys, tempfile, time
from pathlib import Path
import numpy as np
import device_profiles, nas
from profiler import catalogue
space, count, blocks = nas.spaces.load(sys.argv[1]), int(sys.argv[2]), sys.argv[4]
target = device_profiles.load(sys.argv[3])
networks = [space.assembly(arch) for arch in space.sample(count, np.random.default_rng(0))]
def compiled(some):
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "blocks").symlink_to(blocks)
        catalogue.compile_all(some, target, cache=Path(place), workers=1)
apart = multiprocessing.get_context("fork").Process(target=compiled, args=(networks[:{_EXPORTING}],))
apart.start()
apart.join()
start = time.process_time()
compiled(networks)
print(1e3 * (time.process_time() - start) / len(networks))
"""


def against(before: Path, spec: str, target: str, count: int) -> dict[str, float]:
    """CPU time of a network, ms, with the code of a folder and with this: both at once, each on a CPU of its own."""
    here = Path(__file__).parent.parent
    cpus = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        running = [
            subprocess.Popen(
                ["taskset", "-c", str(cpu), sys.executable, "-c", _WHOLE, spec, str(count), target, blocks],
                env=os.environ | {"PYTHONPATH": str(code.resolve())}, cwd=blocks, stdout=subprocess.PIPE, text=True,
            )
            for code, blocks, cpu in ((before, first, cpus[0]), (here, second, cpus[-1]))
        ]  # fmt: skip
        was, now = (float(process.communicate()[0].split()[-1]) for process in running)
    return {"before_ms": was, "now_ms": now, "left": now / was}


def timed(work: Callable[..., Any], spent: dict[str, float], stage: str) -> Callable[..., Any]:
    """The same function, which adds its CPU time to that of its stage."""

    def call(*arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return work(*arguments, **named)
        finally:
            spent[stage] += time.process_time() - start

    return call


def export(assemblies: Any, target: Any) -> None:
    """Put the exports of all blocks on disk, in a process of its own: nothing of it is remembered here."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "blocks").symlink_to(cache_folder() / "blocks")
        apart = multiprocessing.get_context("fork").Process(
            target=catalogue.compile_all, args=(assemblies, target), kwargs={"cache": Path(place), "workers": 1}
        )
        apart.start()
        apart.join()


def measured(spec: str, target: Any, count: int) -> dict[str, Any]:
    """One space: `count` random networks, compiled in this process into an empty cache of catalogues."""
    space = nas.spaces.load(spec)
    drawn = space.sample(count, np.random.default_rng(0))
    assemblies = [space.assembly(arch) for arch in drawn]
    runtime = type(runtimes.load(target.runtime.name))
    homes = {**STAGES, "fuse": (runtime, "fuse")}
    before = {stage: getattr(*home) for stage, home in homes.items()}
    spent = dict.fromkeys(homes, 0.0)
    with tempfile.TemporaryDirectory() as place:
        blocks = cache_folder() / "blocks"
        blocks.mkdir(parents=True, exist_ok=True)
        (Path(place) / "blocks").symlink_to(blocks)
        export(assemblies, target)
        for stage, (home, name) in homes.items():
            setattr(home, name, timed(before[stage], spent, stage))
        try:
            start, clock = time.process_time(), time.perf_counter()
            found = catalogue.compile_all(assemblies, target, cache=Path(place), workers=1)
            total, wall = time.process_time() - start, time.perf_counter() - clock
        finally:
            for stage, (home, name) in homes.items():
                setattr(home, name, before[stage])
    each = {stage: 1e3 * seconds / len(drawn) for stage, seconds in spent.items()}
    whole = 1e3 * total / len(drawn)
    return {
        "networks": len(drawn),
        "kernels_of_a_network": float(found.counts.sum(axis=1).mean()),
        "distinct_kernels": len(found.kernels),
        "ms": {**each, "rest": whole - sum(each.values()), "total": whole, "elapsed": 1e3 * wall / len(drawn)},
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="local-onnxruntime")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--space", action="append", help="a space; several times")
    parser.add_argument("--before", type=Path, help="a checkout of an older revision")
    arguments = parser.parse_args()
    if arguments.before:
        found = {
            spec: against(arguments.before, spec, arguments.target, arguments.networks)
            for spec in arguments.space or SPACES
        }
        print(json.dumps({"benchmark": "compiling", "against": found, "machine": machine()}, indent=1))
        return
    target = device_profiles.load(arguments.target)
    spaces = {spec: measured(spec, target, arguments.networks) for spec in arguments.space or SPACES}
    print(json.dumps({"benchmark": "compiling", "spaces": spaces, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
