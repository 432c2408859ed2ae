"""Measure networks again and again in separate invocations: do values repeat, and do intervals say how well?

Every invocation is `hwnas profile` in a process and a store of its own. For each pair of invocations: the disagreement
of the values, and whether the interval of one covers the value of the other. Run: `python -m benchmarks.repeatability`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import profiler
from benchmarks.machine import machine
from profiler.summary import measurements


def invoke(arguments: argparse.Namespace, store: Path) -> None:
    """One invocation."""
    command = [sys.executable, "-m", "hwnas", "profile", arguments.target, "--space", arguments.space]
    command += ["--samples", str(arguments.networks), "--store", str(store), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="local-onnxruntime")
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--invocations", type=int, default=4)
    parser.add_argument("--keep", type=Path, help="keep the stores in this folder, for benchmarks.estimators")
    arguments = parser.parse_args()
    values, lows, highs, states, device_s = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.invocations):
            path = (arguments.keep or Path(folder)) / f"{number}.db"
            invoke(arguments, path)
            with profiler.Store(path, create=False) as store:
                conditions = store.require_conditions(arguments.target)
                found = sorted(measurements(store, conditions), key=lambda one: one.model)
                device_s.append(store.device_s(conditions))
            values.append([one.latency.value_ms for one in found])
            lows.append([one.latency.low_ms for one in found])
            highs.append([one.latency.high_ms for one in found])
            states.append(sum(one.latency.state != "stable" for one in found))
    value, low, high = np.array(values), np.array(lows), np.array(highs)
    pairs = []
    for a, b in itertools.combinations(range(len(value)), 2):
        difference = np.abs(value[a] - value[b]) / (0.5 * (value[a] + value[b]))
        covered = [float(((low[i] <= value[j]) & (value[j] <= high[i])).mean()) for i, j in ((a, b), (b, a))]
        pairs.append((difference, np.mean(covered)))
    everything = np.concatenate([difference for difference, _ in pairs])
    result = {
        "benchmark": "repeatability",
        "space": arguments.space,
        "networks": arguments.networks,
        "invocations": arguments.invocations,
        "device_s": device_s,
        "degraded": states,
        "median_disagreement": float(np.median(everything)),
        "p90_disagreement": float(np.quantile(everything, 0.9)),
        "worst_disagreement": float(everything.max()),
        "median_disagreement_of_pairs": [float(np.median(difference)) for difference, _ in pairs],
        "coverage": float(np.mean([covered for _, covered in pairs])),
        "coverage_of_pairs": [float(covered) for _, covered in pairs],
        "mean_half_width": float(((high - low) / 2 / value).mean()),
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
