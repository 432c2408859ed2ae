"""How soon `hwnas --help` answers, and what importing the packages drags in. Run: `python -m benchmarks.startup`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import machine

HEAVY = ("torch", "onnxruntime", "lightgbm", "onnx", "sklearn", "plotly", "scipy")
PACKAGES = ("device_profiles", "profiler", "predictors", "nas", "hwnas_cli", "hwnas")


def imported(package: str) -> list[str]:
    """Heavy modules that are there after importing a package."""
    code = f"import sys, {package}; print([m for m in {HEAVY!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return [name.strip("' ") for name in shown.strip().strip("[]").split(",") if name]


def main() -> None:
    """Run and print."""
    command = [str(Path(sys.executable).with_name("hwnas")), "--help"]
    times = []
    for _ in range(10):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    result = {
        "benchmark": "startup",
        "help_s": {"median": statistics.median(times), "worst": max(times)},
        "heavy_imports": {package: imported(package) for package in PACKAGES},
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
