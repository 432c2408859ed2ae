"""This machine: the agent is a fresh process of the same Python."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from profiler.transports.protocol import AgentEnded, TimedOut

#: Seconds between two looks at a silent agent.
_LOOK_S = 0.2
_ROOT = Path(__file__).resolve().parents[2]


class LocalTransport:
    """Starts the agent as a child process.

    Args:
        address: of no meaning here.
        options: none.
        root: folder of the packages that the agent is imported from; no profile can give it, since that is code.
    """

    options: ClassVar[tuple[str, ...]] = ()
    retries: ClassVar[int] = 0

    def __init__(self, address: str = "", options: Mapping[str, object] | None = None, *, root: Path = _ROOT) -> None:
        self._root = root

    def facts(self, runtime: str) -> Mapping[str, Any]:
        """What this machine says of itself."""
        from profiler.agent.facts import of_device

        return of_device(runtime)

    def held(self, *, wait: bool) -> AbstractContextManager[None]:
        """The lock of this machine is the campaign's own."""
        return contextlib.nullcontext()

    def drop(self) -> None:
        """There is no link."""

    def check(self, seconds: float, runtime: str) -> Mapping[str, Any]:
        """Watch this machine."""
        from profiler.agent.checks import watch

        return watch(seconds, runtime)

    def run(self, folder: Path, environment: Mapping[str, str], silence_s: Callable[[], float]) -> Generator[str]:
        """Run the agent and yield its lines."""
        variables = {**os.environ, **environment, "PYTHONPATH": str(self._root), "PYTHONDONTWRITEBYTECODE": "1"}
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "profiler.agent", str(folder / "job.json")],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=variables,
                cwd=folder,
                process_group=0,
            )
            watch = _Watch(process, silence_s)
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    watch.heard()
                    yield line
                process.wait()
            finally:
                watch.stop()
                if process.poll() is None:
                    _kill(process)
                    process.wait()
            if watch.killed:
                raise TimedOut(
                    f"the agent was stopped: it was silent for {watch.silent_s:.0f} s",
                    hint="Run the same command again; it goes on from there.",
                )
            if process.returncode != 0:
                errors.seek(0)
                tail = "\n".join(errors.read().strip().splitlines()[-5:])
                raise AgentEnded(f"the agent ended with code {process.returncode}: {tail or 'no message'}")


class _Watch:
    """Kills a process that is silent for longer than it may be."""

    def __init__(self, process: subprocess.Popen[str], silence_s: Callable[[], float]) -> None:
        self.killed = False
        self.silent_s = 0.0
        self._process = process
        self._silence_s = silence_s
        self._heard_s = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def heard(self) -> None:
        """A line came."""
        self._heard_s = time.monotonic()

    def stop(self) -> None:
        """Look no further."""
        self._ended.set()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.silent_s = time.monotonic() - self._heard_s
            if self.silent_s > self._silence_s():
                self.killed = True
                _kill(self._process)
                return


def _kill(process: subprocess.Popen[str]) -> None:
    """End the agent and what it forked: a child that lives on would hold its standard output open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


TRANSPORT = LocalTransport
