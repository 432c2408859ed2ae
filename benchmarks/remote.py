"""Is a network as fast through a link as it is here? The same networks by both ways, in turns.

    python -m benchmarks.remote TARGET.toml [--networks 10] [--rounds 3]

TARGET is this machine behind ssh (`hwnas devices add loop --ssh localhost`, then `deploy`). In each round both targets
measure all networks in stores of their own, the order changing; told are the ratio of medians for each network,
and what a job costs besides its measuring.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import nas
import profiler
from benchmarks.machine import machine
from device_profiles.profile import Target
from nas.spaces.export import subject
from profiler import transports
from profiler.agent.job import Job, JobPlan

SPACE = "nasbench201"
#: What is asked for: the median of ratios, and seconds of a job beside its measuring.
RATIO, OVERHEAD_S = 0.03, 1.0


def measured(target: Target, subjects: list[Any], store: Path, seed: int) -> dict[str, float]:
    """Latency of each, in ms."""
    budget = profiler.Budget(max_processes=3, profile_runs=0, memory=False)
    with profiler.Store(store) as opened:
        found = profiler.measure(subjects, target=target, store=opened, budget=budget, seed=seed)
    return {one.model: one.latency.value_ms for one in found.measurements}


def overhead_s(target: Target) -> float:
    """What a job without models takes through the link more than here."""
    taken = {}
    for name, chosen in (("there", target), ("here", device_profiles.load("local-onnxruntime"))):
        transport, times = transports.of(chosen), []
        with tempfile.TemporaryDirectory() as place:
            Job("nonce", "onnxruntime", (), plan=JobPlan(seconds=0.1)).write(Path(place) / "job.json")
            for _ in range(5):
                start = time.monotonic()
                list(transport.run(Path(place), {}, lambda: 120.0))
                times.append(time.monotonic() - start)
        taken[name] = sorted(times)[2]
    return taken["there"] - taken["here"]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    there, here = device_profiles.load(options.target), device_profiles.load("local-onnxruntime")
    space = nas.spaces.load(SPACE)
    subjects = [subject(space, arch) for arch in space.sample(options.networks, np.random.default_rng(5))]
    values: dict[str, list[dict[str, float]]] = {"there": [], "here": []}
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.rounds):
            ways = [("there", there), ("here", here)]
            for name, target in ways if number % 2 else ways[::-1]:
                values[name].append(measured(target, subjects, Path(place) / f"{name}{number}.db", number))
    ratios = [
        float(np.median([one[model] for one in values["there"]]) / np.median([one[model] for one in values["here"]]))
        for model in values["here"][0]
    ]
    apart, cost_s = float(np.median(np.abs(np.array(ratios) - 1.0))), overhead_s(there)
    found = {
        "benchmark": "remote",
        "machine": machine(),
        "networks": len(ratios),
        "median_apart": apart,
        "ratios": sorted(ratios),
        "job_overhead_s": cost_s,
        "reached": {"apart": apart <= RATIO, "overhead": cost_s <= OVERHEAD_S},
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
