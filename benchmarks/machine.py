"""The machine that a number was taken on, for the JSON of every script."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import device_profiles


def machine() -> dict[str, Any]:
    """CPU, CPUs, system, and the versions that matter."""
    cpu = device_profiles.host_facts()["cpu_model"]
    return {
        "cpu": str(getattr(cpu, "value", cpu)),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "torch", "onnxruntime", "lightgbm")},
    }
