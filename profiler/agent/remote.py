"""The device's end of a link: it takes files and jobs on standard input, runs them, and writes what comes of them.

A request is one line of JSON; only `put` is followed by bytes. An answer is one line of JSON; only files of a trial are
followed by bytes. `docs/reference/agent-protocol.md` has all of them, so that another agent can stand in.
A host that is silent for `SILENCE_S` is gone: what runs is killed. Standard library alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from profiler.agent.lasting_trials import Trials

#: A host says something at least this often, if only that it is there.
SILENCE_S = 60.0
#: Files that were sent are kept up to this size, those that were used last; and those that this host uses.
MOST_BYTES = 1 << 30
#: How long a job waits for a device that is too warm, and between two looks.
COOLING_S, LOOK_S = 900.0, 5.0
_CHUNK = 1 << 16
_ROOT = Path(__file__).resolve().parents[2]


class Gone(Exception):
    """The host is."""


class Server:
    """Answers one host until it is gone."""

    def __init__(self, home: Path) -> None:
        self._files, self._jobs = home / "files", home / "jobs"
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)  # what libraries print goes to standard error
        self._writing = threading.Lock()
        self._number = 0
        self._asked: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._child: subprocess.Popen[bytes] | None = None
        self._held = contextlib.ExitStack()
        self._wanted: set[str] = set()  # of this link's jobs: these files stay
        self._trials = Trials()
        for folder in (self._files, self._jobs):
            folder.mkdir(parents=True, exist_ok=True)
        for left in self._jobs.iterdir():  # of agents that were killed
            if not _lives(left.name.partition("-")[0]):
                shutil.rmtree(left, ignore_errors=True)

    def serve(self) -> int:
        """Until the host is gone."""
        threading.Thread(target=self._read, daemon=True).start()
        with self._held:
            while (asked := self._asked.get()) is not None:
                self._number = asked["n"]
                try:
                    self._answer(asked)
                except Gone:
                    break
                except Exception as error:  # whatever it is, the host is told, and the link lives on
                    self._tell(_told(error))
        return 0

    # -- what the host says

    def _read(self) -> None:
        """Requests, in a thread: the end of the link is seen while a job runs."""
        try:
            stream = _Stream()
            while True:
                asked = json.loads(stream.line())
                if asked["do"] == "put":
                    self._tell(self._put(asked, stream), n=asked["n"])
                elif asked["do"] != "beat":
                    self._asked.put(asked)
        except (Gone, ValueError, KeyError, OSError):
            pass
        self._kill()
        self._trials.close()
        self._asked.put(None)

    def _put(self, asked: Mapping[str, Any], stream: _Stream) -> dict[str, Any]:
        """Keep a file under the digest of its content."""
        size, name = int(asked["size"]), _digest(asked["sha256"])
        sha = hashlib.sha256()
        failed: OSError | None = None
        self._make_room(size)
        path = self._files / f".{name}.{os.getpid()}"
        with contextlib.ExitStack() as stack:
            file: Any = None
            try:
                file = stack.enter_context(path.open("wb"))
            except OSError as error:
                failed = error
            for chunk in stream.chunks(size):  # all of it, so that the next line is a request again
                sha.update(chunk)
                if failed is None:
                    try:
                        file.write(chunk)
                        file.flush()
                    except OSError as error:
                        failed = error
        if failed is None and sha.hexdigest() == name:
            path.replace(self._files / name)
            return {"stored": name}
        path.unlink(missing_ok=True)
        return _told(failed) if failed is not None else {"error": "the file came broken", "kind": "LinkLost"}

    def _make_room(self, size: int) -> None:
        known = sorted(
            (path for path in self._files.iterdir() if path.is_file()), key=lambda path: path.stat().st_mtime
        )
        total = size + sum(path.stat().st_size for path in known)
        for path in known:
            if total <= MOST_BYTES:
                return
            if path.name not in self._wanted:
                total -= path.stat().st_size
                path.unlink(missing_ok=True)

    # -- what it is answered

    def _tell(self, answer: Mapping[str, Any], *contents: bytes, n: int | None = None) -> None:
        """An answer, with the number of what was asked."""
        numbered = {**answer, "n": self._number if n is None else n}
        data = json.dumps(numbered, separators=(",", ":")).encode() + b"\n" + b"".join(contents)
        with self._writing:
            try:
                while data:
                    data = data[self._out.write(data) :]
            except OSError as error:
                raise Gone from error

    def _answer(self, asked: dict[str, Any]) -> None:
        do = asked["do"]
        if do == "hello":
            from profiler.agent.job import PROTOCOL_VERSION

            words = {"agent": agent_digest(), "protocol": PROTOCOL_VERSION, "python": sys.version.split()[0]}
            self._tell({**words, "machine": os.uname().machine})
        elif do == "facts":
            from profiler.agent.facts import of_device

            self._tell({"facts": of_device(asked["runtime"])})
        elif do == "check":
            from profiler.agent.checks import watch

            self._tell(watch(float(asked["seconds"]), asked["runtime"]))
        elif do == "have":
            self._wanted.update(map(_digest, asked["sha256"]))
            self._tell({"missing": [name for name in asked["sha256"] if not self._touched(name)]})
        elif do == "hold":
            self._hold(wait=bool(asked["wait"]))
        elif do == "release":
            self._held.close()
            self._tell({"held": False})
        elif do == "trial":
            self._trial(asked)
        elif do == "run":
            self._run(asked)
        else:
            raise ValueError(f"the agent cannot do {do!r}")

    def _touched(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            os.utime(self._files / name)
            return True
        return False

    def _hold(self, *, wait: bool) -> None:
        """The device's own lock, which local measurements on it take, too; until it is released, or the link ends."""
        from profiler.lock import device_lock

        self._held.close()
        self._held.enter_context(device_lock("local", wait=wait))
        self._tell({"held": True})

    def _trial(self, asked: Mapping[str, Any]) -> None:
        """`profiler.agent.trial` in a process of its own, and the file that it made."""
        with self._folder(asked["files"]) as folder:
            (folder / "job.json").write_text(json.dumps(asked["job"]))
            result, died = self._trials.run(folder, float(asked["patience_s"]))
            made = folder / "fused.onnx"
            content = made.read_bytes() if made.exists() else b""
            self._tell({"result": result, "died": died, "size": len(content)}, content)

    def _run(self, asked: Mapping[str, Any]) -> None:
        """The worker, whose lines go to the host as they come."""
        with self._folder(asked["files"]) as folder, tempfile.TemporaryFile("w+b") as errors:
            self._cool(asked.get("below_c"))
            self._child = subprocess.Popen(
                [sys.executable, "-m", "profiler.agent", str(folder / "job.json")],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=folder, process_group=0,
                env={**os.environ, **asked["environment"], "PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
            try:
                assert self._child.stdout is not None
                for line in self._child.stdout:
                    self._tell({"line": line.decode(errors="replace")})
                self._child.wait()
            finally:
                self._kill()
            code, self._child = self._child.returncode, None
            errors.seek(0)
            tail = errors.read().decode(errors="replace").strip().splitlines()[-5:]
            self._tell({"end": code, "stderr": "\n".join(tail)})

    def _cool(self, below_c: float | None) -> None:
        """Wait until the warmest zone is below a temperature.

        Raises:
            OSError: it is not, for a long time, or tells none.
        """
        from profiler.agent.checks import temperatures_c

        until = time.monotonic() + COOLING_S
        while below_c is not None:
            known = temperatures_c()
            if not known:
                raise OSError("the device tells no temperature: leave cool_below_c out of its profile")
            if max(known.values()) < below_c:
                return
            if time.monotonic() > until:
                raise OSError(f"the device stays at {max(known.values()):.0f} C, over {below_c:g}: let it cool")
            self._tell({"cooling": max(known.values())})
            time.sleep(LOOK_S)

    @contextlib.contextmanager
    def _folder(self, files: Mapping[str, str]) -> Iterator[Path]:
        """A folder with files that were sent, under their names."""
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=self._jobs) as place:
            for name, sha in files.items():
                if Path(name).name != name or name in ("", ".", ".."):
                    raise ValueError(f"{name!r} is no name of a file")
                os.link(self._files / _digest(sha), Path(place) / name)
            yield Path(place)

    def _kill(self) -> None:
        child = self._child
        if child is not None and child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


class _Stream:
    """Standard input; a host that is silent for too long is gone."""

    def __init__(self) -> None:
        self._known = b""

    def line(self) -> bytes:
        while b"\n" not in self._known:
            self._known += self._more()
        line, _, self._known = self._known.partition(b"\n")
        return line

    def chunks(self, size: int) -> Iterator[bytes]:
        while size:
            known = self._known or self._more()
            chunk, self._known = known[:size], known[size:]
            size -= len(chunk)
            yield chunk

    @staticmethod
    def _more() -> bytes:
        if not select.select([0], [], [], SILENCE_S)[0]:
            raise Gone
        found = os.read(0, _CHUNK)
        if not found:
            raise Gone
        return found


def agent_digest(root: Path = _ROOT) -> str:
    """Of the agent's own sources, those of both packages that it is made of."""
    sha = hashlib.sha256()
    for path in sources(root):
        sha.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return sha.hexdigest()[:16]


def sources(root: Path = _ROOT) -> list[Path]:
    """Files of the agent, in order."""
    return sorted(path for name in ("device_profiles", "profiler") for path in (root / name).rglob("*.py"))


def _digest(name: Any) -> str:
    if not (isinstance(name, str) and len(name) == 64 and set(name) <= set("0123456789abcdef")):
        raise ValueError("that is no digest of a file")
    return name


def _told(error: BaseException) -> dict[str, Any]:
    """An error as an answer."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return {"error": "the disk of the device is full", "kind": "DeviceFull", "hint": "Free some space on it."}
    words = str(getattr(error, "message", "") or error) or type(error).__name__
    return {"error": words, "kind": type(error).__name__, "hint": str(getattr(error, "hint", ""))}


def _lives(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


if __name__ == "__main__":
    sys.exit(Server(Path(sys.argv[1])).serve())
