"""Costs that torch can differentiate: errors on NAS-Bench-201 with one device left out at a time, and speed.

Each device in turn is unseen: the cost is conditioned on the other 20 and gets 10 latencies of it. Beside it, on the
same 10 samples: the prior without its network; a Bayesian linear model of main effects with fixed scales; the mean of
the sources, scaled. Then one device by itself from 900 cells, how far the cost at probabilities is from the mean over
sampled architectures, and how fast 22 genes of 9 options are predicted on one thread.

Run: `python -m benchmarks.differentiable shared/data/nasbench201.csv.gz`.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import csv
import gzip
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import nas
from benchmarks.machine import machine
from predictors.differentiable import ConditionedCost, NetworkCost
from predictors.differentiable._prior import Prior
from predictors.differentiable.protocol import floor_of
from predictors.differentiable.surface import Network

CHOICES = (5,) * 6
#: Scales of the linear baseline: sources' deviations as they are, own main effects, next to no pairs, 5 % of noise.
FIXED = np.array([[1.0, 0.1, 1e-6, 0.05]])
#: Tables of whole milliseconds.
COARSE = ("essential_ph_1", "samsung_a50", "samsung_s7")


def read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All cells, and by device their latencies in ms, no less than 0.3 times the 5th percentile."""
    space = nas.spaces.load("nasbench201")
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    archs = np.array([space.parse(row["arch"]) for row in rows])
    names = [name for name in rows[0] if name.startswith("latency_ms.")]
    tables = {name.partition(".")[2]: np.array([float(row[name]) for row in rows]) for name in names}
    return archs, {name: np.maximum(values, floor_of(values)) for name, values in tables.items()}


def scores(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """Spearman and mean relative error."""
    return [float(spearmanr(found, truth)[0]), float(np.mean(np.abs(found - truth) / truth))]


def unseen(archs: np.ndarray, tables: dict[str, np.ndarray], device: str, seed: int) -> dict[str, Any]:
    """One device left out."""
    truth = tables[device]
    others = {name: (archs, values) for name, values in tables.items() if name != device}
    start = time.perf_counter()
    cost = ConditionedCost.fit(CHOICES, others, seed=seed)
    took = time.perf_counter() - start
    place = {arch.tobytes(): row for row, arch in enumerate(archs)}
    rows = [place[arch.tobytes()] for arch in cost.references]
    known = truth[rows]
    scale = float(np.exp(np.log(known).mean()))
    linear = Prior(CHOICES, cost.references, cost.prior.surfaces, FIXED)
    effects, pairs, _ = linear.posterior((known / scale)[None])
    mean = np.mean([values / np.exp(np.log(values[rows]).mean()) for _, values in others.values()], axis=0)
    plain = replace(cost, joint=replace(cost.joint, learned=None))
    return {
        "conditioned": scores(cost.predict(archs, known).value, truth),
        "prior alone": scores(plain.predict(archs, known).value, truth),
        "Bayesian linear": scores(np.maximum(scale * linear.values(effects, pairs, archs)[0], floor_of(truth)), truth),
        "mean of sources": scores(scale * mean, truth),
        "kept": cost.has_network,
        "fit_s": took,
    }


def alone(archs: np.ndarray, tables: dict[str, np.ndarray], count: int) -> dict[str, Any]:
    """One device from `count` cells: scores on the others, main effects beside; and the gap inside of the simplex."""
    found: dict[str, list[list[float]]] = {"network": [], "main effects": [], "gap": [], "gap of main effects": []}
    rng = np.random.default_rng(0)
    for truth in tables.values():
        order = rng.permutation(len(archs))
        fitted, left = order[:count], order[count:]
        cost = NetworkCost.fit(CHOICES, archs[fitted], truth[fitted])
        plain = replace(cost, surface=replace(cost.surface, network=None))
        found["network"].append(scores(cost.predict(archs[left]).value, truth[left]))
        found["main effects"].append(scores(plain.predict(archs[left]).value, truth[left]))
        shares = rng.dirichlet(np.ones(5), size=(50, 6))
        chances = np.prod([shares[:, gene][:, archs[:, gene]] for gene in range(6)], axis=0)
        for name, tried in (("gap", cost), ("gap of main effects", plain)):
            soft = tried([torch.from_numpy(shares[:, gene]) for gene in range(6)]).numpy()
            expected = chances @ tried.predict(archs).value
            found[name].append([float(np.mean(np.abs(soft - expected) / expected))])
    return {name: np.mean(values, axis=0).tolist() for name, values in found.items()}


def large(count: int) -> tuple[NetworkCost, dict[str, Any]]:
    """22 genes of 9 options with pairs of neighbours, from `count` architectures, and what is held out says of it."""
    rng = np.random.default_rng(0)
    main, pairs = rng.uniform(0.1, 1, (22, 9)), rng.normal(0, 0.3, (21, 9, 9))
    archs = rng.integers(0, 9, (count, 22))
    value = 8.0 + sum(main[g][archs[:, g]] for g in range(22))
    value = value + sum(pairs[g][archs[:, g], archs[:, g + 1]] for g in range(21))
    start = time.perf_counter()
    cost = NetworkCost.fit((9,) * 22, archs, np.maximum(value, 0.5))
    took = time.perf_counter() - start
    errors = {"error": cost.error, "main effects": cost.linear_error}
    return cost, {**errors, "has_network": cost.has_network, "fit_s": took}


def speed(cost: NetworkCost, rows: int = 200_000) -> float:
    """Architectures of 22 genes with 9 options a second, lowest of seven times, on one thread, with a network."""
    rng = np.random.default_rng(0)
    sizes = ((64,), (64, 64), (64,), (64,), (1,))
    network = Network(rng.normal(size=(198, 64)), tuple(rng.normal(size=size) for size in sizes))
    if not cost.has_network:
        cost = replace(cost, surface=replace(cost.surface, network=network, spread=0.1))
    many, times = rng.integers(0, 9, (rows, 22)), []
    for _ in range(7):
        start = time.perf_counter()
        cost.predict(many)
        times.append(time.perf_counter() - start)
    return rows / min(times)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    archs, tables = read(arguments.table)
    runs = {device: [unseen(archs, tables, device, s) for s in range(arguments.seeds)] for device in tables}
    names = ("conditioned", "prior alone", "Bayesian linear", "mean of sources")
    flat = [run for of_device in runs.values() for run in of_device]
    fine = [run for device, of_device in runs.items() for run in of_device if device not in COARSE]
    result = {
        "benchmark": "differentiable",
        "seeds": arguments.seeds,
        "unseen": {name: np.mean([run[name] for run in flat], axis=0).tolist() for name in names},
        "unseen without whole milliseconds": {
            name: np.mean([run[name] for run in fine], axis=0).tolist() for name in names
        },
        "devices": {
            device: {name: np.mean([run[name] for run in of_device], axis=0).tolist() for name in names}
            for device, of_device in runs.items()
        },
        "network kept": float(np.mean([run["kept"] for run in flat])),
        "fit_s": [float(np.median([run["fit_s"] for run in flat])), max(run["fit_s"] for run in flat)],
        "alone": {count: alone(archs, tables, count) for count in (300, 900, 5000)},
        "large": {count: large(count)[1] for count in (3000, 10_000, 30_000, 100_000)},
        "archs_per_s": speed(large(3000)[0]),
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
