"""Every strategy on one protocol, beside pymoo and Optuna; prints all tables of "how good is the search".

NAS-Bench-201: CIFAR-10 test accuracy after 200 epochs against the latency of one device; cells with an error of 90 % or
more count nothing, both axes are min-max normalised over the others, the reference is (1, 1); the ratio is to the
hypervolume of the exact front. Strategies are asked for 10 at a time, Optuna's sequential samplers for 1. Means over
devices and seeds.

Run: `python -m benchmarks.search`; what was run before is kept in `--output` and not run again, and each plan has a
page there. `--only` runs some of the plans.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402

from benchmarks import opponents  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from nas import strategies  # noqa: E402
from nas.benchmark import page, problems  # noqa: E402
from nas.benchmark import plan as benchmark_plan  # noqa: E402
from nas.benchmark import run as benchmark  # noqa: E402
from nas.benchmark.run import BenchmarkPlan, Cell, Contender  # noqa: E402
from nas.operators.protocol import Problem, Strategy  # noqa: E402
from nas.pareto import directions, indicators  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared/data/nasbench201.csv.gz"
TRUE, NOISY = "accuracy.cifar10.test.200ep", "accuracy.cifar10.valid.12ep"
PLUGINS = ("benchmarks.plugin",)
DTLZ2 = {3: 91, 5: 126}
GENERATIONS = 60


def one(name: str, label: str = "", *, known: bool = False, features: bool = False, **settings: Any) -> Contender:
    """A search that is compared; it knows nothing if not told otherwise."""
    return Contender(name, label or name, known=known, features=features, settings=settings)


EVOLUTION = (
    one("random"),
    one("local-search"),
    one("regularised-evolution"),
    one("nsga2"),
    one("nsga3"),
    one("moead"),
    one("nsca"),
    one("nsganet"),
    one("scalarisation", "scalarisation, chebyshev", kind="chebyshev"),
    one("scalarisation", "scalarisation, linear", kind="linear"),
    *(
        one("pymoo-nsga2", f"pymoo nsga2, population {size}, {kind}", population=size, operators=kind)
        for size in (20, 40, 100)
        for kind in ("uniform", "real")
    ),
)
KNOWN = (
    one("auto", "auto, latency known", known=True),
    one("auto", "auto, latency known, features", known=True, features=True),
)
AUTO = (*KNOWN, one("auto", "auto, nothing known"))
SURROGATES = (
    one("nsganetv2"),
    one("nsganetv2", "nsganetv2, latency known", known=True),
    one("nat"),
    one("nat", "nat, latency known", known=True),
    one("scalarisation", "scalarisation, chebyshev, latency known", known=True, kind="chebyshev"),
)
OPTUNA = (one("optuna", "optuna tpe", sampler="tpe"), one("optuna", "optuna nsga2, population 20", sampler="nsga2"))


def cells(data: Path, told: str) -> dict[str, dict[str, Any]]:
    """A problem for each device of the table."""
    with gzip.open(data, "rt", newline="") as file:
        heads = next(csv.reader(file))
    return {
        head.removeprefix("latency_ms."): {
            "kind": "table",
            "file": str(data),
            "search": [f"{told}:max", head],
            "report": [f"{TRUE}:max", head],
            "known": [head],
            "keep": f"{TRUE} > 10",
        }
        for head in heads
        if head.startswith("latency_ms.")
    }


def plans(data: Path, output: Path) -> dict[str, list[BenchmarkPlan]]:
    """What is compared, by the name of its table."""
    true, noisy = cells(data, TRUE), cells(data, NOISY)
    large = {f"seed {seed}": {"kind": "interactions", "seed": seed} for seed in range(20)}

    def plan(
        name: str, what: Any, who: Sequence[Contender], seeds: int, evaluations: int, **more: Any
    ) -> BenchmarkPlan:
        groups = dict.fromkeys(what, name)
        return BenchmarkPlan(
            what, tuple(who), str(output / name), seeds, evaluations, plugins=PLUGINS, groups=groups, **more
        )

    marks = (25, 50, 100, 200)
    found = {
        "evolution": [plan("evolution", true, EVOLUTION, 20, 400, checkpoints=(*marks, 400))],
        "auto": [plan("auto", true, AUTO, 20, 200, checkpoints=marks)],
        "surrogates": [plan("surrogates", true, SURROGATES, 20, 200, checkpoints=marks)],
        "optuna": [plan("optuna", true, OPTUNA, 20, 200, batch=1, checkpoints=marks)],
        "noisy": [plan("noisy", noisy, (one("random"), one("nsga2"), one("nsca"), *KNOWN), 3, 200, checkpoints=marks)],
        "large": [
            plan("large, auto", large, (KNOWN[0],), 1, 200, checkpoints=(100, 200)),
            plan("large, nsga2", large, (one("nsga2"),), 1, 1000, checkpoints=(100, 200, 1000)),
        ],
    }
    found["dtlz2"] = []
    for objectives, wanted in DTLZ2.items():
        count = len(directions.spread(objectives, wanted))
        problem = {f"{objectives} objectives": {"kind": "dtlz2", "objectives": objectives}}
        rate = 1 / (objectives + 9)
        who = (
            one("nsga3", directions=count, crossover=1.0, mutation=rate),
            one("pymoo-nsga3", directions=count),
            one("moead", weights=count, kind="pbi", crossover=1.0, mutation=rate),
            one("pymoo-moead", directions=count),
            one("nsga2", population=count, crossover=1.0, mutation=rate, steps=0.0, tournament=2),
            one("nsca", population=count),
            one("random"),
        )
        name = f"dtlz2, {objectives} objectives"
        evaluations = GENERATIONS * count
        found["dtlz2"].append(plan(name, problem, who, 6, evaluations, batch=count, checkpoints=(evaluations,)))
    return found


def values(found: Sequence[Cell], label: str, mark: int, score: str) -> list[float]:
    """A score of all runs of a strategy."""
    return [cell.scores[mark][score] for cell in found if cell.strategy == label and mark in cell.scores]


def table(plan: BenchmarkPlan, found: Sequence[Cell]) -> None:
    """Means over devices and seeds, with the least of all runs."""
    score = page.main_score(found)
    last = min(plan.evaluations, 200)
    heads = [f"@{mark}" for mark in plan.marks]
    heads += ["recall @100", "recall @200", "igd+ @200"] if score == "ratio" else []
    print(f"\n{Path(plan.output).name}: {score}, mean (least) of {len(found) // len(plan.strategies)} runs each")
    print("| | " + " | ".join([*heads, "s"]) + " |\n|" + "---|" * (len(heads) + 2))
    for contender in plan.strategies:
        label = contender.label
        cells = []
        for mark in plan.marks:
            ratios = values(found, label, mark, score)
            cells.append(f"{np.mean(ratios):.4f} ({np.min(ratios):.3f})")
        if score == "ratio":
            cells += [f"{np.mean(values(found, label, mark, 'recall')):.2f}" for mark in (100, last)]
            cells.append(f"{np.mean(values(found, label, last, 'igd_plus')):.4f}")
        seconds = [cell.seconds for cell in found if cell.strategy == label]
        print(f"| {label} | " + " | ".join([*cells, f"{np.median(seconds):.2f}"]) + " |")


def distances(plan: BenchmarkPlan, found: Sequence[Cell]) -> None:
    """IGD+ on DTLZ2, and whether ours lie within the spread of pymoo's seeds."""
    name = Path(plan.output).name
    print(f"\n{name}: IGD+ after {plan.evaluations} evaluations, mean and deviation of {plan.seeds} seeds")
    of = {c.label: np.array(values(found, c.label, plan.evaluations, "igd_plus")) for c in plan.strategies}
    for label, mine in of.items():
        theirs = of.get(f"pymoo-{label}")
        verdict = ""
        if theirs is not None:
            spread = 2 * max(mine.std(ddof=1), theirs.std(ddof=1))
            verdict = ", within pymoo's spread" if mine.mean() <= theirs.mean() + spread else ", worse than pymoo's"
        print(f"  {label:12} {mine.mean():.4f} {mine.std(ddof=1):.4f}{verdict}")


