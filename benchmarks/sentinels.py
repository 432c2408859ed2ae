"""Which workload sees what networks see, when neighbours share the caches? `python -m benchmarks.sentinels`.

Networks of a space and candidate workloads take turns in one process, pinned as campaigns are. A window stands for its
lower quartile, as a process does. A sentinel is of use where its windows follow those of the networks: what is printed
of each is how much they wander, their correlation, and the slope, which is what networks slow down by for each per cent
that the workload does. On a machine that does nothing else; but for neighbours on the same host, which is the point.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import device_profiles
import nas
from benchmarks.machine import machine
from nas.spaces.export import onnx_bytes
from profiler import runtimes
from profiler.agent.sentinel import sentinels
from profiler.conditions import conditions_of
from profiler.fusing import compile_for, runtime_options
from profiler.statistics import LOWER

NETWORKS, CALLS, WINDOW_S = 6, 4, 5.0
#: Products of squares, and of what 1x1 convolutions multiply: places, channels in, channels out.
SQUARES = (256, 512, 768)
CONVOLUTIONS = ((6400, 24, 72), (1600, 40, 240), (400, 112, 672), (100, 160, 960))
READ_MB = (0.5, 2.0, 8.0)


def workloads() -> dict[str, Callable[[], Any]]:
    """The candidates by name."""
    found: dict[str, Callable[[], Any]] = {f"sentinel {name}": one.run for name, one in sentinels().items()}
    for rows, inner, columns in (*((size, size, size) for size in SQUARES), *CONVOLUTIONS):
        left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
        out = np.empty((rows, columns), np.float32)
        found[f"product {rows}x{inner}x{columns}"] = lambda a=left, b=right, c=out: np.matmul(a, b, out=c)
    for megabytes in READ_MB:
        array = np.ones(int(megabytes * 2**18), np.float32)
        found[f"reading {megabytes:g} MB"] = lambda a=array: a.max()
    return found


def networks(target: str, spec: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Sessions of some networks of a space, ready to be called."""
    chosen, space = device_profiles.load(target), nas.spaces.load(spec)
    runtime, found = runtimes.load(chosen.runtime.name), {}
    for number, arch in enumerate(space.sample(NETWORKS, np.random.default_rng(0))):
        path = folder / f"{number}.onnx"
        path.write_bytes(onnx_bytes(space, arch))
        found[f"network {number}"] = runtime.load(compile_for(chosen, path), runtime_options(chosen)).call
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="local-openvino")
    parser.add_argument("--space", default="mobilenetv3:resolution=160,smallest=160,step=32")
    parser.add_argument("--seconds", type=float, default=150.0)
    options = parser.parse_args()
    os.sched_setaffinity(0, conditions_of(device_profiles.load(options.target)).own.affinity)
    with tempfile.TemporaryDirectory() as folder:
        measured = networks(options.target, options.space, Path(folder))
        windows = taken({**measured, **workloads()}, options.seconds)
    logs = {name: np.log(values / np.median(values)) for name, values in windows.items()}
    mean = np.mean([logs[name] for name in measured], axis=0)
    rows = {
        name: {
            "ms": float(np.median(windows[name])),
            "wanders": float(values.std()),
            "correlation": float(np.corrcoef(values, mean)[0, 1]),
            "slope": float(np.polyfit(values, mean, 1)[0]),
        }
        for name, values in logs.items()
    }
    about = {"target": options.target, "space": options.space, "windows": len(mean), "wanders": float(mean.std())}
    print(json.dumps({"benchmark": "sentinels", **about, "rows": rows, "machine": machine()}, indent=1))


def taken(works: dict[str, Callable[[], Any]], seconds: float) -> dict[str, np.ndarray]:
    """Of each work, in ms, the lower quartile of each window."""
    began = time.monotonic()
    windows: dict[int, dict[str, list[float]]] = {}
    while (now := time.monotonic() - began) < seconds:
        window = windows.setdefault(int(now / WINDOW_S), {name: [] for name in works})
        for name, run in works.items():
            run()  # what the one before left in the caches
            start = time.perf_counter_ns()
            for _ in range(CALLS):
                run()
            window[name].append((time.perf_counter_ns() - start) / CALLS / 1e6)
    return {name: np.array([np.quantile(one[name], LOWER) for one in windows.values()]) for name in works}


if __name__ == "__main__":
    main()
