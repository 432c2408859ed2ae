"""The whole path on this machine: profile, fit, evaluate, search by evolution and by gradients, measure, report.

Run: `make demo`. Every step is a command that works alone; run again, each goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

SPACE = "chain:layers=2,resolution=64,width=35,classes=10,image_channels=1"
TARGET = "local-onnxruntime"


def steps(folder: Path) -> list[list[str]]:
    """The commands."""
    store, latency, run = f"{folder}/store.db", f"{folder}/latency", f"{folder}/search"
    fitted = (folder / "latency" / "card.json").exists()
    fit = ["fit", TARGET, "--space", SPACE, "--predictor", "lookup", "--store", store, "-o", latency]
    search = ["search", "--space", SPACE, "--objective", "accuracy", "--objective", f"latency:{latency}"]
    search += ["--data", "digits", "--strategy", "auto", "--strategy", "gdas", "--evaluations", "100"]
    search += ["--set", "trainer=sandwich", "--set", "train_steps=240"]
    search += ["--target", TARGET, "--finalists", "5", "--store", store, "-o", run]
    return [
        ["profile", TARGET, "--space", SPACE, "--samples", "40", "--budget", "45s", "--store", store],
        # Fitted again, the predictor would have learned from the finalists, and be another than the search began with.
        *([] if fitted else [fit]),
        ["evaluate", latency, "--store", store],
        search,
        ["report", run, "-o", f"{folder}/front.html"],
    ]


def main() -> int:
    """Run the steps; 0 if all of them did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/demo"), help="folder of the demo")
    folder = parser.parse_args().output
    start_s = time.monotonic()
    for step in steps(folder):
        print(f"\n$ hwnas {shlex.join(step)}", flush=True)
        code = subprocess.run([sys.executable, "-m", "hwnas", *step], check=False).returncode
        if code:
            print(f"stopped with code {code}; `make demo` goes on from here", file=sys.stderr)
            return code
    print(f"\n{time.monotonic() - start_s:.0f} s; open {folder}/front.html; networks in {folder}/search/onnx")
    return 0


if __name__ == "__main__":
    sys.exit(main())
