"""What a device says of itself: the facts that its numbers share. Standard library and the runtime alone."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import version
from typing import Any

from device_profiles import machine


def of_device(runtime: str) -> dict[str, Any]:
    """Facts of the device that this process runs on, as JSON-ready data.

    Args:
        runtime: registered name of a runtime, whose version is asked.

    Returns:
        The fields of `device_profiles.conditions.Cpu` that are facts of the device, `device`, `runtime_version`, and
        the CPUs that a worker may be pinned to (`allowed`; none where the system cannot pin). Of a runtime that has
        `facts` of its own, since models run elsewhere than on the CPU, those of `Gpu`.

    Raises:
        DeviceError: the runtime is not installed.
    """
    from profiler import runtimes

    loaded, known = runtimes.load(runtime), machine.cpuinfo()
    host = {
        "kernel": platform.release(),
        "runtime_version": loaded.version,
        "allowed": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
    }
    own = getattr(loaded, "facts", None)
    if own is not None:
        return {**host, "kind": "gpu", "host": str(machine.cpu_model(known)), **own()}
    flags = " ".join(sorted(str(machine.cpu_flags(known)).split()))
    return {
        "device": str(machine.cpu_model(known)),
        "machine": platform.machine(),
        "cpu_flags": hashlib.sha256(flags.encode()).hexdigest()[:12],
        "cores": os.cpu_count() or 1,
        "governor": str(machine.governor()),
        "numpy": version("numpy"),
        **host,
    }
