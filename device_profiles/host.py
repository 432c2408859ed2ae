"""What this machine is. Whatever cannot be read is `Unknown` with the reason; nothing is guessed."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from device_profiles import machine
from device_profiles.facts import Unknown
from device_profiles.profile import Fact, Target, load

ROOT = machine.ROOT


def host_facts(root: Path = ROOT) -> dict[str, Fact | Unknown]:
    """Facts of this machine, each with its source.

    Args:
        root: where `/proc` and `/sys` are; another folder in tests.
    """
    known = machine.cpuinfo(root)
    model = machine.cpu_model(known)
    named = known.keys() & {"model name", "Model"}
    cpufreq = root / "sys/devices/system/cpu/cpu0/cpufreq"
    caches = root / "sys/devices/system/cpu/cpu0/cache"
    return {
        "cpu_model": _fact(model, "/proc/cpuinfo" if named else "platform.processor"),
        "cpu_flags": _fact(machine.cpu_flags(known), "/proc/cpuinfo"),
        "cpus": Fact(value=os.cpu_count() or 1, source="os.cpu_count"),
        "machine": Fact(value=platform.machine(), source="platform.machine"),
        "system": Fact(value=f"{platform.system()} {platform.release()}", source="platform.uname"),
        "memory_bytes": _memory(),
        "governor": _fact(machine.governor(root), str(cpufreq / "scaling_governor")),
        "max_frequency_khz": _read(cpufreq / "cpuinfo_max_freq"),
        **{
            f"{name}_cache": _read(caches / index / "size")
            for name, index in (("l1d", "index0"), ("l2", "index2"), ("l3", "index3"))
        },
        "gpu": _gpu(),
    }


def detect() -> Target:
    """A target for this machine: ONNX Runtime on one thread, with the hardware facts that could be read."""
    known = {name: fact for name, fact in host_facts().items() if isinstance(fact, Fact)}
    model = known["cpu_model"].value if "cpu_model" in known else platform.machine()
    base = load("local-onnxruntime")
    return base.model_copy(update={"name": "local", "description": f"This machine: {model}", "hardware": known})


def _fact(found: str | Unknown, source: str) -> Fact | Unknown:
    return found if isinstance(found, Unknown) else Fact(value=found, source=source)


def _read(path: Path) -> Fact | Unknown:
    return _fact(machine.read(path), str(path))


def _memory() -> Fact | Unknown:
    try:
        import psutil

        return Fact(value=int(psutil.virtual_memory().total), source="psutil.virtual_memory")
    except (ImportError, OSError, RuntimeError) as error:
        return Unknown(f"psutil: {error}")


def _gpu() -> Fact | Unknown:
    try:
        import pynvml
    except ImportError:
        return Unknown("nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return Unknown(f"NVML: {error}")
    return Fact(value=str(name), source="NVML")
