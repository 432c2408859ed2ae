"""The conditions of a target, as its device tells them now."""

from __future__ import annotations

from device_profiles.conditions import KINDS, Conditions
from device_profiles.profile import Target
from profiler import transports
from profiler.agent.job import PROTOCOL_VERSION


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
    """What numbers measured on this target now have in common; the device is asked.

    Workers are pinned to the last CPUs that are allowed, away from CPU 0, which handles most interrupts.

    Raises:
        DeviceError: the runtime is not installed there.
    """
    runtime = target.runtime
    facts = dict(transports.of(target).facts(runtime.name))
    device, version, allowed = facts.pop("device"), facts.pop("runtime_version"), facts.pop("allowed")
    kind = KINDS[facts.pop("kind", "cpu")]
    return Conditions(
        device=device,
        own=kind(**facts, threads=runtime.threads, affinity=tuple(allowed[-runtime.threads :])),
        runtime=runtime.name,
        runtime_version=version,
        precision=runtime.precision,
        optimisation=runtime.optimisation,
        cache_state="network",
        options=tuple(sorted((name, str(value)) for name, value in runtime.options.items())),
        batch=1,
        protocol=PROTOCOL_VERSION,
    )
