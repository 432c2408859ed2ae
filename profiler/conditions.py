"""The conditions of a target, as they are now."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from device_profiles.conditions import Conditions
from device_profiles.facts import Unknown
from device_profiles.host import host_facts
from device_profiles.profile import Target
from profiler import runtimes
from profiler.agent.job import PROTOCOL_VERSION


def pinned_cpus(target: Target) -> tuple[int, ...]:
    """The CPUs that workers are pinned to: the last ones allowed, away from CPU 0, which handles most interrupts."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    allowed = sorted(os.sched_getaffinity(0))
    return tuple(allowed[-target.runtime.threads :])


def worker_environment(target: Target, process: int) -> dict[str, str]:
    """Variables of a worker: thread pools are sized before numpy or a runtime is imported."""
    threads = str(target.runtime.threads)
    return {
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": threads,
        "HWNAS_PROCESS": str(process),
    }


def conditions_of(target: Target) -> Conditions:
    """What numbers measured on this target now have in common.

    Raises:
        DeviceError: the runtime is not installed.
    """
    import hashlib

    facts = host_facts()

    def fact(name: str) -> str:
        found = facts.get(name)
        return f"unknown: {found.reason}" if isinstance(found, Unknown) else str(found.value) if found else "unknown"

    flags = fact("cpu_flags")
    runtime = target.runtime
    return Conditions(
        device=fact("cpu_model"),
        machine=platform.machine(),
        cpu_flags=hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:12],
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        governor=fact("governor"),
        runtime=runtime.name,
        runtime_version=runtimes.load(runtime.name).version,
        numpy=version("numpy"),
        threads=runtime.threads,
        affinity=pinned_cpus(target),
        precision=runtime.precision,
        optimisation=runtime.optimisation,
        batch=target.batch,
        cache_state="network",
        options=tuple(sorted((name, str(value)) for name, value in runtime.options.items())),
        protocol=PROTOCOL_VERSION,
    )
