"""A worker's lines: checked one by one, committed as they come; what breaks the protocol is an error of the device."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from device_profiles.errors import DeviceError
from profiler import events
from profiler.agent.job import PROTOCOL_VERSION, Job
from profiler.agent.protocol import Block
from profiler.energies import Wanted
from profiler.records import ProfileRow
from profiler.store import Store
from profiler.transports.protocol import LinkLost, TimedOut, Transport


class BrokenProtocol(DeviceError):
    """The agent wrote what is no line of the protocol; nothing of that line was committed."""


#: Fields of the agent's lines that are committed, with their types.
_FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "started": {"protocol": int},
    "block": {
        "candidate": str, "round": int, "calls": int, "ns": int, "sentinel_before_ns": int, "sentinel_after_ns": int,
        "retry": int, "cpu_ns": (int, type(None)), "switches": (int, type(None)),
    },
    "call": {"ns": int, "sentinel_ns": int},
    "loading": {"id": str},
    "loaded": {"id": str, "call_ns": int},
    "taking": {"id": str, "what": str, "seconds": (int, float)},
    "failed": {"id": str, "kind": str, "reason": str, "hint": str},
    "profile": {"id": str, "kernels": list, "allocator_peak_bytes": (int, type(None)), "sentinel_ns": int,
                "run_ns": (float, int, type(None))},
    "memory": {"id": str},
    "deviation": {"id": str, "sets": int, "calibration": str},
    "clocks": {"id": str, "round": int, "slowed_by": (list, type(None))},
    "meter": {"name": str, "unavailable": str},
    "energy": {"id": str},
    "window": {"gross_mj": (int, float), "net_mj": (int, float), "sensor": str, "update_ms": (int, float)},
}  # fmt: skip

#: Seconds that a worker may be silent: before its first line, while a model is loaded and called for the first time,
#: and at least while it does what it said it would do.
START_S, LOAD_S, LEAST_S = 120.0, 120.0, 30.0
#: A piece of work that takes this many times what the worker said hangs.
PATIENCE = 10.0

_WORDS = {
    "memory": "load it and run it once",
    "block": "run it",
    "comparison": "run it on what it was calibrated on",
    "energy": "run it before the energy meter",
    "profile": "run it under the profiler",
}

Fail = Callable[[str, str, str, str], None]


class Reader:
    """Reads one worker.

    Args:
        store: where its lines are committed.
        process: the store's number of the worker.
        job: what it was given.
        fail: told `(model, kind, reason, hint)` of a model that cannot be measured.
        listener: told of what was committed.
        spent_s: device time spent before this worker.
        facts: what the host knows of the machine, kept with what the worker says of it.
        metered: told of windows of the energy meter.
        number: of the worker in its campaign.
        turn: held while something is committed; workers of several devices take turns.
        taken: called after each block.
        load_s: a model may take this long to load and to run for the first time.

    Attributes:
        silence_s: how long the worker may be silent now; it follows what the worker says it does.
    """

    def __init__(
        self,
        store: Store,
        process: int,
        job: Job,
        *,
        fail: Fail,
        listener: events.Listener,
        spent_s: float,
        facts: list[dict[str, Any]],
        metered: Wanted,
        number: int = 1,
        turn: AbstractContextManager[Any] | None = None,
        taken: Callable[[], None] = lambda: None,
        load_s: float = LOAD_S,
    ) -> None:
        self.number = number
        self._turn = turn or contextlib.nullcontext()
        self._taken = taken

        self.silence_s = START_S
        self._load_s = load_s
        self._what = ""
        self.sentinels_ns: list[int] = []
        self._store = store
        self._process = process
        self._job = job
        self._fail = fail
        self._listener = listener
        self._spent_before_s = spent_s
        self._facts = facts
        self._metered = metered
        self._models = {candidate.id for candidate in job.candidates}
        self._busy = ""
        self._finished = False
        self._started_s = time.monotonic()

    @property
    def spent_s(self) -> float:
        """Device time spent, this worker's included."""
        return self._spent_before_s + time.monotonic() - self._started_s

    def run(self, transport: Transport, folder: Path, environment: Mapping[str, str]) -> None:
        """Start the worker and read it to its end, which it does not outlive.

        Raises:
            BrokenProtocol: a line is none, or the last one is missing.
            DeviceError: the worker ended by itself, or hung, with no model in hand. With one, that is the model's
                failure instead.
        """
        lines = transport.run(folder, environment, lambda: self.silence_s)
        try:
            with contextlib.closing(lines):
                for line in lines:
                    with self._turn:
                        self._take(self._parsed(line))
            if not self._finished:
                raise BrokenProtocol("the agent ended before it was finished", hint="Run the command again.")
        except (BrokenProtocol, LinkLost):  # no model is to blame
            raise
        except DeviceError as error:
            if not self._busy:
                raise
            with self._turn:
                self._blame(error)
        finally:
            self._store.end_process(
                self._process,
                state="finished" if self._finished else "stopped",
                device_s=self.spent_s - self._spent_before_s,
                facts=self._facts,
            )

    def _blame(self, error: DeviceError) -> None:
        """The worker ended with a model in hand."""
        if isinstance(error, TimedOut):
            reason = f"it took more than {self.silence_s:.0f} s to {self._what}"
            self._fail(self._busy, "TimedOut", reason, "Run again with more --budget, or leave it out.")
        else:
            self._fail(
                self._busy,
                "RuntimeCrash",
                f"the runtime ended when it was to {self._what}: {error.message}",
                error.hint,
            )

    def _take(self, line: dict[str, Any]) -> None:
        """Commit one line."""
        event, model = line.pop("event"), line.get("id", "")
        if event == "block":
            block = Block(**line)
            self._idle()
            self._store.add_block(self._process, block)
            self._taken()
            self.sentinels_ns.append(min(block.sentinel_before_ns, block.sentinel_after_ns))
            self._listener(events.BlockTaken(block.candidate, block.round, self.spent_s))
        elif event == "loading":
            self._work(model, "load it and run it once", self._load_s)
        elif event == "loaded":
            self._idle()
            self._listener(events.ModelLoaded(model))
        elif event == "taking":
            seconds = float(line["seconds"])
            loads = line["what"] in ("memory", "comparison")
            self._work(model, _WORDS.get(line["what"], "run it"), self._load_s if loads else PATIENCE * seconds)
            if seconds >= events.SLOW_S:
                self._listener(events.SlowBlock(model, seconds, self.spent_s))
        elif event == "failed":
            self._idle()
            self._fail(model, line["kind"], line["reason"], line["hint"])
        elif event == "profile":
            self._idle()
            row = ProfileRow(model, line["kernels"], line["allocator_peak_bytes"], line["sentinel_ns"], line["run_ns"])
            self._store.add_profile(self._process, row)
        elif event == "memory":
            self._idle()
            self._store.add_memory(self._process, model, line.get("process_peak_bytes"), line.get("unavailable"))
        elif event == "energy":
            self._take_energy(line)
        elif event == "finished":
            self._finished = True
        else:
            self._take_fact(event, line)

    def _take_energy(self, line: dict[str, Any]) -> None:
        self._idle()
        told = self._metered.told(line)
        if isinstance(told, dict):
            self._facts.append(told)
        else:
            self._store.add_energy(self._process, line["id"], told, 0)  # a process takes one window of a model

    def _take_fact(self, event: str, line: dict[str, Any]) -> None:
        if event == "meter":
            self._metered.give_up()
        if event == "deviation":
            self._idle()
        self._facts.append({"event": event, **line})

    def _work(self, model: str, what: str, seconds: float) -> None:
        self._busy, self._what, self.silence_s = model, what, max(seconds, LEAST_S)

    def _idle(self) -> None:
        self._busy, self.silence_s = "", START_S

    def _parsed(self, text: str) -> dict[str, Any]:
        """A line without its nonce; a missing or strange field is an error, never a default."""
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not {"event", "nonce"} <= line.keys():
            raise _no_result(text)
        if line.pop("nonce") != self._job.nonce:
            raise BrokenProtocol("the agent answered for another job", hint="Run the command again.")
        wanted = _FIELDS.get(str(line["event"]), {})
        if line["event"] == "energy":
            wanted = {**wanted, **({"unavailable": str} if "unavailable" in line else _FIELDS["window"])}
        typed = all(name in line and isinstance(line[name], kind) for name, kind in wanted.items())
        known = {line.get("id"), line.get("candidate")} <= {None, *self._models}
        exact = line["event"] != "block" or line.keys() == {"event", *wanted}
        if not (typed and known and exact):
            raise _no_result(text)
        if line["event"] == "started" and line["protocol"] != PROTOCOL_VERSION:
            raise BrokenProtocol(
                f"the agent speaks version {line['protocol']} of the protocol, this is {PROTOCOL_VERSION}",
                hint="Install the same version of hwnas on the device.",
            )
        return line


def _no_result(text: str) -> BrokenProtocol:
    return BrokenProtocol(
        f"the agent wrote a line that is no result: {text[:200]!r}", hint="It was probably cut off; run it again."
    )
