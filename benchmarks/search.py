"""Every strategy on one protocol, beside pymoo and Optuna, in one run; prints all tables of "how good is the search".

NAS-Bench-201: CIFAR-10 test accuracy after 200 epochs against the latency of one device; cells with an error of 90 % or
more are dropped, both axes are min-max normalised over the others, the reference is (1, 1); the ratio is to the
hypervolume of the exact front. Strategies are asked for 10 at a time. Means over devices and seeds.

Run: `python -m benchmarks.search`; what was run before is kept in `--results` and not run again. `--only` runs some of
the parts: table, chain, noisy, speed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402

import nas  # noqa: E402
from benchmarks import opponents  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from nas import indicators  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared/data/nasbench201.csv.gz"
CHECKPOINTS = (25, 50, 100, 200, 400)
WEIGHTS = 5 ** np.arange(5, -1, -1)
CHOICES = (5,) * 6
REFERENCE = np.ones(2)


@dataclass(frozen=True)
class Entry:
    """One search that is compared.

    Attributes:
        label: in the tables.
        strategy: of ours, or `pymoo` or `optuna`.
        budget: evaluations.
        seeds: for each device.
        known: whether the latency is told as known.
        features: whether the space's features are.
        settings: of the strategy.
    """

    label: str
    strategy: str
    budget: int = 400
    seeds: int = 20
    known: bool = False
    features: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


ENTRIES = (
    Entry("random", "random"),
    Entry("local-search", "local-search"),
    Entry("regularised-evolution", "regularised-evolution"),
    Entry("nsga2", "nsga2"),
    Entry("nsga3", "nsga3"),
    Entry("moead", "moead"),
    Entry("nsca", "nsca"),
    Entry("scalarisation, chebyshev", "scalarisation", settings={"kind": "chebyshev"}),
    Entry("scalarisation, linear", "scalarisation", settings={"kind": "linear"}),
    Entry("scalarisation, chebyshev, latency known", "scalarisation", known=True, settings={"kind": "chebyshev"}),
    Entry("nsganet", "nsganet"),
    Entry("nsganetv2", "nsganetv2", budget=200, seeds=1),
    Entry("nsganetv2, latency known", "nsganetv2", budget=200, seeds=1, known=True),
    Entry("nat", "nat", budget=200, seeds=1),
    Entry("nat, latency known", "nat", budget=200, seeds=1, known=True),
    Entry("auto, nothing known", "auto", budget=200, seeds=2),
    Entry("auto, latency known", "auto", budget=200, known=True),
    Entry("auto, latency known, features", "auto", budget=200, known=True, features=True),
    *(
        Entry(
            f"pymoo nsga2, population {population}, {operators}",
            "pymoo",
            settings={"population": population, "operators": operators},
        )
        for population in (20, 40, 100)
        for operators in ("uniform", "real")
    ),
    Entry("optuna nsga2, population 20", "optuna", seeds=5, budget=200, settings={"sampler": "nsga2"}),
    Entry("optuna tpe", "optuna", seeds=5, budget=200, settings={"sampler": "tpe"}),
)


@cache
def columns(path: Path) -> dict[str, np.ndarray]:
    """The table by column, rows by the number of their cell, and the space's features."""
    space = nas.spaces.load("nasbench201")
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = np.array([int(space.parse(row["arch"]) @ WEIGHTS) for row in rows])
    found = {}
    for name in rows[0]:
        if name != "arch":
            found[name] = np.empty(len(rows))
            found[name][numbers] = [float(row[name]) for row in rows]
    cells = np.stack(np.unravel_index(np.arange(len(rows)), CHOICES), axis=1).astype(np.int64)
    return {**found, "features": space.features(cells)}


def devices(path: Path) -> list[str]:
    """Devices of the table."""
    return [name.removeprefix("latency_ms.") for name in columns(path) if name.startswith("latency_ms.")]


