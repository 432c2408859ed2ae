"""Do shared weights rank networks as trainings alone do? Spearman's correlation, beside that of parameters and of MACs.

`python -m benchmarks.shared_weights`: one supernet, and networks trained alone on the same data, by the recipe of
`accuracy:trained`; run again, it goes on. On one thread about 20 minutes for the default.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import nas
from benchmarks.machine import machine
from nas.evaluators.counted import Counted
from nas.objectives import Objective
from nas.weights import alone, data, images, training
from nas.weights.data.protocol import Wanted
from nas.weights.training import TrainingPlan

#: Four layers with nine operators each; behind them nothing but the last stages' skips.
SPACE = "chain:layers=1,resolution=32,width=25,classes=10,image_channels=1@layer5=skip@layer6=skip@layer7=skip"


def trained_alone(space: Any, archs: Any, options: argparse.Namespace) -> np.ndarray[Any, Any]:
    """Accuracy of each network, `(replicates, n)`, on the validation images."""
    digits = data.load(options.data, Wanted.of(space), seed=0)
    found = np.zeros((options.replicates, len(archs)))
    for replicate, row in np.ndindex(found.shape):
        recipe = alone.Recipe(epochs=options.epochs, replicate=replicate)
        done = alone.train(
            space.assembly(archs[row]).to_module, digits, recipe,
            checkpoint=options.output / f"alone.{row}.r{replicate}e{options.epochs}.safetensors",
            about=f"{space.spec} {archs[row].tolist()}",
        )  # fmt: skip
        found[replicate, row] = done.score.value
    return found


def correlation(one: Any, other: Any) -> float:
    """Spearman's."""
    return float(spearmanr(one, other).statistic)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default=SPACE)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--steps", type=int, default=1500, help="minibatches of the supernet")
    parser.add_argument("--trainer", default="uniform")
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--replicates", type=int, default=2, help="trainings alone of each")
    parser.add_argument("--epochs", type=int, default=10, help="of a training alone")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/shared_weights"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    space = nas.spaces.load(options.space)
    options.output.mkdir(parents=True, exist_ok=True)
    pictures = images.load(options.data, space.input_shape, seed=0)
    start = time.monotonic()
    supernet = training.train(
        space, pictures, TrainingPlan(steps=options.steps, trainer=options.trainer),
        checkpoint=options.output / "supernet.safetensors",
    )  # fmt: skip
    seconds = time.monotonic() - start
    archs = space.canonical(space.sample(options.networks, np.random.default_rng(5)))
    shared = np.array([training.accuracy(training.inherit(supernet, arch, pictures), pictures.valid) for arch in archs])
    every = trained_alone(space, archs, options)
    true = every.mean(axis=0)
    counts = {
        name: Counted(Objective(name, "", False, "counted", name), space).evaluate(archs).value
        for name in ("params", "macs")
    }
    answer = {
        "benchmark": "shared_weights", "space": space.spec, "steps": options.steps, "trainer": options.trainer,
        "supernet_s": seconds, "networks": len(archs), "replicates": options.replicates, "epochs": options.epochs,
        "accuracy": {
            name: {"mean": float(rows.mean()), "least": float(rows.min()), "most": float(rows.max())}
            for name, rows in (("shared", shared), ("alone", true))
        },
        "spearman_with_alone": {
            "shared": correlation(shared, true), **{name: correlation(rows, true) for name, rows in counts.items()},
        },
        "spearman_of_two_trainings": correlation(*every[:2]) if len(every) > 1 else None,
        "machine": machine(),
    }  # fmt: skip
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
