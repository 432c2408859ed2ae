"""What a predictor that has seen probes alone says of real models, beside what was measured of them.

hwnas profile local-onnxruntime --probes 60 --store probes.db
hwnas profile local-onnxruntime --model a.onnx b.onnx --store models.db
python -m benchmarks.real_models_predict probes.db models.db --files a.onnx b.onnx --json out.json

Models whose files are not given are predicted from the kernels in the store.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import predictors
import profiler
from benchmarks.machine import machine
from device_profiles.errors import InvalidData
from device_profiles.profile import Target
from predictors import evaluation, samples
from predictors.predictor import same_conditions
from profiler.model_files import ModelFile, prepare

PREDICTOR = "lightgbm"
TARGET = "local-onnxruntime"
#: Predictions with more coverage than this are to be believed.
BELIEVED = 0.9
#: Networks that take longer are told apart: of smaller ones calls are a large part.
LARGE_MS = 1.0
#: What is asked for: median error, worst error where coverage is over `BELIEVED`, share inside of 90 % intervals.
MEDIAN, WORST, INSIDE = 0.05, 0.30, 0.85


def evaluate(
    store_of_probes: str | Path,
    store_of_models: str | Path,
    target: str | Target = TARGET,
    files: Mapping[str, ModelFile] | None = None,
    leave_out: str = "",
) -> dict[str, Any]:
    """Fit on one store, without a space, and predict every model of another.

    Args:
        store_of_probes: its networks are learned from.
        store_of_models: its networks are predicted.
        target: of both.
        files: those of the models, by their names in the store, as far as there are any.
        leave_out: models whose names have this are not among them; none if it is empty.

    Returns:
        `models` (one row each), `n`, `median_error`, `mape`, `large_n`, `large_median_error` and `large_mape` (of those
        over a millisecond), `worst_error` (of all), `worst_believed` (where coverage is over 0.9; None if there are
        none), `believed` (how many), `inside` (share in its 90 % interval), `rank` (Spearman), `reached` (each
        of the three targets), `learned_from`.

    Raises:
        InvalidData: a store has no measurements of the target, or the second one no network with known kernels.
        ConditionMismatch: the two were measured under different conditions.
    """
    chosen = device_profiles.load(target) if isinstance(target, str) else target
    with profiler.Store(store_of_probes, create=False) as store:
        fitted = predictors.fit(PREDICTOR, store, target=chosen)
    with profiler.Store(store_of_models, create=False) as store:
        conditions = store.require_conditions(chosen.name)
        same_conditions(fitted, conditions)
        measured = samples.networks(store, conditions)
        names = {row.id: row.name for row in store.models().values()}
    if leave_out:
        measured = measured.take([i for i, model in enumerate(measured.ids) if leave_out not in names[model]])
    if not measured.ids:
        raise InvalidData(
            f"store {store_of_models} has no network whose latency and kernels are known",
            hint="Measure some with: hwnas profile TARGET --model FILE --store STORE.db",
        )
    known = files or {}
    pairs = zip(measured.ids, measured.graphs, strict=True)
    found = fitted.predict([known.get(names[model], graph) for model, graph in pairs])
    low, high = found.low, found.high
    rows = []
    for i, model in enumerate(measured.ids):
        value, actual = float(found.value[i]), float(measured.cost[i])
        ends = (None, None) if low is None or high is None else (float(low[i]), float(high[i]))
        strange = Counter(key.partition("[")[0] for key in found.missing[i])
        rows.append(
            {
                "model": names[model],
                "measured_ms": actual,
                "predicted_ms": value,
                "low_ms": ends[0],
                "high_ms": ends[1],
                "error": value / actual - 1.0,
                "inside": None if ends[0] is None or ends[1] is None else ends[0] <= actual <= ends[1],
                "coverage": float(found.coverage[i]),
                "missing": dict(strange),
            }
        )
    errors = np.abs(found.value / measured.cost - 1.0)
    believed, large = found.coverage > BELIEVED, measured.cost > LARGE_MS
    scores = evaluation.scores(found.value, measured.cost, low, high)
    worst = float(errors[believed].max()) if believed.any() else None
    return {
        "models": sorted(rows, key=lambda row: str(row["model"])),
        "n": len(rows),
        "median_error": float(np.median(errors)),
        "mape": scores.mape,
        "large_n": int(large.sum()),
        "large_median_error": float(np.median(errors[large])) if large.any() else None,
        "large_mape": float(errors[large].mean()) if large.any() else None,
        "worst_error": float(errors.max()),
        "worst_believed": worst,
        "believed": int(believed.sum()),
        "inside": scores.interval_coverage,
        "rank": scores.spearman,
        "reached": {
            "median": bool(np.median(errors) <= MEDIAN),
            "worst": worst is not None and worst <= WORST,
            "inside": scores.interval_coverage is not None and scores.interval_coverage >= INSIDE,
        },
        "learned_from": {
            "networks": len(fitted.card.trained_on),
            "kernels": fitted.card.kernels,
            "device_s": fitted.card.device_s,
        },
    }


def table(found: dict[str, Any]) -> str:
    """The rows as text."""
    lines = [f"{'model':36}{'measured':>11}{'predicted':>11}{'error':>8}{'90 % interval':>22}{'coverage':>10}"]
    for row in found["models"]:
        ends = "-" if row["low_ms"] is None else f"{row['low_ms']:.3g} to {row['high_ms']:.3g}"
        outside = "" if row["inside"] is not False else " !"
        lines.append(
            f"{row['model'][:35]:36}{row['measured_ms']:11.3f}{row['predicted_ms']:11.3f}{row['error']:+8.0%}"
            f"{ends + outside:>22}{row['coverage']:10.2f}  {', '.join(row['missing'])}"
        )
    worst = "-" if found["worst_believed"] is None else f"{found['worst_believed']:.0%}"
    inside = "-" if found["inside"] is None else f"{found['inside']:.0%}"
    lines.append(
        f"median {found['median_error']:.1%}, worst {found['worst_error']:.0%}, worst of {found['believed']} with "
        f"coverage over {BELIEVED:g}: {worst}; inside: {inside}"
    )
    return "\n".join(lines)


def main() -> None:
    """Evaluate, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("probes", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--target", default=TARGET)
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="of models without free dimensions")
    parser.add_argument("--leave-out", default="", help="a part of the names of models that do not count")
    parser.add_argument("--json", type=Path, help="file for the result")
    options = parser.parse_args()
    files = {str(path): prepare(path) for path in options.files}
    found = evaluate(options.probes, options.models, options.target, files, options.leave_out)
    print(table(found))
    if options.json is not None:
        options.json.write_text(
            json.dumps({"benchmark": "real_models_predict", **found, "machine": machine()}, indent=1)
        )


if __name__ == "__main__":
    main()
