"""Measure this machine under each runtime, and write what `hwnas predict` takes by name.

    python -m benchmarks.measured_devices NAME [--targets TARGET ...] [--probes 60] [--budget 120s] [-o FOLDER]
    python -m benchmarks.measured_devices --table     the rows of docs/reference/measured-devices.md

For each target these commands, and no other hand:

    hwnas profile TARGET --probes 60 --budget 120s --store STORE
    hwnas fit TARGET --predictor lightgbm --store STORE -o FOLDER/NAME/TARGET
    hwnas evaluate FOLDER/NAME/TARGET --store STORE

The last one cross-validates: networks of the store are predicted by fits that have not seen them. It is kept beside
the predictor as `evaluation.json`. On a machine that does nothing else; about 4 minutes for a target, more where models
are converted first, which is kept in the cache.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import device_profiles
from benchmarks.machine import machine
from benchmarks.real_models import command
from benchmarks.runtimes import is_here
from device_profiles import measured

SHIPPED = Path(device_profiles.__file__).parent / "data" / "measured"
PREDICTOR = "lightgbm"
EVALUATION = "evaluation.json"


def measure(name: str, target: str, options: argparse.Namespace) -> dict[str, Any]:
    """One target: its row, or why there is none."""
    store, folder = options.stores / f"{target}.db", options.output / name / target
    began = time.monotonic()
    said = command(
        "profile", target, "--probes", str(options.probes), "--budget", options.budget, "--store", str(store)
    )
    if not said.get("measurements"):
        return {"target": target, "reason": said.get("error", {}).get("message") or said["failed"][0]["reason"]}
    degraded = sum(one["latency_ms"]["state"] != "stable" for one in said["measurements"])
    row: dict[str, Any] = {"target": target, "probes": len(said["measurements"]), "degraded": degraded}
    fitted = command("fit", target, "--predictor", PREDICTOR, "--store", str(store), "-o", str(folder))
    if "error" in fitted:
        return row | {"reason": fitted["error"]["message"]}
    found = command("evaluate", str(folder), "--store", str(store))
    row |= {name: found[name] for name in ("n", "mape", "within_10", "spearman", "interval_coverage", "noise_mape")}
    row |= {"failed": len(said["failed"]), "seconds": time.monotonic() - began, "machine": machine()}
    (folder / EVALUATION).write_text(json.dumps(row, indent=1) + "\n")
    return row


def table() -> str:
    """What ships, as Markdown."""
    lines = [
        "| name | device | runtime | precision | probes | error, cross-validated | rank correlation | noise |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in measured.names():
        folder = measured.folder(name)
        assert folder is not None
        card, row = (json.loads((folder / file).read_text()) for file in ("card.json", EVALUATION))
        where = card["conditions"]
        lines.append(
            f"| `{name}` | {where['device']} | {where['runtime']} {where['runtime_version']} | {where['precision']} | "
            f"{row['probes']} | {row['mape']:.1%} | {row['spearman']:.3f} | {row['noise_mape']:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="of the device, such as xeon-amx")
    parser.add_argument("--targets", nargs="*", default=[t for t in device_profiles.names() if is_here(t)])
    parser.add_argument("--probes", type=int, default=60)
    parser.add_argument("--budget", default="120s", help="device time for each target")
    parser.add_argument("--stores", type=Path, default=Path("runs/measured"), help="where measurements are kept")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED)
    parser.add_argument("--table", action="store_true", help="print what ships")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    options.stores.mkdir(parents=True, exist_ok=True)
    rows = []
    for target in options.targets:
        rows.append(measure(options.name, target, options))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "measured_devices", "rows": rows, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
