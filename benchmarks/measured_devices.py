"""Measure this machine under each runtime, and write what `hwnas predict` and `hwnas fit --from` take by name.

    python -m benchmarks.measured_devices NAME [--targets TARGET ...] [--probes 60] [--budget 120s] [-o FOLDER]
    python -m benchmarks.measured_devices --table     the rows of docs/reference/measured-devices.md

For each target a profile `NAME-RUNTIME.toml` is written, which is that target with the facts of this machine; then
these commands, and no other hand:

    hwnas profile NAME-RUNTIME.toml --probes 60 --budget 120s --store STORE
    hwnas fit NAME-RUNTIME.toml --predictor lightgbm --store STORE -o FOLDER/NAME-RUNTIME
    hwnas evaluate FOLDER/NAME-RUNTIME --store STORE

The last one cross-validates: networks of the store are predicted by fits that have not seen them. It is kept beside the
predictors, as `NAME-RUNTIME.json`. On a machine that does nothing else; about 4 minutes for a target, more where models
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


def measure(device: str, target: str, options: argparse.Namespace) -> dict[str, Any]:
    """One target: its row, or why there is none."""
    profile = _profile(device, target, options.stores)
    store, folder = options.stores / f"{profile.stem}.db", options.output / profile.stem
    began = time.monotonic()
    said = command(
        "profile", str(profile), "--probes", str(options.probes), "--budget", options.budget, "--store", str(store)
    )
    if not said.get("measurements"):
        return {"target": target, "reason": said.get("error", {}).get("message") or said["failed"][0]["reason"]}
    degraded = sum(one["latency_ms"]["state"] != "stable" for one in said["measurements"])
    row: dict[str, Any] = {"target": target, "probes": len(said["measurements"]), "degraded": degraded}
    fitted = command("fit", str(profile), "--predictor", PREDICTOR, "--store", str(store), "-o", str(folder))
    if "error" in fitted:
        return row | {"reason": fitted["error"]["message"]}
    found = command("evaluate", str(folder), "--store", str(store))
    row |= {name: found[name] for name in ("n", "mape", "within_10", "spearman", "interval_coverage", "noise_mape")}
    row |= {"failed": len(said["failed"]), "seconds": time.monotonic() - began, "machine": machine()}
    folder.with_suffix(".json").write_text(json.dumps(row, indent=1) + "\n")
    return row


def _profile(device: str, target: str, folder: Path) -> Path:
    """The profile of this machine under the runtime of a target, written into a folder."""
    base, here = device_profiles.load(target), device_profiles.detect()
    name = f"{device}-{target.removeprefix('local-')}"
    about = f"{here.hardware['cpu_model'].value}, measured: {base.description.removeprefix('This machine, ')}"
    path = folder / f"{name}.toml"
    made = base.model_copy(update={"name": name, "description": about, "hardware": here.hardware})
    device_profiles.save(made, path)
    return path


def table() -> str:
    """What ships, as Markdown."""
    lines = [
        "| name | runtime | precision | probes | degraded | error, cross-validated | rank correlation | noise |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in measured.names():
        card, row = (json.loads((SHIPPED / file).read_text()) for file in (f"{name}/card.json", f"{name}.json"))
        where = card["conditions"]
        noise = "unknown" if row["noise_mape"] is None else f"{row['noise_mape']:.1%}"
        lines.append(
            f"| `{name}` | {where['runtime_version']} | {where['precision']} | {row['probes']} | "
            f"{row['degraded']} | {row['mape']:.0%} | {row['spearman']:.3f} | {noise} |"
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
