"""The worker: pin, import the runtime, measure, write lines. Standard output carries the result and nothing else."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from profiler.agent.job import PROTOCOL_VERSION, Candidate, Job

Emit = Callable[..., None]


def main(arguments: list[str]) -> int:
    """Run the job of the given file; 0 if it ended by itself."""
    job_path = Path(arguments[0])
    job = Job.read(job_path)
    emit = _emitter(job.nonce)
    pinned = _pin(job.affinity)
    emit("started", protocol=PROTOCOL_VERSION, pid=os.getpid(), python=platform.python_version(), affinity=pinned)
    from profiler import runtimes
    from profiler.agent import protocol, sentinel
    from profiler.runtimes.protocol import RuntimeOptions

    runtime = runtimes.load(job.runtime)

    def load(candidate: Candidate) -> Any:
        optimisation = candidate.optimisation or job.optimisation
        options = RuntimeOptions(job.threads, job.precision, optimisation, job.options)
        return runtime.load(job_path.parent / candidate.file, options)

    emit("runtime", version=runtime.version)
    for candidate in job.candidates:
        if candidate.memory:
            peak = _process_peak(lambda c=candidate: load(c).run())  # type: ignore[misc]
            emit("memory", id=candidate.id, **peak)

    clock = runtime.clock
    workloads = runtime.sentinels() or sentinel.sentinels()
    guard = workloads[sentinel.GUARD]
    sessions: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for candidate in job.candidates:
        session = _load(candidate, load, emit)
        if session is None:
            continue
        warmup = protocol.warm_up(session.run, clock)
        counts[candidate.id] = protocol.block_calls(session.run, clock, job.plan)
        sessions[candidate.id] = session
        emit(
            "loaded",
            id=candidate.id,
            warmup_calls=warmup.calls,
            warmup_agreed=warmup.agreed,
            calls=counts[candidate.id],
        )
    emit("state", **_state(workloads, clock))
    if sessions:
        calls = {name: session.run for name, session in sessions.items()}
        for block in protocol.measure(calls, counts, guard, clock, job.plan):
            emit("block", **asdict(block))
    emit("state", **_state(workloads, clock))
    for candidate in job.candidates:
        if candidate.profile_runs and candidate.id in sessions:
            before = protocol.sentinel_ns(guard, clock)
            profile = sessions[candidate.id].profile(candidate.profile_runs)
            guards = [before, *(protocol.sentinel_ns(guard, clock) for _ in range(2))]
            if profile is not None:
                emit(
                    "profile",
                    id=candidate.id,
                    kernels=[[k.node, k.op_type, k.mean_ns, k.runs] for k in profile.kernels],
                    allocator_peak_bytes=profile.allocator_peak_bytes,
                    sentinel_ns=sorted(guards)[1],
                )
    emit("finished")
    return 0


def _emitter(nonce: str) -> Emit:
    """A writer of lines on the real standard output; what libraries print goes to standard error from here on."""
    stream = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: str, **fields: Any) -> None:
        stream.write(json.dumps({"event": event, "nonce": nonce, **fields}, separators=(",", ":")) + "\n")

    return emit


def _pin(affinity: tuple[int, ...]) -> list[int]:
    """Pin to those CPUs; the mask that is in force afterwards, empty where the system cannot pin."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    if affinity:
        os.sched_setaffinity(0, affinity)
    return sorted(os.sched_getaffinity(0))


def _load(candidate: Candidate, load: Callable[[Candidate], Any], emit: Emit) -> Any:
    """The session, or None after saying why; `loading` comes first, so that a crash of the runtime has a name."""
    from device_profiles.errors import HwnasError

    emit("loading", id=candidate.id)
    try:
        session = load(candidate)
        session.run()
    except HwnasError as error:
        emit("failed", id=candidate.id, kind=type(error).__name__, reason=error.message, hint=error.hint)
        return None
    except (RuntimeError, ValueError, KeyError, MemoryError, OSError) as error:
        emit("failed", id=candidate.id, kind=type(error).__name__, reason=str(error), hint="")
        return None
    return session


def _state(workloads: Any, clock: Callable[[], int]) -> dict[str, Any]:
    """Every sentinel once warm, the best of five, in ns; and the CPU's frequency where the system tells."""
    from profiler.agent.protocol import time_calls

    times = {f"{name}_ns": min(time_calls(work, 1, clock) for _ in range(5)) for name, work in workloads.items()}
    try:
        frequency = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").read_text().strip()
    except OSError:
        frequency = "unknown"
    return {**times, "frequency_khz": frequency, "wall_s": time.time()}


def _process_peak(run: Callable[[], None]) -> dict[str, Any]:
    """Peak resident memory of a forked process that loads and runs a model once: `VmHWM` after its mark was reset.

    Not `ru_maxrss`: a child inherits its parent's through fork and exec.
    """
    if not Path("/proc/self/clear_refs").exists() or not hasattr(os, "fork"):
        return {"unavailable": "this system has no /proc/self/clear_refs"}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            Path("/proc/self/clear_refs").write_text("5")
            run()
            lines = Path("/proc/self/status").read_text().splitlines()
            peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
            os.write(writer, str(peak).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return {"process_peak_bytes": int(text)} if text else {"unavailable": "the model could not be run"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
