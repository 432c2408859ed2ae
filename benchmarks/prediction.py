"""Fit on a minute of device time, predict networks that were never measured before, then measure them.

Run: `python -m benchmarks.prediction`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

import device_profiles
import nas
import predictors
import profiler
from benchmarks.machine import machine
from nas.spaces.export import subject
from predictors import registry


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="local-onnxruntime")
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--budget", type=float, default=55.0, help="device seconds of the training measurements")
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--unseen", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the stores in this folder")
    arguments = parser.parse_args()
    target, space = device_profiles.load(arguments.target), nas.spaces.load(arguments.space)
    archs = space.sample(arguments.train + arguments.unseen, np.random.default_rng(arguments.seed))
    subjects = [subject(space, arch) for arch in archs]
    with (
        tempfile.TemporaryDirectory() as folder,
        profiler.Store((arguments.keep or Path(folder)) / "train.db") as train,
        profiler.Store((arguments.keep or Path(folder)) / "unseen.db") as unseen,
    ):
        budget = profiler.Budget(spread=0.005, device_s=arguments.budget)
        profiler.measure(subjects[: arguments.train], target=target, store=train, budget=budget)
        device_s = train.device_s(train.require_conditions(target.name))
        found = {}
        for name in registry.names_for("latency"):
            predictor = predictors.fit(name, train, target=target)
            predictor.save(Path(folder) / name)
        profiler.measure(subjects[arguments.train :], target=target, store=unseen)
        for name in registry.names_for("latency"):
            evaluation = predictors.evaluate(predictors.load(Path(folder) / name), unseen)
            found[name] = asdict(evaluation.scores)
            noise = evaluation.noise_mape
    result = {
        "benchmark": "prediction",
        "space": arguments.space,
        "target": arguments.target,
        "device_s": device_s,
        "train": arguments.train,
        "unseen": arguments.unseen,
        "noise_mape": noise,
        "scores": found,
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
