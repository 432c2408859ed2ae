"""An external power meter, by a command that prints what it reads: a line for each sample, power in watts.

The command is not part of a profile, since profiles may come from anybody: it is what `HWNAS_METER_COMMAND` says on the
device, split into words as a shell would, and no shell runs it.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

from device_profiles.facts import Unavailable
from profiler.meters._windows import measured
from profiler.meters.protocol import Energy

VARIABLE = "HWNAS_METER_COMMAND"
#: Samples that tell how often the command prints, and how long they may take.
SAMPLES, PATIENCE_S = 5, 20.0


@dataclass
class Reading:
    """A running command and the power that it printed last."""

    words: list[str]
    update_ms: float = 0.0
    failed: str = ""
    _watts: float = math.nan
    _times_s: list[float] = field(default_factory=list)
    _enough: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """What is asked."""
        return f"{shlex.join(self.words)}: what its meter is wired to"

    def energy_mj(self) -> None:
        """It tells power."""

    def power_mw(self) -> float:
        """What was printed last.

        Raises:
            OSError: the command ended, or printed what is no power.
        """
        if self.failed:
            raise OSError(self.failed)
        return self._watts * 1e3

    @contextlib.contextmanager
    def running(self) -> Iterator[Reading]:
        """The command, from before its first samples until afterwards.

        Raises:
            OSError: it cannot be run, or prints no power.
        """
        process = subprocess.Popen(
            self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, errors="replace", process_group=0,
        )  # fmt: skip
        try:
            threading.Thread(target=self._read, args=(process,), daemon=True).start()
            if not self._enough.wait(PATIENCE_S):
                raise OSError(f"it printed {len(self._times_s)} samples in {PATIENCE_S:.0f} s")
            if self.failed:
                raise OSError(self.failed)
            steps = [after - before for before, after in zip(self._times_s, self._times_s[1:], strict=False)]
            self.update_ms = max(1e3 * median(steps), 1.0)
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                watts = float(line)
            except ValueError:
                watts = math.nan
            if not 0.0 <= watts < math.inf:
                self.failed = f"it printed {line.strip()[:60]!r}, and not a power in watts"
                break
            self._watts = watts
            if len(self._times_s) < SAMPLES:
                self._times_s.append(perf_counter())
            elif not self._enough.is_set():
                self._enough.set()
        self.failed = self.failed or "it ended"
        self._enough.set()


@dataclass(frozen=True)
class CommandMeter:
    """The meter."""

    def available(self) -> Unavailable | None:
        """That no command is set, or that it prints no power."""
        found = _words()
        if isinstance(found, Unavailable):
            return found
        try:
            with Reading(found).running():
                return None
        except OSError as error:
            return Unavailable(f"{shlex.join(found)}: {error}")

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """Energy of `work`, per repetition."""
        found = _words()
        if isinstance(found, Unavailable):
            return found
        try:
            with Reading(found).running() as reading:
                return measured(reading, work, window_s=window_s)
        except OSError as error:
            return Unavailable(f"{shlex.join(found)}: {error}")


def _words() -> list[str] | Unavailable:
    text = os.environ.get(VARIABLE, "")
    try:
        found = shlex.split(text)
    except ValueError as error:
        return Unavailable(f"{VARIABLE} is no command: {error}")
    return found or Unavailable(f"{VARIABLE} is not set on the device: the command that prints power in watts")


METER = CommandMeter