def versus(found: dict[str, list[Cell]]) -> None:
    """Who beats random search at 200 evaluations on the mean over devices; NSCA beside NSGA-II."""
    rows = [cell for name in ("evolution", "auto", "surrogates", "optuna") for cell in found.get(name, [])]
    base = values(rows, "random", 200, "ratio")
    if not base:
        return
    print(f"\nat 200 evaluations, beside random search ({np.mean(base):.4f})")
    for label in dict.fromkeys(cell.strategy for cell in rows if cell.strategy != "random"):
        gain = np.mean(values(rows, label, 200, "ratio")) - np.mean(base)
        print(f"  {label:42} {gain:+.4f} {'better' if gain > 0 else 'NOT BETTER'}")
    for mark in (100, 200, 400):
        ours, theirs = (np.array(values(rows, name, mark, "ratio")) for name in ("nsca", "nsga2"))
        error = (ours - theirs).std(ddof=1) / np.sqrt(len(ours))
        print(f"  nsca less nsga2 @{mark}: {(ours - theirs).mean():+.4f} +- {error:.4f}")


def speed(data: Path) -> dict[str, float]:
    """Overhead of our own code, beside pymoo's in the same run; seconds, medians of three."""
    weights = np.random.default_rng(0).random((2, 20, 9))
    cheap = Problem((9,) * 20, 2)
    points = np.random.default_rng(0).random((10_000, 3))
    shell = points / np.linalg.norm(points, axis=1, keepdims=True)
    device, options = next(iter(cells(data, TRUE).items()))
    grid, chain = problems.load(**options), problems.load("interactions")

    def costs(archs: np.ndarray) -> np.ndarray:
        return np.stack([table[np.arange(20), archs].sum(axis=1) for table in weights], axis=1)

    def run(strategy: Strategy, evaluations: int, batch: int, judge: Any) -> None:
        while evaluations > 0:
            archs = strategy.ask(min(batch, evaluations))
            strategy.tell(archs, judge(archs))
            evaluations -= len(archs)

    def mine() -> Strategy:
        return strategies.create("nsga2", choices=cheap.choices, objectives=cheap.objectives, population=100)

    def auto(problem: problems.Problem, contender: Contender) -> None:
        run(benchmark_plan.strategy_of(contender, problem, 0), 200, 10, problem.search)

    jobs = {
        "nsga2, 100,000 evaluations, population 100": lambda: run(mine(), 100_000, 100, costs),
        "pymoo nsga2, the same": lambda: run(opponents.nsga2(cheap, seed=0, population=100), 100_000, 100, costs),
        "hypervolume of 10,000 points of 3 objectives": lambda: indicators.hypervolume(points, np.ones(3)),
        "hypervolume of 10,000 points of a front of 3 objectives": lambda: indicators.hypervolume(shell, np.ones(3)),
        f"auto, 200 evaluations of NAS-Bench-201 ({device})": lambda: auto(grid, KNOWN[0]),
        f"auto with features, 200 evaluations of NAS-Bench-201 ({device})": lambda: auto(grid, KNOWN[1]),
        "auto, 200 evaluations of 9^22 architectures": lambda: auto(chain, KNOWN[0]),
    }
    found = {}
    for label, job in jobs.items():
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            job()
            seconds.append(time.perf_counter() - began)
        found[label] = round(float(np.median(seconds)), 4)
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/search"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seeds", type=int, default=20, help="at most so many for each problem")
    names = ("evolution", "auto", "surrogates", "optuna", "noisy", "large", "dtlz2", "speed")
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    chosen = parser.parse_args()
    found: dict[str, list[Cell]] = {}
    for name, parts in plans(chosen.data, chosen.output).items():
        if name not in chosen.only:
            continue
        for part in parts:
            plan = replace(part, seeds=min(part.seeds, chosen.seeds))
            rows = benchmark.run(plan, workers=chosen.workers)
            page.write(plan, rows, Path(plan.output) / "benchmark.html")
            found.setdefault(name, []).extend(rows)
            distances(plan, rows) if name == "dtlz2" else table(plan, rows)
    versus(found)
    if "speed" in chosen.only:
        print(json.dumps({"seconds": speed(chosen.data), "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
