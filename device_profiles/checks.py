"""Is this machine ready? Every check says what it saw, and what to do where it is not."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from device_profiles.cache import cache_folder

PACKAGES = (
    "torch", "onnx", "onnxruntime", "onnxscript", "lightgbm", "psutil", "nvidia-ml-py", "numpy", "scipy",
    "scikit-learn", "typer", "rich",
    "pydantic", "SQLAlchemy", "moocore", "plotly", "safetensors", "pillow",
)  # fmt: skip
LEAST_DISK_BYTES = 1 << 30


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        ok: whether measuring and searching can go on.
        detail: what was seen.
        hint: what to do if not `ok`.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""


def doctor() -> list[Check]:
    """All checks, on this machine."""
    checks = [
        _python(),
        *(_package(name) for name in PACKAGES),
        _pinning(),
        _timer(),
        _compiler(),
        _cache(cache_folder()),
    ]
    return checks


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), found, "Install Python 3.11 or newer.")


def _package(name: str) -> Check:
    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install {name}")


def _pinning() -> Check:
    if not hasattr(os, "sched_setaffinity"):
        return Check("pinning", True, "this system cannot pin processes; intervals will be wider")
    allowed = sorted(os.sched_getaffinity(0))
    return Check("pinning", True, f"{len(allowed)} CPUs allowed: {allowed}")


def _timer() -> Check:
    pairs = 10_000
    start = time.perf_counter_ns()
    for _ in range(pairs):
        time.perf_counter_ns()
    cost = (time.perf_counter_ns() - start) / pairs
    return Check("timer", cost < 10_000, f"{cost:.0f} ns a reading", "The clock is too slow to time small kernels.")


def _compiler() -> Check:
    """What `torch.compile` needs; all else goes on without it."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    found = next((path for name in names if (path := shutil.which(name))), None)
    missing = f"no {' or '.join(names)}; the target local-torch-compile needs one: apt install g++"
    return Check("compiler", True, found or missing)


def _cache(folder: Path) -> Check:
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    ok = writable and free >= LEAST_DISK_BYTES
    detail = f"{folder}, {free / 2**30:.1f} GiB free" + ("" if writable else ", not writable")
    return Check("cache", ok, detail, "Set HWNAS_CACHE to a folder with at least 1 GiB of space.")
