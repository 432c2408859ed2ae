"""The worker: pin, import the runtime, measure, write lines. Standard output carries the result and nothing else."""

from __future__ import annotations

import gc
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

#: Blocks and calls of each in which the empty call is timed: about 20 ms where a call takes 3 us.
EMPTY_BLOCKS, EMPTY_CALLS = 15, 400
#: Time of a model under the profiler, roughly.
PROFILE_NS = 2e9


def main(arguments: list[str]) -> int:
    """Run the job of the given file; 0 if it ended by itself."""
    job_path = Path(arguments[0])
    job = Job.read(job_path)
    emit = _emitter(job.nonce)
    pinned = _pin(job.affinity)
    emit("started", protocol=PROTOCOL_VERSION, pid=os.getpid(), python=platform.python_version(), affinity=pinned)
    from profiler import runtimes
    from profiler.agent import sentinel

    runtime = runtimes.load(job.runtime)
    emit("runtime", version=runtime.version)
    worker = Worker(job, job_path.parent, runtime, emit)
    worker.weigh()
    workloads = runtime.sentinels() or sentinel.sentinels()
    guard = workloads[sentinel.GUARD].run
    worker.time_empty_call(guard)
    worker.load_all()
    worker.compare_all()
    emit("state", **_state(workloads, runtime.clock))
    worker.take_blocks(guard)
    emit("state", **_state(workloads, runtime.clock))
    worker.profile_all(guard)
    worker.meter_all()
    emit("finished")
    return 0


