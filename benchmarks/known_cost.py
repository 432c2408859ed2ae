"""A fitted predictor as a cost that is known: `auto` with 200 evaluations beside NSGA-II with 1,000.

`python -m benchmarks.known_cost DIR ...`: of predictors that were fitted with `--space`, such as those that
`benchmarks.spaces_measured` leaves. The accuracy is made up, of main effects and interactions of genes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.search import one, values
from nas.benchmark import page
from nas.benchmark import run as benchmark
from nas.benchmark.run import BenchmarkPlan

AUTO, OTHER = 200, 1000


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=10, help="accuracies that are made up")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/benchmarks/known_cost"))
    options = parser.parse_args()
    rows = []
    for folder in options.folders:
        where = {
            f"{folder}, seed {seed}": {"kind": "predicted", "folder": str(folder.resolve()), "seed": seed}
            for seed in range(options.seeds)
        }
        of = {"predictor": json.loads((folder / "card.json").read_text())["space"]}
        for contender, evaluations in ((one("auto", known=True), AUTO), (one("nsga2"), OTHER)):
            output = options.output / folder.resolve().as_posix().strip("/").replace("/", "-") / contender.label
            plan = BenchmarkPlan(where, (contender,), str(output), 1, evaluations, checkpoints=(AUTO, evaluations))
            found = benchmark.run(plan, workers=1)
            score = page.main_score(found)
            reached = values(found, contender.label, evaluations, score)
            of[contender.label] = {
                "evaluations": evaluations, score: float(np.mean(reached)), "each": reached,
                "seconds": float(np.median([cell.seconds for cell in found])),
            }  # fmt: skip
        ahead = np.array(of["auto"]["each"]) > np.array(of["nsga2"]["each"])
        rows.append({**of, "auto_ahead": int(ahead.sum()), "of": len(ahead)})
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"benchmark": "known_cost", "predictors": rows, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