@cache
def normalised(path: Path, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Costs `(15625, 2)` of the report, beyond the reference where dropped; and the exact front."""
    table = columns(path)
    error = 100.0 - table["accuracy.cifar10.test.200ep"]
    costs = np.stack([error, table[f"latency_ms.{device}"]], axis=1)
    kept = error < 90.0
    low, high = costs[kept].min(axis=0), costs[kept].max(axis=0)
    costs = (costs - low) / (high - low)
    front = costs[kept][indicators.nondominated(costs[kept])]
    costs[~kept] = 2.0
    return costs, front


def searched(entry: Entry, path: Path, device: str, seed: int, column: str = "test.200ep") -> tuple[np.ndarray, float]:
    """Numbers of the cells that a search evaluated, in order, and the seconds it took."""
    table = columns(path)
    error, latency = 100.0 - table[f"accuracy.cifar10.{column}"], table[f"latency_ms.{device}"]

    def costs(archs: np.ndarray) -> np.ndarray:
        numbers = archs @ WEIGHTS
        return np.stack([error[numbers], latency[numbers]], axis=1)

    began = time.perf_counter()
    if entry.strategy == "pymoo":
        found = opponents.pymoo_nsga2(costs, CHOICES, entry.budget, seed, **entry.settings)
    elif entry.strategy == "optuna":
        found = opponents.optuna(costs, CHOICES, entry.budget, seed, **entry.settings)
    else:
        found = ours(
            entry,
            costs,
            CHOICES,
            seed,
            known={1: lambda archs: latency[archs @ WEIGHTS]} if entry.known else None,
            features=(lambda archs: table["features"][archs @ WEIGHTS]) if entry.features else None,
        )
    return found @ WEIGHTS, time.perf_counter() - began


def ours(
    entry: Entry, costs: Callable[[np.ndarray], np.ndarray], choices: Any, seed: int, **problem: Any
) -> np.ndarray:
    """Genomes that a strategy of ours evaluated."""
    strategy = nas.strategies.create(
        entry.strategy, choices=choices, objectives=2, seed=seed, **problem, **entry.settings
    )
    found: list[np.ndarray] = []
    while (missing := entry.budget - sum(map(len, found))) > 0:
        archs = strategy.ask(min(10, missing))
        strategy.tell(archs, costs(archs))
        found.append(archs)
    return np.concatenate(found)


def cell(entry: Entry, path: Path, device: str, seed: int, column: str) -> dict[str, Any]:
    """One run of the table, scored at the checkpoints."""
    numbers, seconds = searched(entry, path, device, seed, column)
    costs, front = normalised(path, device)
    true = indicators.hypervolume(front, REFERENCE)
    scores = {}
    for count in CHECKPOINTS:
        if count <= len(numbers):
            points = costs[numbers[:count]]
            kept = np.unique(points[indicators.nondominated(points)], axis=0)
            scores[str(count)] = {
                "ratio": indicators.hypervolume(points, REFERENCE) / true,
                "recall": indicators.recall(points, front),
                "igd_plus": indicators.igd_plus(points, front),
                "epsilon": indicators.additive_epsilon(points, front),
                "distinct": len(kept),
            }
    return {
        "label": entry.label,
        "column": column,
        "device": device,
        "seed": seed,
        "settings": _key(entry),
        "seconds": seconds,
        "scores": scores,
    }


def chain(name: str, seed: int) -> dict[str, Any]:
    """22 genes of 9 options: an accuracy of main effects and interactions, and a latency that is a sum."""
    rng = np.random.default_rng([seed, 22])
    genes, options = 22, 9
    latency = rng.gamma(2.0, 1.0, size=(genes, options))
    main = (
        0.6 * rng.normal(size=(genes, options)) + 0.8 * (latency - latency.mean(axis=1, keepdims=True)) / latency.std()
    )
    pairs = np.array([rng.choice(genes, 2, replace=False) for _ in range(60)])
    tables = 0.5 * rng.normal(size=(60, options, options))
    place = np.arange(genes)

    def score(archs: np.ndarray) -> np.ndarray:
        total = main[place, archs].sum(axis=1)
        for (left, right), table in zip(pairs, tables, strict=True):
            total = total + table[archs[:, left], archs[:, right]]
        return np.asarray(total)

    sample = rng.integers(0, options, size=(20_000, genes))
    centre, spread = score(sample).mean(), score(sample).std()

    def costs(archs: np.ndarray) -> np.ndarray:
        error = 5 + 30 / (1 + np.exp(0.5 * (score(archs) - centre) / spread))
        return np.stack([error, latency[place, archs].sum(axis=1)], axis=1)

    entry = Entry(name, name, budget=1000 if name == "nsga2" else 200, known=True)
    began = time.perf_counter()
    known = {1: lambda archs: latency[place, archs].sum(axis=1)}
    found = costs(ours(entry, costs, (options,) * genes, seed, known=known if name == "auto" else None))
    seconds = time.perf_counter() - began
    low = np.array([5.0, latency.min(axis=1).sum()])
    high = np.array([35.0, latency.max(axis=1).sum()])
    volumes = {
        str(count): indicators.hypervolume((found[:count] - low) / (high - low), REFERENCE)
        for count in (100, 200, 1000)
        if count <= len(found)
    }
    return {"label": f"chain {name}", "seed": seed, "seconds": seconds, "volumes": volumes}


def speed() -> dict[str, Any]:
    """Overhead of our own code, beside pymoo's in the same run; medians of three."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.optimize import minimize

    weights = np.random.default_rng(0).random((2, 20, 9))

    def costs(archs: np.ndarray) -> np.ndarray:
        return np.stack([table[np.arange(20), archs].sum(axis=1) for table in weights], axis=1)

    def mine() -> None:
        strategy = nas.strategies.create("nsga2", choices=(9,) * 20, objectives=2, seed=0, population=100)
        for _ in range(1000):
            archs = strategy.ask(100)
            strategy.tell(archs, costs(archs))

    def theirs() -> None:
        problem = opponents._pymoo_problem(costs, (9,) * 20)
        minimize(problem, NSGA2(pop_size=100), ("n_eval", 100_000), seed=0, verbose=False)

    points = np.random.default_rng(0).random((10_000, 3))
    shell = points / np.linalg.norm(points, axis=1, keepdims=True)
    jobs = {
        "nsga2, 100,000 evaluations, population 100": mine,
        "pymoo nsga2, the same": theirs,
        "hypervolume of 10,000 points of 3 objectives": lambda: indicators.hypervolume(points, np.ones(3)),
        "hypervolume of 10,000 points of a front of 3 objectives": lambda: indicators.hypervolume(shell, np.ones(3)),
    }
    found = {}
    for label, job in jobs.items():
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            job()
            seconds.append(time.perf_counter() - began)
        found[label] = float(np.median(seconds))
    return found


def _key(entry: Entry) -> str:
    plain = asdict(entry)
    return json.dumps(
        {key: plain[key] for key in ("strategy", "budget", "known", "features", "settings")}, sort_keys=True
    )


def run(tasks: list[tuple[Any, ...]], results: Path, workers: int) -> list[dict[str, Any]]:
    """Run what `results` does not hold yet; each row is written when it is there."""
    results.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(row["label"], row.get("column"), row.get("device"), row["seed"], row.get("settings")) for row in rows}
    missing = [task for task in tasks if _name(task) not in done]
    with ProcessPoolExecutor(workers) as pool, results.open("a") as file:
        for future in as_completed([pool.submit(*task) for task in missing]):
            row = future.result()
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    return rows