class Worker:
    """The models of one job in this process; each step writes what it finds.

    Before each piece of work it says whose it is, so that a crash or a hang has a name.
    """

    def __init__(self, job: Job, folder: Path, runtime: Any, emit: Emit) -> None:
        self._job = job
        self._folder = folder
        self._runtime = runtime
        self._clock: Callable[[], int] = runtime.clock
        self._emit = emit
        self._sessions: dict[str, Any] = {}
        self._works: dict[str, Any] = {}
        self._started_s = time.monotonic()

    def weigh(self) -> None:
        """Peak memory of a process that runs each model alone."""
        for candidate in self._job.candidates:
            if candidate.memory:
                self._emit("taking", id=candidate.id, what="memory", seconds=0.0)
                peak = _process_peak(lambda c=candidate: self._session(c).run())  # type: ignore[misc]
                self._emit("memory", id=candidate.id, **peak)

    def time_empty_call(self, guard: Callable[[], None]) -> None:
        """What a call costs in this process: the best of some blocks of the smallest model, if the job has one."""
        from profiler.agent import protocol

        if not self._job.empty:
            return
        session = self._runtime.load(self._folder / self._job.empty, self._options())
        protocol.warm_up(session.call, self._clock)
        times = [protocol.time_calls(session.call, EMPTY_CALLS, self._clock) for _ in range(EMPTY_BLOCKS)]
        session.close()
        self._emit(
            "call", ns=int(min(times) / EMPTY_CALLS), sentinel_ns=protocol.sentinel_ns(guard, self._clock, EMPTY_BLOCKS)
        )

    def load_all(self) -> None:
        """Compile and warm up every model, and find how many calls its blocks need."""
        from profiler.agent import protocol

        for candidate in self._job.candidates:
            loaded = self._load(candidate)
            if loaded is None:
                continue
            session, first_ns = loaded
            slow = first_ns > protocol.WARMUP_CAP_NS
            warmup = protocol.Warmup(1, True) if slow else protocol.warm_up(session.call, self._clock)
            work = protocol.work_of(session.call, self._clock, self._job.plan, first_ns)
            self._sessions[candidate.id], self._works[candidate.id] = session, work
            self._emit(
                "loaded",
                id=candidate.id,
                warmup_calls=warmup.calls,
                warmup_agreed=warmup.agreed,
                calls=work.calls,
                call_ns=int(work.call_ns),
            )

    def compare_all(self) -> None:
        """How far outputs are from what ONNX defines, where the job has these."""
        from device_profiles.errors import HwnasError
        from profiler.agent import comparing

        for candidate in self._job.candidates:
            if not candidate.expected or candidate.id not in self._sessions:
                continue
            self._emit("taking", id=candidate.id, what="comparison", seconds=0.0)

            def run(inputs: Any, candidate: Candidate = candidate) -> Any:
                session = self._runtime.load(self._folder / candidate.file, self._options(), inputs)
                try:
                    return session.outputs()
                finally:
                    session.close()

            try:
                found = comparing.far(run, self._folder / candidate.expected, candidate.expected_names, candidate.sets)
            except (HwnasError, RuntimeError, ValueError, KeyError, MemoryError, OSError) as error:
                found = {"unavailable": f"{type(error).__name__}: {error}"}
            if 0.0 < candidate.allowed < found.get("largest", 0.0):
                self._drop(candidate, found["largest"])
                continue
            about = {"sets": candidate.sets, "calibration": candidate.calibration}
            self._emit("deviation", id=candidate.id, **found, **about)

    def _drop(self, candidate: Candidate, largest: float) -> None:
        """Nothing else shows in which precision it runs, and its outputs show another one."""
        self._sessions.pop(candidate.id).close()
        del self._works[candidate.id]
        self._emit(
            "failed",
            id=candidate.id,
            kind="WrongPrecision",
            reason=f"its outputs are {largest:.1e} of the largest value from those of ONNX: that is not "
            f"{self._job.precision}",
            hint="The runtime takes another precision by itself: set it in the target's [runtime.options].",
        )

    def take_blocks(self, guard: Callable[[], None]) -> None:
        """The rounds."""
        from profiler.agent import protocol

        def starting(name: str, ns: float) -> None:
            self._emit("taking", id=name, what="block", seconds=ns / 1e9)

        if self._works:
            meter = _meter(self._clock)
            state = getattr(self._runtime, "state", None)
            for block in protocol.measure(self._works, guard, meter, self._job.plan, starting=starting):
                self._emit("block", **asdict(block))
                if state is not None:
                    self._emit("clocks", id=block.candidate, round=block.round, **state())

    def profile_all(self, guard: Callable[[], None]) -> None:
        """Times of the kernels inside of their networks, by the runtime's own profiler."""
        from profiler.agent import protocol

        for candidate in self._job.candidates:
            if not candidate.profile_runs or candidate.id not in self._sessions:
                continue
            call_ns = self._works[candidate.id].call_ns
            runs = max(1, min(candidate.profile_runs, int(PROFILE_NS / max(call_ns, 1.0))))
            self._emit("taking", id=candidate.id, what="profile", seconds=(2 * runs + 1) * call_ns / 1e9)
            before = protocol.sentinel_ns(guard, self._clock)
            profile = self._sessions[candidate.id].profile(runs)
            guards = [before, *(protocol.sentinel_ns(guard, self._clock) for _ in range(2))]
            if profile is not None:
                self._emit(
                    "profile",
                    id=candidate.id,
                    kernels=[[k.node, k.op_type, k.mean_ns, k.runs] for k in profile.kernels],
                    allocator_peak_bytes=profile.allocator_peak_bytes,
                    run_ns=profile.run_ns,
                    sentinel_ns=sorted(guards)[1],
                )

    def meter_all(self) -> None:
        """Energy: a window of each model that wants one, while there is time."""
        from device_profiles.facts import Unavailable
        from profiler import meters

        how = self._job.metering
        wanted = [one for one in self._job.candidates if one.energy and one.id in self._works]
        if how is None or not wanted:
            return
        meter = meters.load(how.meter, how.hardware)
        missing = meter.available()
        if missing is not None:
            self._emit("meter", name=how.meter, unavailable=missing.reason)
            return
        for number, candidate in enumerate(wanted):
            if number and time.monotonic() - self._started_s > how.seconds:
                return
            self._emit("taking", id=candidate.id, what="energy", seconds=2.0 * how.window_s)
            found = meter.measure(self._works[candidate.id].call, window_s=how.window_s)
            told = {"unavailable": found.reason} if isinstance(found, Unavailable) else asdict(found)
            self._emit("energy", id=candidate.id, **told)

    def _options(self, optimisation: str | None = None) -> Any:
        from profiler.runtimes.protocol import RuntimeOptions

        job = self._job
        return RuntimeOptions(job.threads, job.precision, optimisation or job.optimisation, job.options)

    def _session(self, candidate: Candidate) -> Any:
        model = self._folder / candidate.file
        return self._runtime.load(model, self._options(candidate.optimisation), _inputs(self._folder, candidate))

    def _load(self, candidate: Candidate) -> tuple[Any, int] | None:
        """The session and the time of its second call, or of its first where that is long; None after saying why."""
        from device_profiles.errors import HwnasError
        from profiler.agent import protocol

        self._emit("loading", id=candidate.id)
        try:
            session = self._session(candidate)
            taken = protocol.time_calls(session.run, 1, self._clock)
            if taken < protocol.WARMUP_CAP_NS:
                taken = protocol.time_calls(session.call, 1, self._clock)
        except HwnasError as error:
            self._emit("failed", id=candidate.id, kind=type(error).__name__, reason=error.message, hint=error.hint)
            return None
        except (RuntimeError, ValueError, KeyError, MemoryError, OSError) as error:
            self._emit("failed", id=candidate.id, kind=type(error).__name__, reason=str(error), hint="")
            return None
        return session, taken


