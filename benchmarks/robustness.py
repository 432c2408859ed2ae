"""Nothing lost, nobody let in: command lines, damage, tampering, hostile files, kills and full disks, in one go.

    python -m benchmarks.robustness              all of it: hours on two cores
    python -m benchmarks.robustness --scale 0.1  a tenth of each

Prints JSON: of each part how many were tried and what broke a promise; ends with 1 if anything did.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from benchmarks.machine import machine

#: What is asked for: lines, damaged stores and runs, tampered folders, hostile files, kills, full disks.
LINES, KILLS, DISKS = 2000, 100, 20
#: Fuzzers that are tests: their long forms try 500 stores and runs, 300 folders, 150 ONNX files and more TOML files.
TESTS = ("test_damaged_stores.py", "test_folders.py", "test_onnx_files.py", "test_toml.py")


def lines(count: int) -> dict[str, Any]:
    """Random command lines."""
    return _script("benchmarks.robustness_lines", "--count", str(count))


def plugins() -> dict[str, Any]:
    """Plug-ins that misbehave."""
    return _script("benchmarks.robustness_plugins")


def kills(count: int, disks: int) -> dict[str, Any]:
    """Kills at random moments, and disks that are too small."""
    return _script("benchmarks.robustness_kills", "--kills", str(count), "--full", str(disks))


def long_tests(name: str) -> dict[str, Any]:
    """The long form of a fuzzer in the tests."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "slow", f"tests/robustness/{name}"],
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
    return {"passed": done.returncode == 0, "said": last, "seconds": time.monotonic() - start}


def _script(module: str, *words: str) -> dict[str, Any]:
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = {"said": (done.stdout + done.stderr).strip()[-2000:]}
    return {"passed": done.returncode == 0, **found, "seconds": time.monotonic() - start}


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "lines": lines(max(1, int(LINES * options.scale))),
        "kills": kills(max(2, int(KILLS * options.scale)), max(2, int(DISKS * options.scale))),
        "plugins": plugins(),
        **{name.removeprefix("test_").removesuffix(".py"): long_tests(name) for name in TESTS},
    }
    passed = all(part["passed"] for part in found.values())
    print(json.dumps({"benchmark": "robustness", "passed": passed, **found, "machine": machine()}, indent=1))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
