"""Few-sample transfer on NAS-Bench-201: 10 samples of one device, the tables of others, beside simple baselines.

LOO: all other devices are sources. FAR: only those of other kinds. GPU: 1080ti, 2080ti, titan_rtx, titanx, titanxp;
CPU: gold_6240, silver_4114, silver_4210r; mobile: essential_ph_1, pixel3, samsung_a50, samsung_s7. Other names:
edgegpu is a GPU; raspi4, eyeriss, fpga and dsp are mobile. Spearman and intervals are over all cells; MAPE is over
cells whose value is above 0.3x the table's 5th percentile (pixel3 holds 274 values about 1000x too small), and over all
beside it. Run: `python -m benchmarks.transfer`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

import nas
from benchmarks.machine import machine
from predictors.transfer import TransferPredictor
from predictors.transfer.sources import FLOOR

DATA = Path(__file__).resolve().parents[2] / "shared/data"
CHOICES = [5] * 6
GPU, CPU = ("1080ti", "2080ti", "titan", "edgegpu"), ("gold", "silver")
WHOLE_MS = ("essential_ph_1", "samsung_a50", "samsung_s7")
FLOORS = {
    "LOO": {"spearman": 0.975, "fine": 0.979, "mape": 0.055, "wrong costs": 0.004},
    "FAR": {"spearman": 0.970, "fine": 0.974, "mape": 0.063, "wrong costs": 0.016},
    "each device": {"spearman": 0.90, "covered": 0.80},
    "all devices": {"covered": (0.87, 0.95)},
    "retest ceiling": {"spearman": 0.981, "fine": 0.986},
}


def kind(device: str) -> str:
    """What kind of device a name stands for."""
    return "gpu" if device.startswith(GPU) else "cpu" if device.startswith(CPU) else "mobile"


def tables(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All cells `(15625, 6)`, and for each device their latency in ms."""
    space = nas.spaces.load("nasbench201")
    with gzip.open(folder / "nasbench201.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("latency_ms.")]
    found = {name.removeprefix("latency_ms."): np.array([float(row[name]) for row in rows]) for name in names}
    return np.array([space.parse(row["arch"]) for row in rows]), found


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation."""
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def judge(value: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of one prediction."""
    error = np.abs(value / truth - 1.0)
    sane = truth > FLOOR * np.quantile(truth, 0.05)
    return {"spearman": spearman(value, truth), "mape": float(error[sane].mean()), "mape all": float(error.mean())}


def baselines(archs: np.ndarray, sources: dict[str, np.ndarray], rows: np.ndarray, ms: np.ndarray) -> dict[str, Any]:
    """Simple predictions from the same samples."""
    relative = np.array([t / np.exp(np.log(t).mean()) for t in sources.values()])

    def scaled(surface: np.ndarray) -> np.ndarray:
        return surface * np.median(ms / surface[rows])

    def agreement(surface: np.ndarray) -> float:
        return spearman(surface[rows], ms)

    mean = relative.mean(axis=0)
    one_hot = np.concatenate([np.eye(5)[archs[:, gene]] - 0.2 for gene in range(6)], axis=1)
    scale = np.median(ms / mean[rows])
    x = np.concatenate([np.ones((len(archs), 1)), one_hot], axis=1)
    # Prior standard deviations of the constant and of each effect, and the noise, relative to the mean latency.
    precision = np.diag([1 / 0.5**2] + [1 / 0.05**2] * one_hot.shape[1])
    residual = (ms / scale - mean[rows]) / 0.05**2
    weights = np.linalg.solve(x[rows].T @ x[rows] / 0.05**2 + precision, x[rows].T @ residual)
    return {
        "most alike source": scaled(max(relative, key=agreement)),
        "mean of sources": scaled(mean),
        "linear, fixed prior": np.maximum(scale * (mean + x @ weights), 1e-3 * scale),
    }


def protocol(
    name: str,
    archs: np.ndarray,
    devices: dict[str, np.ndarray],
    features: Any,
    *,
    targets: Sequence[str],
    seeds: int,
    n: int,
    untouched: Path,
) -> dict[str, dict[str, Any]]:
    """Targets under one protocol: means over seeds, by device; `untouched` is a folder for scratch."""
    found: dict[str, dict[str, Any]] = {}
    for target in targets:
        truth = devices[target]
        sources = {s: t for s, t in devices.items() if s != target and (name == "LOO" or kind(s) != kind(target))}
        pairs = {s: (archs, t) for s, t in sources.items()}
        runs: list[dict[str, float]] = []
        for seed in range(seeds):
            begun = time.perf_counter()
            transfer = TransferPredictor(CHOICES, features=features, seed=seed).fit_sources(pairs)
            rows = transfer.choose(archs, n=n)
            chosen = time.perf_counter()
            transfer.save(untouched)
            adapting = time.perf_counter()
            transfer.adapt(archs[rows], truth[rows])
            fitted = time.perf_counter()
            transfer.predict(archs)  # structural features are remembered from here on
            warm = time.perf_counter()
            prediction = transfer.predict(archs)
            ended = time.perf_counter()
            run = judge(prediction.value, truth)
            run["covered"] = np.nan
            if prediction.low is not None and prediction.high is not None:
                run["covered"] = float(((prediction.low <= truth) & (truth <= prediction.high)).mean())
            run["fit_sources and choose, s"], run["adapt, s"] = chosen - begun, fitted - adapting
            run["predict, s"] = ended - warm
            rng = np.random.default_rng(100 + seed)
            spoilt = truth[rows].copy()
            wrong = int(rng.integers(n))
            spoilt[wrong] *= rng.choice([0.5, 2.0])
            again = TransferPredictor.load(untouched, features=features).adapt(archs[rows], spoilt)
            run["wrong: spearman"] = spearman(again.predict(archs).value, truth)
            run["wrong: in first two"] = float(wrong in [s.index for s in again.suspects()[:2]])
            for label, value in baselines(archs, sources, rows, truth[rows]).items():
                run[f"{label}: spearman"] = judge(value, truth)["spearman"]
                run[f"{label}: mape"] = judge(value, truth)["mape"]
            runs.append(run)
        found[target] = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        print(f"  {target:16}" + "".join(f"{found[target][key]:>10.3f}" for key in COLUMNS), flush=True)
    return found


COLUMNS = (
    "spearman", "mape", "mape all", "covered", "wrong: spearman",
    "most alike source: spearman", "mean of sources: spearman", "linear, fixed prior: spearman",
)  # fmt: skip


def summary(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over devices, and the worst of them."""
    keys = next(iter(found.values()))
    means = {key: float(np.mean([scores[key] for scores in found.values()])) for key in keys}
    fine = [scores["spearman"] for device, scores in found.items() if device not in WHOLE_MS]
    return {
        **means,
        "fine: spearman": float(np.mean(fine)) if fine else None,
        "wrong costs": means["spearman"] - means["wrong: spearman"],
        "worst: spearman": min(scores["spearman"] for scores in found.values()),
        "worst: covered": min(scores["covered"] for scores in found.values()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", action="append", help="only these targets")
    parser.add_argument("--protocol", action="append", choices=("LOO", "FAR"))
    chosen = parser.parse_args(arguments)
    archs, devices = tables(chosen.data)
    space = nas.spaces.load("nasbench201")
    space.features(archs[:1])
    results = {}
    for name in chosen.protocol or ("LOO", "FAR"):
        for label, features in (("without features", None), ("with features", space.features)):
            print(f"{name} {label}: {', '.join(COLUMNS)}")
            wanted = chosen.device or list(devices)
            with tempfile.TemporaryDirectory() as place:
                untouched = Path(place) / "transfer"
                run = protocol(
                    name, archs, devices, features, targets=wanted, seeds=chosen.seeds, n=chosen.samples,
                    untouched=untouched,
                )  # fmt: skip
            results[f"{name} {label}"] = summary(run)
    print(json.dumps({"benchmark": "transfer", "samples": chosen.samples, "seeds": chosen.seeds, "results": results,
                      "floors": FLOORS, "machine": machine()}, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
