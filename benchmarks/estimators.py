"""Which estimator repeats? The same raw blocks, summarised in different ways, over all pairs of invocations.

First `python -m benchmarks.repeatability --keep DIR [--load]`, then `python -m benchmarks.estimators DIR`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import profiler
from benchmarks.machine import machine
from profiler.reference import of_sentinels
from profiler.statistics import LOWER

Blocks = dict[str, dict[int, np.ndarray]]

#: From `(b, 2)`, time of a call and sentinel in ns, to what a process says; with the share of the sentinel in it.
ESTIMATORS: dict[str, tuple[Callable[[np.ndarray], float], bool]] = {
    "median block": (lambda blocks: float(np.median(blocks[:, 0])), False),
    "lowest block": (lambda blocks: float(blocks[:, 0].min()), False),
    "median block / sentinel": (lambda blocks: float(np.median(blocks[:, 0] / blocks[:, 1])), True),
    "lowest block / sentinel": (lambda blocks: float((blocks[:, 0] / blocks[:, 1]).min()), True),
    "lower quartile of block / sentinel (in use)": (
        lambda blocks: float(np.quantile(blocks[:, 0] / blocks[:, 1], LOWER)),
        True,
    ),
}


def read(path: Path) -> tuple[Blocks, float]:
    """Blocks of a store by model and process, and its reference sentinel."""
    blocks: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with profiler.Store(path, create=False) as store:
        rows = store.blocks(store.require_conditions(store.targets()[0]))
    for row in rows:
        blocks[row.model][row.process].append((row.ns / row.calls, float(row.sentinel_ns)))
    found = {m: {p: np.array(rows) for p, rows in by_process.items()} for m, by_process in blocks.items()}
    return found, of_sentinels([row.sentinel_ns for row in rows])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    stores = [read(path) for path in sorted(parser.parse_args().folder.glob("*.db"))]
    models = sorted(set.intersection(*(set(blocks) for blocks, _ in stores)))
    result: dict[str, Any] = {}
    for name, (estimate, relative) in ESTIMATORS.items():
        value = np.array(
            [
                [np.median([estimate(b) for b in blocks[m].values()]) * (reference if relative else 1) for m in models]
                for blocks, reference in stores
            ]
        )
        pairs = list(itertools.combinations(range(len(value)), 2))
        difference = np.array([np.abs(value[a] - value[b]) / (0.5 * (value[a] + value[b])) for a, b in pairs])
        result[name] = {
            "median": float(np.median(difference)),
            "p90": float(np.quantile(difference, 0.9)),
            "worst": float(difference.max()),
        }
    found = {"benchmark": "estimators", "invocations": len(stores), "networks": len(models), "disagreement": result}
    print(json.dumps({**found, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
