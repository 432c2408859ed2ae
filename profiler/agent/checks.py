"""What would disturb a campaign on this device: how steady it is, and what it says of itself."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from device_profiles import machine

#: Seconds that the sentinel rests between two looks: half a minute shows what comes and goes.
_REST_S = 0.02
#: What tells of Android's services.
_DUMPSYS = "/system/bin/dumpsys"


def temperatures_c(root: Path = machine.ROOT) -> dict[str, float]:
    """Thermal zones by their type, in degrees Celsius; those that tell none are left out."""
    found: dict[str, float] = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        try:
            value = float((zone / "temp").read_text())
            kind = (zone / "type").read_text().strip()
        except (OSError, ValueError):
            continue
        value = value / 1e3 if abs(value) >= 1e3 else value  # a few kernels tell whole degrees
        if -40.0 < value < 150.0:
            found[f"{kind} {zone.name.removeprefix('thermal_zone')}"] = value
    return found or _battery_c()


def _battery_c() -> dict[str, float]:
    """A phone's battery, where its shell may read no zone."""
    try:
        said = subprocess.run([_DUMPSYS, "battery"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    tenths = [line.split(":")[1].strip() for line in said.splitlines() if line.strip().startswith("temperature:")]
    return {"battery": int(tenths[0]) / 10.0} if tenths and tenths[0].lstrip("-").isdigit() else {}


def hardware(root: Path = machine.ROOT) -> dict[str, Any]:
    """Facts of the device for its profile: what it could not tell is left out."""
    known = machine.cpuinfo(root)
    facts: dict[str, Any] = {"machine": os.uname().machine, "cpus": os.cpu_count() or 1}
    for name, value in (("cpu_model", machine.cpu_model(known)), ("cpu_flags", machine.cpu_flags(known))):
        if isinstance(value, str) and value:
            facts[name] = value
    facts["system"] = f"{os.uname().sysname} {os.uname().release}"
    model = machine.read(root / "proc/device-tree/model")
    if isinstance(model, str):
        facts["board"] = model.strip("\x00\n ")
    memory = machine.read(root / "proc/meminfo")
    if isinstance(memory, str) and memory.startswith("MemTotal:"):
        facts["memory_bytes"] = int(memory.split()[1]) * 1024
    return facts


def watch(seconds: float, runtime: str) -> dict[str, Any]:
    """Run the sentinel for a while.

    Returns:
        `sentinel_ns`: its times in order; `load`: of the last minute before; `governor`, "" if unknown; `before_c` and
        `after_c`: temperatures; `free_bytes` of the disk; `swapping`; `cpus`; `runtime`: its version, or `missing`: why
        it cannot be used.
    """
    from device_profiles.errors import HwnasError
    from profiler import runtimes
    from profiler.agent import sentinel
    from profiler.agent.protocol import sentinel_ns

    governor = machine.governor()
    said: dict[str, Any] = {"load": os.getloadavg()[0], "before_c": temperatures_c()}
    said["governor"] = governor if isinstance(governor, str) else ""
    try:
        said["runtime"] = runtimes.load(runtime).version
    except HwnasError as error:
        said["missing"] = f"{error.message}; {error.hint}"
    guard = sentinel.sentinels()[sentinel.GUARD].run
    swapped, end = _swapped(), time.monotonic() + seconds
    times: list[int] = []
    while time.monotonic() < end or len(times) < 5:
        times.append(sentinel_ns(guard, time.perf_counter_ns))
        time.sleep(_REST_S)
    disk = os.statvfs(Path.home())
    return {
        **said,
        "sentinel_ns": times,
        "after_c": temperatures_c(),
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "swapping": _swapped() > swapped,
        "cpus": os.cpu_count() or 1,
    }


def _swapped() -> int:
    """Pages that went to the swap since the device was started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("pswpout ")), 0)
