"""Measure networks again and again in separate invocations: do values repeat, and do intervals say how well?

Every invocation is `hwnas profile` in a process and a store of its own. For each pair of invocations: the disagreement
of the values, and whether the interval of one covers the value of the other. With `--load` the machine changes in
between: every second invocation runs while others multiply matrices and stream memory on the other CPUs; with
`--contend` on the measured one, too, and it is told how often intervals of degraded values reach what calm ones say.
Run: `python -m benchmarks.repeatability`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import profiler
from benchmarks.machine import machine
from profiler.summary import measurements

_BUSY = """
import os, sys, numpy as np
os.sched_setaffinity(0, {int(sys.argv[1])})
a = np.ones((256, 256), np.float32)
source, target = np.ones(1 << 23), np.empty(1 << 23)
while True:
    a @ a
    np.copyto(target, source)
"""


def invoke(arguments: argparse.Namespace, store: Path) -> None:
    """One invocation."""
    command = [sys.executable, "-m", "hwnas", "profile", arguments.target, "--space", arguments.space]
    command += ["--samples", str(arguments.networks), "--store", str(store), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def busy_neighbours(*, contend: bool) -> Iterator[None]:
    """Keep every CPU busy; without `contend` all but the last, which single-threaded targets are pinned to."""
    cpus = sorted(os.sched_getaffinity(0))
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _BUSY]
    others = [subprocess.Popen([*command, str(cpu)], env=environment) for cpu in (cpus if contend else cpus[:-1])]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def agreement(value: np.ndarray, low: np.ndarray, high: np.ndarray, pairs: list[tuple[int, int]]) -> dict[str, Any]:
    """How well pairs of invocations agree; all arrays are `(invocations, networks)`."""
    difference = np.array([np.abs(value[a] - value[b]) / (0.5 * (value[a] + value[b])) for a, b in pairs])
    covered = np.array([(low[i] <= value[j]) & (value[j] <= high[i]) for a, b in pairs for i, j in ((a, b), (b, a))])
    return {
        "pairs": len(pairs),
        "median_disagreement": float(np.median(difference)),
        "p90_disagreement": float(np.quantile(difference, 0.9)),
        "worst_disagreement": float(difference.max()),
        "coverage": float(covered.mean()),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="local-onnxruntime")
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--invocations", type=int, default=4)
    parser.add_argument("--load", action="store_true", help="keep the other CPUs busy in every second invocation")
    parser.add_argument("--keep", type=Path, help="keep the stores in this folder, for benchmarks.estimators")
    parser.add_argument("--contend", action="store_true", help="as --load, and the measured CPU as well")
    arguments = parser.parse_args()
    loaded = arguments.load or arguments.contend
    latencies, typical, device_s = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.invocations):
            path = (arguments.keep or Path(folder)) / f"{number}.db"
            with busy_neighbours(contend=arguments.contend) if loaded and number % 2 else contextlib.nullcontext():
                invoke(arguments, path)
            with profiler.Store(path, create=False) as store:
                conditions = store.require_conditions(arguments.target)
                found = sorted(measurements(store, conditions), key=lambda one: one.model)
                device_s.append(store.device_s(conditions))
            latencies.append([one.latency for one in found])
            typical.append(float(np.median([one.latency.typical_ms for one in found])))
    value = np.array([[one.value_ms for one in row] for row in latencies])
    low = np.array([[one.low_ms for one in row] for row in latencies])
    high = np.array([[one.high_ms for one in row] for row in latencies])
    pairs = list(itertools.combinations(range(len(value)), 2))
    result = {
        "benchmark": "repeatability",
        "space": arguments.space,
        "networks": arguments.networks,
        "invocations": arguments.invocations,
        "load_in_every_second": loaded,
        "contended": arguments.contend,
        "device_s": device_s,
        "median_typical_ms": typical,
        "degraded": [sum(one.state != "stable" for one in row) for row in latencies],
        "all": agreement(value, low, high, pairs),
        "mean_half_width": float(((high - low) / 2 / value).mean()),
        "machine": machine(),
    }
    if loaded:
        calm = np.median(value[::2], axis=0)
        degraded = np.array([[one.state != "stable" for one in row] for row in latencies[1::2]])
        reached = (low[1::2] <= calm) & (calm <= high[1::2])
        result["degraded_under_load"] = {
            "values": int(degraded.sum()),
            "reach_calm": float(reached[degraded].mean()) if degraded.any() else None,
            "calm_over_value": np.quantile((calm / value[1::2])[degraded], [0.0, 0.1, 0.5, 0.9, 1.0]).tolist()
            if degraded.any()
            else None,
            "stable_reach_calm": float(reached[~degraded].mean()) if (~degraded).any() else None,
        }
        across = [(a, b) for a, b in pairs if (a - b) % 2]
        result["calm_against_loaded"] = agreement(value, low, high, across)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