def _name(task: tuple[Any, ...]) -> tuple[Any, ...]:
    if task[0] is chain:
        return f"chain {task[1]}", None, None, task[2], None
    _, entry, _, device, seed, column = task
    return entry.label, column, device, seed, _key(entry)


def table(rows: list[dict[str, Any]], column: str) -> None:
    """Means over devices and seeds."""
    print(f"\nNAS-Bench-201, searched by {column}: hypervolume ratio, mean (least); recall of the true front")
    heads = [f"@{count}" for count in CHECKPOINTS] + ["recall @100", "recall @200", "igd+ @200", "s", "runs"]
    print("| | " + " | ".join(heads) + " |\n|---|" + "---|" * len(heads))
    for label in dict.fromkeys(entry.label for entry in ENTRIES):
        mine = [row for row in rows if row["label"] == label and row.get("column") == column]
        if not mine:
            continue
        cells = []
        for count in CHECKPOINTS:
            ratios = [row["scores"][str(count)]["ratio"] for row in mine if str(count) in row["scores"]]
            cells.append(f"{np.mean(ratios):.4f} ({np.min(ratios):.3f})" if ratios else "")
        for count, name, digits in ((100, "recall", 2), (200, "recall", 2), (200, "igd_plus", 4)):
            cells.append(f"{np.mean([row['scores'][str(count)][name] for row in mine]):.{digits}f}")
        cells += [f"{np.median([row['seconds'] for row in mine]):.2f}", str(len(mine))]
        print(f"| {label} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--results", type=Path, default=Path("runs/benchmarks/search.jsonl"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seeds", type=int, default=20, help="at most so many for each device")
    parser.add_argument("--only", nargs="*", default=["table", "noisy", "chain", "speed"])
    parser.add_argument("--labels", nargs="*", help="entries of the table, all if not given")
    arguments = parser.parse_args()
    entries = [entry for entry in ENTRIES if not arguments.labels or entry.label in arguments.labels]
    tasks: list[tuple[Any, ...]] = []
    names = devices(arguments.data)
    if "table" in arguments.only:
        tasks += [
            (cell, entry, arguments.data, device, seed * len(names) + place, "test.200ep")
            for seed in range(max((entry.seeds for entry in entries), default=0))
            for entry in entries
            if seed < min(entry.seeds, arguments.seeds)
            for place, device in enumerate(names)
        ]
    if "noisy" in arguments.only:
        noisy = [entry for entry in entries if entry.label in ("random", "nsga2", "nsca") or entry.strategy == "auto"]
        tasks += [
            (cell, entry, arguments.data, device, place, "valid.12ep")
            for entry in noisy
            for place, device in enumerate(names)
        ]
    if "chain" in arguments.only:
        tasks += [(chain, name, seed) for name in ("nsga2", "auto") for seed in range(20)]
    rows = run(tasks, arguments.results, arguments.workers)
    table(rows, "test.200ep")
    table(rows, "valid.12ep")
    for name in ("nsga2", "auto"):
        mine = [row for row in rows if row["label"] == f"chain {name}"]
        if mine:
            volumes = {count: f"{np.mean([row['volumes'][count] for row in mine]):.4f}" for count in mine[0]["volumes"]}
            print(f"9^22 architectures, {name}: hypervolume {volumes}, {np.median([r['seconds'] for r in mine]):.1f} s")
    if "speed" in arguments.only:
        print(json.dumps({"seconds": speed(), "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
