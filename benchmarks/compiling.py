"""What compiling the networks of a space costs: ms a network on one core, by stage, and what stages leave.

Stages: `stitch` puts a network together, `fuse` is the runtime's optimiser, `read` reads what it made, `wires` codes
it; `rest` is files and bookkeeping. Times are of the CPU, so neighbours count little; blocks are exported before.
Run: `python -m benchmarks.compiling`.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import json
import multiprocessing
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
    arguments = parser.parse_args()
    target = device_profiles.load(arguments.target)
    spaces = {spec: measured(spec, target, arguments.networks) for spec in arguments.space or SPACES}
    print(json.dumps({"benchmark": "compiling", "spaces": spaces, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
