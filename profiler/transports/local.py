"""This machine: the agent is a fresh process of the same Python."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import ClassVar

from device_profiles.errors import DeviceError

_ROOT = Path(__file__).resolve().parents[2]


class LocalTransport:
    """Starts the agent as a child process.

    Args:
        address: of no meaning here.
        options: none.
        root: folder of the packages that the agent is imported from; no profile can give it, since that is code.
    """

    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, address: str = "", options: Mapping[str, object] | None = None, *, root: Path = _ROOT) -> None:
        self._root = root

    def run(self, folder: Path, environment: Mapping[str, str], timeout_s: float) -> Generator[str]:
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
            timed_out = threading.Event()

            def stop() -> None:
                timed_out.set()
                _kill(process)

            timer = threading.Timer(timeout_s, stop)
            timer.start()
            try:
                assert process.stdout is not None
                yield from process.stdout
                process.wait()
            finally:
                timer.cancel()
                if process.poll() is None:
                    _kill(process)
                    process.wait()
            if timed_out.is_set():
                raise DeviceError(
                    f"the agent was stopped after {timeout_s:.0f} s", hint="Measure fewer models at once."
                )
            if process.returncode != 0:
                errors.seek(0)
                tail = "\n".join(errors.read().strip().splitlines()[-5:])
                raise DeviceError(f"the agent ended with code {process.returncode}: {tail or 'no message'}")


def _kill(process: subprocess.Popen[str]) -> None:
    """End the agent and what it forked: a child that lives on would hold its standard output open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


TRANSPORT = LocalTransport
