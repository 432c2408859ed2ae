"""Subnetworks of once-for-all beside the same networks trained alone for as many steps."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

import nas
from nas.weights import extremes, images, training
from nas.weights.training import TrainingPlan

SPACE = "mobilenetv3:stages=3,layers=3,resolution=32,smallest=32,width=50,classes=10,image_channels=1"
TRAINERS = ("uniform", "sandwich", "shrinking")


def elastic(options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy on test images that took no part, for the largest, the smallest and random networks."""
    space = nas.spaces.load(SPACE)
    pictures = images.load("digits", space.input_shape, seed=0)
    found_ends = extremes.of(space)
    ends = [found_ends.largest, found_ends.smallest]
    archs = np.concatenate([ends, space.sample(max(options.networks - 2, 0), np.random.default_rng(2))])
    alone = []
    for number, arch in enumerate(archs):
        one = space.restrict({gene: (int(option),) for gene, option in enumerate(arch)})
        plan = TrainingPlan(steps=options.steps)
        net = training.train(one, pictures, plan, checkpoint=options.output / f"alone.{number}.safetensors")
        network = training.inherit(net, np.zeros(len(arch), dtype=np.int64), pictures)
        alone.append(training.accuracy(network, pictures.test))
    found: dict[str, Any] = {"space": space.spec, "steps": options.steps, "networks": len(archs), "alone": alone}
    print(json.dumps({"alone": alone}), flush=True)
    for trainer in options.trainer or TRAINERS:
        start = time.monotonic()
        plan = TrainingPlan(steps=options.steps, trainer=trainer)
        supernet = training.train(space, pictures, plan, checkpoint=options.output / f"{trainer}.safetensors")
        seconds = time.monotonic() - start
        shared = [training.accuracy(training.inherit(supernet, arch, pictures), pictures.test) for arch in archs]
        behind = np.array(alone) - np.array(shared)
        found[trainer] = {
            "train_s": seconds, "accuracy": shared, "behind_at_the_median": float(np.median(behind)),
            "most_behind": float(behind.max()),
        }  # fmt: skip
        print(json.dumps({trainer: found[trainer]}), flush=True)
    return found
