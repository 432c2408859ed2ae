"""NSGA-II on the table of NAS-Bench-201 beside pymoo's NSGA-II and random search, in one run.

CIFAR-10 test accuracy after 200 epochs against the latency of one device; cells with an error of 90 % or more are
dropped, both axes are min-max normalised over the others, the reference is (1, 1). Run: `python -m
benchmarks.search_nasbench201`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

import nas
from benchmarks.machine import machine
from nas import indicators

DATA = Path(__file__).resolve().parents[2] / "shared/data/nasbench201.csv.gz"
REFERENCE = np.array([1.0, 1.0])


def table(path: Path, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Costs `(5, 5, 5, 5, 5, 5, 2)`, normalised, infinite where dropped; and the true front."""
    space = nas.spaces.load("nasbench201")
    costs = np.full((15625, 2), np.nan)
    weights = 5 ** np.arange(5, -1, -1)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            number = int(space.parse(row["arch"]) @ weights)
            costs[number] = 100.0 - float(row["accuracy.cifar10.test.200ep"]), float(row[f"latency_ms.{device}"])
    kept = costs[:, 0] < 90.0
    low, high = costs[kept].min(axis=0), costs[kept].max(axis=0)
    costs = (costs - low) / (high - low)
    costs[~kept] = 2.0  # beyond the reference: counts nothing
    front = costs[kept][indicators.nondominated(costs[kept])]
    return costs, front


def ours(name: str, costs: np.ndarray, budget: int, seed: int, batch: int, **problem: Any) -> np.ndarray:
    """Costs of what a strategy of ours evaluated."""
    weights = 5 ** np.arange(5, -1, -1)
    strategy = nas.strategies.create(name, choices=(5,) * 6, objectives=2, seed=seed, **problem)
    found = []
    while sum(map(len, found)) < budget:
        archs = strategy.ask(min(batch, budget - sum(map(len, found))))
        values = costs[archs @ weights]
        strategy.tell(archs, values)
        found.append(values)
    return np.concatenate(found)


class TableProblem(PymooProblem):
    """The table as pymoo sees it."""

    def __init__(self, costs: np.ndarray) -> None:
        super().__init__(n_var=6, n_obj=2, xl=0, xu=4, vtype=int)
        self.costs = costs
        self.seen: list[np.ndarray] = []

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        values = self.costs[x.astype(int) @ (5 ** np.arange(5, -1, -1))]
        self.seen.append(values)
        out["F"] = values


def pymoo_nsga2(costs: np.ndarray, budget: int, seed: int, population: int, operators: str) -> np.ndarray:
    """Costs of what pymoo's NSGA-II evaluated, duplicates eliminated."""
    problem = TableProblem(costs)
    if operators == "uniform":
        crossover, mutation = UX(prob=0.9), PM(prob=1.0, prob_var=1 / 6, eta=3.0, vtype=float, repair=RoundingRepair())
    else:
        crossover = SBX(prob=0.9, eta=15, vtype=float, repair=RoundingRepair())
        mutation = PM(prob=1.0, prob_var=1 / 6, eta=20.0, vtype=float, repair=RoundingRepair())
    algorithm = NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=crossover,
        mutation=mutation,
        eliminate_duplicates=True,
    )
    minimize(problem, algorithm, ("n_eval", budget), seed=seed, verbose=False)
    return np.concatenate(problem.seen)[:budget]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--device", default="1080ti_1")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=200)
    arguments = parser.parse_args()
    costs, front = table(arguments.data, arguments.device)
    true = indicators.hypervolume(front, REFERENCE)
    space = nas.spaces.load("nasbench201")
    budget = arguments.evaluations
    runs = {
        "hwnas nsga2": lambda seed: ours("nsga2", costs, budget, seed, 20),
        "hwnas nsga2, isomorphic cells once": lambda seed: ours(
            "nsga2", costs, budget, seed, 20, canonical=space.canonical, valid=space.is_valid
        ),
        "hwnas random": lambda seed: ours("random", costs, budget, seed, 20),
        "pymoo nsga2, population 20, uniform crossover": lambda seed: pymoo_nsga2(costs, budget, seed, 20, "uniform"),
        "pymoo nsga2, population 20, SBX and PM": lambda seed: pymoo_nsga2(costs, budget, seed, 20, "real"),
        "pymoo nsga2, population 40, uniform crossover": lambda seed: pymoo_nsga2(costs, budget, seed, 40, "uniform"),
    }
    results = {}
    for name, run in runs.items():
        ratios = [indicators.hypervolume(run(seed), REFERENCE) / true for seed in range(arguments.seeds)]
        results[name] = {
            "mean": float(np.mean(ratios)),
            "sd": float(np.std(ratios, ddof=1)),
            "min": float(np.min(ratios)),
        }
    print(
        json.dumps(
            {
                "benchmark": "search_nasbench201",
                "device": arguments.device,
                "evaluations": budget,
                "seeds": arguments.seeds,
                "true_hypervolume": true,
                "front_points": len(front),
                "hypervolume_ratio": results,
                "machine": machine(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
