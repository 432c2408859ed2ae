"""A GPU's table in a quarter of an hour: do its numbers close, repeat and predict, and is it left as it was?

    python -m benchmarks.gpu [--targets NAME ...] [--precisions NAME ...] [--batches 1 32] [--budget 20s] [-o FOLDER]

For each target, precision and batch: 10 networks are measured, so that kernels in the graph can be held against whole
networks; their energy three times in stores of its own; and with `--unseen` 40 networks are profiled, `lookup` fitted,
and 24 others predicted. What NVML tells of the card's settings is read before and after. Rows are printed as they come,
so what was measured is there when time runs out. Stores and profiles stay in the folder: `benchmarks.measured_devices`
makes of such profiles what ships. It runs on any target; without NVML nothing is said of settings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import predictors
import profiler
from benchmarks.machine import machine
from benchmarks.real_models import command
from device_profiles.errors import HwnasError
from device_profiles.profile import Target
from predictors.evaluation import evaluate
from profiler import runtimes
from profiler.measurement import MeteredEnergy
from profiler.summary import measurements

SPACE = "nasbench201"
CLOSED, LEARNED, UNSEEN, RUNS = 10, 40, 24, 3
#: What is asked for: kernels against networks, energy against energy, and the error of predictions.
CLOSURE, REPEATS, ERROR = 0.10, 0.05, 0.05
#: What somebody may have set of a card, by the functions of NVML that read it.
SETTINGS = (
    "nvmlDeviceGetPowerManagementLimit", "nvmlDeviceGetPersistenceMode", "nvmlDeviceGetComputeMode",
    "nvmlDeviceGetMigMode", "nvmlDeviceGetEccMode", "nvmlDeviceGetAutoBoostedClocksEnabled",
)  # fmt: skip


def settings() -> dict[str, Any]:
    """What NVML tells of the first card's settings; nothing where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # NVML raises types of its own, and OSError where its library is missing
        return {}
    found: dict[str, Any] = {}
    for name in SETTINGS:
        try:
            found[name.removeprefix("nvmlDeviceGet")] = getattr(pynvml, name)(card)
        except (pynvml.NVMLError, AttributeError):
            continue
    return found


def variant(target: str, precision: str, batch: int, folder: Path) -> Target:
    """A target in a precision and batch, as a profile in the folder."""
    base = device_profiles.load(target)
    runtime = base.runtime.model_copy(update={"precision": precision})
    name = f"{target}-{precision}-{batch}"
    made = base.model_copy(update={"name": name, "runtime": runtime, "batch": batch})
    device_profiles.save(made, folder / f"{name}.toml")
    return made


def closed(target: Target, meter: str, budget: str, folder: Path) -> dict[str, Any]:
    """Ten networks: kernels against whole networks, and energy in runs of its own."""
    energies: list[dict[str, float]] = []
    found: dict[str, Any] = {}
    for run in range(RUNS if meter else 1):
        store = folder / f"{target.name}.{run}.db"
        said = _profile(target, folder, CLOSED, 0, budget, store, *(("--energy", meter) if meter else ()))
        if "error" in said:
            return {"reason": said["error"]["message"]}
        with profiler.Store(str(store), create=False) as opened:
            known = measurements(opened, opened.require_conditions(target.name))
        metered = {one.model: one.energy_mj for one in known}
        energies.append({model: e.value_mj for model, e in metered.items() if isinstance(e, MeteredEnergy)})
        if run == 0:
            gaps = [abs(one.closure) for one in known if one.closure is not None]
            found = {
                "networks": len(known), "failed": len(said["failed"]),
                "degraded": sum(one.latency.state != "stable" for one in known),
                "causes": sorted({cause for one in known for cause in one.latency.causes}),
                "median_ms": float(np.median([one.latency.value_ms for one in known])) if known else None,
                "worst_closure": max(gaps, default=None),
            }  # fmt: skip
    both = set.intersection(*(set(one) for one in energies))
    spread = [max(e[model] for e in energies) / min(e[model] for e in energies) - 1.0 for model in both]
    found["energy_differs_by"] = float(np.median(spread)) if spread and meter else None
    return found


def unseen(target: Target, budget: str, folder: Path) -> dict[str, Any]:
    """What `lookup` says of networks that it has not seen."""
    learned, others = (folder / f"{target.name}.{name}.db" for name in ("learned", "unseen"))
    for store, count, seed in ((learned, LEARNED, 1), (others, UNSEEN, 1000)):
        said = _profile(target, folder, count, seed, budget, store)
        if "error" in said:
            return {"reason": said["error"]["message"]}
    try:
        with profiler.Store(str(learned), create=False) as opened:
            fitted = predictors.fit("lookup", opened, target=target)
        with profiler.Store(str(others), create=False) as opened:
            told = evaluate(fitted, opened)
    except HwnasError as error:
        return {"reason": error.message}
    return {"unseen": told.scores.n, "mape": told.scores.mape, "noise_mape": told.noise_mape}


def _profile(
    target: Target, folder: Path, count: int, seed: int, budget: str, store: Path, *more: str
) -> dict[str, Any]:
    words = ("profile", str(folder / f"{target.name}.toml"), "--space", SPACE, "--samples", str(count))
    return command(*words, "--seed", str(seed), "--budget", budget, "--store", str(store), *more)


def one(target: Target, options: argparse.Namespace) -> dict[str, Any]:
    """A row, with what of it was reached."""
    row = {"target": target.name, **closed(target, options.meter, options.budget, options.output)}
    if options.unseen and "reason" not in row:
        row |= unseen(target, options.budget, options.output)
    bounds = {"worst_closure": CLOSURE, "energy_differs_by": REPEATS, "mape": ERROR}
    row["reached"] = {name: row[name] <= bound for name, bound in bounds.items() if row.get(name) is not None}
    return row


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", default=["local-cuda", "local-cuda-graphs", "local-cuda-compile"])
    parser.add_argument("--precisions", nargs="*", default=["fp32", "tf32", "fp16", "bf16"])
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 32])
    parser.add_argument("--meter", default="nvml", help="of energy; '' for none")
    parser.add_argument("--budget", default="20s", help="device time of each profile")
    parser.add_argument("--unseen", action="store_true", help="predict networks that were not seen, too")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/gpu"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    before, rows = settings(), []
    for name, precision, batch in itertools.product(options.targets, options.precisions, options.batches):
        if precision not in runtimes.REGISTRY.get(device_profiles.load(name).runtime.name).traits.precisions:
            continue
        rows.append(one(variant(name, precision, batch, options.output), options))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    after = settings()
    answer = {"benchmark": "gpu", "settings": after, "left_as_it_was": before == after, "rows": rows}
    print(json.dumps({**answer, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
