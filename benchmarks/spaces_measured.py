"""Spaces beside the device: what a fitted space says of architectures that were never measured, held against them.

`python -m benchmarks.spaces_measured`: for each space 40 networks are profiled (90 s of device time at most), a
predictor is fitted for the space, and 24 other networks are measured. On a machine that does nothing else; about 5
minutes a space.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nas
import predictors
import profiler
from benchmarks.machine import machine
from predictors.evaluation import evaluate_architectures

TARGET = "local-onnxruntime"
#: Networks of these take 1 to 20 ms.
SPACES = (
    "mobilenetv3:resolution=160,smallest=160,step=32",
    "chain:resolution=96",
    "resnet:resolution=96,smallest=96,step=32",
    "gpt:layers=6,length=32,vocabulary=256,width=25",
)
LEARNED, UNSEEN = 40, 24
BUDGET = "90s"
#: What is asked for: the mean error, in multiples of the noise and at least; and the share inside of 90 % intervals.
LEAST_ERROR, NOISES, INSIDE = 0.03, 1.5, (0.80, 0.98)


def command(*words: str) -> dict[str, Any]:
    """The answer of `hwnas WORDS --json`."""
    done = subprocess.run([sys.executable, "-m", "hwnas", *words, "--json"], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def one(spec: str, names: tuple[str, ...], folder: Path, target: str = TARGET) -> dict[str, Any]:
    """A space: profiled, fitted, and held against other networks."""
    space = nas.spaces.load(spec)
    place = folder / spec.partition(":")[0]
    place.mkdir(parents=True, exist_ok=True)
    learned, unseen = str(place / "learned.db"), str(place / "unseen.db")
    start = time.monotonic()
    sampled = ("profile", target, "--space", spec)
    command(*sampled, "--samples", str(LEARNED), "--budget", BUDGET, "--store", learned)
    found: dict[str, Any] = {"space": spec, "profile_s": time.monotonic() - start}
    command(*sampled, "--samples", str(UNSEEN), "--seed", "1000", "--store", unseen)
    with profiler.Store(learned, create=False) as store:
        conditions = store.require_conditions(target)
        found["device_s"] = store.device_s(conditions)
        known = {row.arch for row in store.models().values()}
    for name in names:
        start = time.monotonic()
        fitted = command(
            "fit", target, "--space", spec, "--predictor", name, "--store", learned, "-o", str(place / name)
        )
        fit_s = time.monotonic() - start
        with profiler.Store(unseen, create=False) as store:
            told = evaluate_architectures(predictors.load(place / name), store, space.parse)
            both = sum(row.arch in known for row in store.models().values())
        scores, noise = told.scores, told.noise_mape or 0.0
        inside = scores.interval_coverage
        found[name] = {
            "networks": scores.n, "learned_too": both, "median_ms": float(sorted(told.measured)[scores.n // 2]),
            "mape": scores.mape, "noise_mape": noise, "spearman": scores.spearman, "inside": inside,
            "fit_s": fit_s, "encoding": fitted.get("encoding"),
            "reached": {
                "mape": scores.mape <= max(LEAST_ERROR, NOISES * noise),
                "inside": inside is not None and INSIDE[0] <= inside <= INSIDE[1],
            },
        }  # fmt: skip
    return found


def pooled(found: list[dict[str, Any]]) -> float | None:
    """Share of the networks of all spaces inside of their intervals; None where some have none.

    Networks of one campaign share its state of the machine, so those of a single space say little of intervals.
    """
    if any(one["inside"] is None for one in found):
        return None
    return sum(one["inside"] * one["networks"] for one in found) / sum(one["networks"] for one in found)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="*", default=SPACES)
    parser.add_argument("--predictors", nargs="*", default=["lookup", "lightgbm"])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/spaces_measured"))
    options = parser.parse_args()
    rows = []
    for spec in options.spaces:
        rows.append(one(spec, tuple(options.predictors), options.output))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    inside = {name: pooled([row[name] for row in rows]) for name in options.predictors}
    print(
        json.dumps({"benchmark": "spaces_measured", "spaces": rows, "inside": inside, "machine": machine()}, indent=1)
    )


if __name__ == "__main__":
    main()
