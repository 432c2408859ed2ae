"""What the kernel of this machine tells of it; the standard library alone, so that an agent on any device can ask."""

from __future__ import annotations

import platform
from pathlib import Path

from device_profiles.facts import Unknown

ROOT = Path("/")


def cpuinfo(root: Path = ROOT) -> dict[str, str]:
    """The first value of each key of `/proc/cpuinfo`; nothing where there is no such file."""
    try:
        text = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            found.setdefault(key.strip(), value.strip())
    return found


def cpu_model(known: dict[str, str]) -> str | Unknown:
    """The CPU's name: what `/proc/cpuinfo` says on x86 or on Arm, else what Python knows."""
    name = known.get("model name") or known.get("Model") or platform.processor()
    return name or Unknown("/proc/cpuinfo names no model")


def cpu_flags(known: dict[str, str]) -> str | Unknown:
    """Extensions of the instruction set that the CPU has, separated by spaces."""
    return known.get("flags") or known.get("Features") or Unknown("/proc/cpuinfo lists no flags")


def governor(root: Path = ROOT) -> str | Unknown:
    """What decides the CPU's frequency."""
    return read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def read(path: Path) -> str | Unknown:
    """A small file of the kernel."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        return Unknown(f"{path}: {error.strerror or error}")
