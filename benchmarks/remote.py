"""Is a network as fast through a link as it is here? The same networks by both ways, in turns.

    python -m benchmarks.remote TARGET.toml [--networks 10] [--rounds 7]

TARGET is this machine behind ssh (`hwnas devices add loop --ssh localhost`, then `deploy`). Fresh processes of
both take turns over all networks; told are the ratios of medians of what each process's best block took, and what a
job costs besides its measuring.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import device_profiles
import nas
from benchmarks.machine import machine
from device_profiles.profile import Target
from nas.spaces.export import onnx_bytes
from profiler import transports
from profiler.agent.job import Candidate, Job, JobPlan
from profiler.conditions import conditions_of, worker_environment

SPACE = "nasbench201"
#: What is asked for: the median of ratios, and seconds of a job beside its measuring.
RATIO, OVERHEAD_S = 0.03, 1.0


def times_of(target: Target, folder: Path, names: list[str], seed: int) -> dict[str, float]:
    """Best of the blocks of each network in one fresh process, in ms of an inference."""
    job = Job(
        "nonce",
        "onnxruntime",
        tuple(Candidate(name, f"{name}.onnx") for name in names),
        plan=JobPlan(seed=seed, rounds=15, seconds=6.0),
        affinity=conditions_of(target).own.affinity,
    )
    job.write(folder / "job.json")
    found: dict[str, float] = {}
    for text in transports.of(target).run(folder, worker_environment(target, seed), lambda: 120.0):
        line = json.loads(text)
        if line["event"] == "block":
            taken = line["ns"] / line["calls"] / 1e6
            found[line["candidate"]] = min(taken, found.get(line["candidate"], taken))
    return found


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
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    there, here = device_profiles.load(options.target), device_profiles.load("local-onnxruntime")
    space = nas.spaces.load(SPACE)
    archs = space.sample(options.networks, np.random.default_rng(5))
    names = [f"m{number}" for number in range(len(archs))]
    values: dict[str, list[dict[str, float]]] = {"there": [], "here": []}
    with tempfile.TemporaryDirectory() as place:
        for name, arch in zip(names, archs, strict=True):
            (Path(place) / f"{name}.onnx").write_bytes(onnx_bytes(space, arch))
        for number in range(options.rounds):
            ways = [("there", there), ("here", here)]
            for name, target in ways if number % 2 else ways[::-1]:
                values[name].append(times_of(target, Path(place), names, number))
    ratios = [
        float(np.median([one[model] for one in values["there"]]) / np.median([one[model] for one in values["here"]]))
        for model in names
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