def _inputs(folder: Path, candidate: Candidate) -> dict[str, Any] | None:
    """The candidate's own inputs by name, or None if the runtime is to draw them."""
    if not candidate.inputs:
        return None
    import numpy as np

    with np.load(folder / candidate.inputs, allow_pickle=False) as file:
        arrays = [file[f"arr_{position}"] for position in range(len(candidate.input_names))]
    return dict(zip(candidate.input_names, arrays, strict=True))


def _meter(clock: Callable[[], int]) -> Any:
    """Clocks of a block; CPU time only where the clock is that of this machine."""
    from profiler.agent.protocol import Meter

    if clock is not time.perf_counter_ns:
        return Meter(clock)
    import resource

    return Meter(clock, time.thread_time_ns, lambda: resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


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


def _state(workloads: Any, clock: Callable[[], int]) -> dict[str, Any]:
    """Every sentinel once warm, the best of five, in ns; and the CPU's frequency where the system tells."""
    from profiler.agent.protocol import time_calls

    times = {f"{name}_ns": min(time_calls(one.run, 1, clock) for _ in range(5)) for name, one in workloads.items()}
    work = {name: {"operations": one.operations, "bytes": one.bytes} for name, one in workloads.items()}
    try:
        frequency = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").read_text().strip()
    except OSError:
        frequency = "unknown"
    return {**times, "work": work, "frequency_khz": frequency, "wall_s": time.time()}


def _process_peak(run: Callable[[], None]) -> dict[str, Any]:
    """Peak resident memory of a forked process that loads and runs a model once: `VmHWM` after its mark was reset.

    Not `ru_maxrss`: a child inherits its parent's through fork and exec.
    """
    if not Path("/proc/self/clear_refs").exists() or not hasattr(os, "fork"):
        return {"unavailable": "this system has no /proc/self/clear_refs"}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        gc.freeze()  # a session that is collected here waits for its threads, which are not here
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


def _run(arguments: list[str]) -> int:
    """`main`; what stops it that has a name is one line of standard error, which the host tells."""
    from device_profiles.errors import HwnasError

    try:
        return main(arguments)
    except HwnasError as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        return 1


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
