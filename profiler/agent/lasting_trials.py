"""Trials in one process after another, which lives until a trial ends it: it has imported its runtime once for many."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]


class Trials:
    """A process that makes trials (`profiler.agent.trial`), replaced where one ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, folder: Path, patience_s: float) -> tuple[dict[str, Any] | None, str]:
        """The result, or None and how the process ended."""
        process = self._process
        if process is None or process.poll() is not None:
            command = [sys.executable, "-m", "profiler.agent.lasting_trials"]
            process = self._process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{folder}\n".encode())
            process.stdin.flush()
        except OSError:
            return None, self._died()
        if not select.select([process.stdout], [], [], patience_s)[0]:
            self.close()
            return None, f"it took more than {patience_s:.0f} s"
        path = folder / "result.json"
        if not os.read(process.stdout.fileno(), 1) or not path.exists():
            return None, self._died()
        result: dict[str, Any] = json.loads(path.read_text())
        return result, ""

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _died(self) -> str:
        process, self._process = self._process, None
        code = None if process is None else process.wait()
        return f"the runtime ended with it ({'signal' if (code or 0) < 0 else 'code'} {abs(code or 0)})"


def main() -> int:
    """Make the trials of folders that come as lines; a byte says that one is done."""
    from profiler.agent import trial

    done = os.dup(1)
    os.dup2(2, 1)  # what libraries print is nobody's
    for line in sys.stdin:
        trial.main([line.rstrip("\n")])
        os.write(done, b".")
    return 0


if __name__ == "__main__":
    sys.exit(main())
