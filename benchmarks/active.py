"""Does choosing what to measure save device time?

Measures a pool of networks once, then asks how good predictions would be had only some of them been measured: a random
choice, or that of `predictors.active.choose`. Device time is in proportion to the number of networks.

    python -m benchmarks.active [--keep FOLDER] [--pool 100] [--seeds 6]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import profiler
from benchmarks import unseen
from benchmarks.machine import machine
from predictors import active, registry, samples

SIZES = (3, 4, 6, 8, 12, 16, 24, 32, 48)
HELD = 30


def curves(path: Path, seeds: int) -> dict[str, list[float]]:
    """Mean error at networks held out, by the number of networks learned from."""
    found: dict[str, list[list[float]]] = {"random": [], "chosen": []}
    with profiler.Store(path, create=False) as store:
        conditions = store.require_conditions(unseen.TARGET)
        networks = samples.networks(store, conditions)
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(networks.ids))
            held, rest = order[:HELD], order[HELD:]
            test = networks.take(held.tolist())
            chosen = active.choose([networks.graphs[i] for i in rest], [], max(SIZES))
            for way, picked in (("random", rest), ("chosen", rest[chosen])):
                errors = []
                for size in SIZES:
                    train = networks.take(picked[:size].tolist())
                    kernels = samples.kernels(store, conditions, train.ids)
                    name = active.PREDICTOR if len(kernels.operators) >= 2 * active.BATCH else active.FIRST_PREDICTOR
                    guess = registry.get(name).fit(kernels, train, sure=False).predict(test.graphs).value
                    errors.append(float(np.mean(np.abs(guess - test.cost) / test.cost)))
                found[way].append(errors)
    return {way: np.mean(errors, axis=0).tolist() for way, errors in found.items()}


def networks_for(error: float, curve: list[float]) -> float:
    """Networks after which a curve is at most this, between sizes by interpolation; the largest size if never."""
    best = np.minimum.accumulate(curve)
    if best[-1] > error:
        return float(SIZES[-1])
    at = int(np.argmax(best <= error))
    if at == 0:
        return float(SIZES[0])
    share = (best[at - 1] - error) / max(best[at - 1] - best[at], 1e-12)
    return float(SIZES[at - 1] + share * (SIZES[at] - SIZES[at - 1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder for the stores; a temporary one if not given")
    parser.add_argument("--pool", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=6)
    options = parser.parse_args()
    result = {"benchmark": "active", "sizes": SIZES, "held_out": HELD, "seeds": options.seeds, "machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for family in unseen.TRAIN:
            found = curves(unseen.measured(folder, family, options.pool, 1), options.seeds)
            # The error that random choice reaches with half of its networks, and at every size.
            ratios = {
                size: networks_for(error, found["chosen"]) / size
                for size, error in zip(SIZES, found["random"], strict=True)
            }
            result[family] = {**found, "share_of_networks_needed": ratios}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
