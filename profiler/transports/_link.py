"""The host's end of a link to a device: requests out, answers in, over the streams of a command such as `ssh`.

The other end is `profiler.agent.remote`. A link that is gone is `LinkLost`: the campaign takes a new one and goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from device_profiles import errors
from device_profiles.errors import DeviceError, HwnasError
from profiler.transports.protocol import DeviceFull, LinkLost, TimedOut

#: Seconds between two signs of life, for the device to know that its host is there.
BEAT_S = 10.0
#: Seconds that a short answer may take: an interpreter starts on the device, and imports its runtime.
PATIENCE_S = 180.0
#: Seconds between two looks at a silent device.
_LOOK_S = 0.2
_CHUNK = 1 << 18

#: What a link's command wrote to its standard error and the code that it ended with, as an error.
Explain = Callable[[str, int | None], DeviceError]


class Link:
    """A running command whose streams end in an agent.

    Args:
        arguments: the command, without a shell.
        explain: what its words mean when it ends.
    """

    def __init__(self, arguments: Sequence[str], explain: Explain) -> None:
        self._errors = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - as long as the command
        self._explain = explain
        self._process = subprocess.Popen(
            list(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, process_group=0
        )
        self._writing = threading.Lock()
        self._answers: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        self._ended = threading.Event()
        self._asked = 0
        self.owner = os.getpid()
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the command runs, and is of this process."""
        return self.owner == os.getpid() and self._process.poll() is None and not self._ended.is_set()

    def ask(self, request: Mapping[str, Any], *, patience_s: float = PATIENCE_S) -> tuple[dict[str, Any], bytes]:
        """One answer, and the bytes that follow it.

        Raises:
            HwnasError: what the device says went wrong there, under its own type.
            LinkLost: the link is gone, or silent for too long.
        """
        self.send(request)
        return self._answered(patience_s)

    def put(self, path: Path, sha256: str) -> None:
        """Send a file.

        Raises:
            DeviceError: the device cannot keep it, as its disk is full.
            LinkLost: the link is gone.
        """
        size = path.stat().st_size
        with path.open("rb") as file:
            self.send({"do": "put", "sha256": sha256, "size": size}, file)
        self._answered(PATIENCE_S + size / 1e5)

    def lines(self, request: Mapping[str, Any], silence_s: Callable[[], float]) -> Generator[dict[str, Any]]:
        """Answers until the one that has `end`; closing the generator stops the job.

        Raises:
            TimedOut: the device was silent for longer than `silence_s()`.
            LinkLost: the link is gone.
        """
        self.send(request)
        ended = False
        try:
            while not ended:
                try:
                    answer, _ = self._answer(silence_s)
                except _Silent as error:
                    raise TimedOut(
                        f"the agent was stopped: it was silent for {error.seconds:.0f} s",
                        hint="Run the same command again; it goes on from there.",
                    ) from None
                except HwnasError:
                    ended = True
                    raise
                ended = "end" in answer
                yield answer
        finally:
            if not ended:
                self.close()  # what the device still says belongs to nobody

    def send(self, request: Mapping[str, Any], content: BinaryIO | None = None) -> None:
        """Write a request.

        Raises:
            LinkLost: the link is gone.
        """
        assert self._process.stdin is not None
        try:
            with self._writing:
                if request["do"] != "beat":
                    self._asked += 1
                self._process.stdin.write(json.dumps({**request, "n": self._asked}).encode() + b"\n")
                while content is not None and (chunk := content.read(_CHUNK)):
                    self._process.stdin.write(chunk)
                self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise self._lost() from error

    def close(self) -> None:
        """End the command; the agent sees that its host is gone, and stops what runs."""
        self._ended.set()
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process.kill()
        self._process.wait()

    def _answered(self, patience_s: float) -> tuple[dict[str, Any], bytes]:
        try:
            return self._answer(lambda: patience_s)
        except _Silent as error:
            raise LinkLost(f"the device was silent for {error.seconds:.0f} s", hint="Is it still there?") from None

    def _answer(self, silence_s: Callable[[], float]) -> tuple[dict[str, Any], bytes]:
        since = time.monotonic()
        while True:
            try:
                found = self._answers.get(timeout=_LOOK_S)
                if found is None or found[0].get("n") == self._asked:  # others are of what nobody waits for any more
                    break
            except queue.Empty:
                if time.monotonic() - since > silence_s():
                    raise _Silent(time.monotonic() - since) from None
        if found is None:
            self._answers.put(None)
            raise self._lost()
        answer, _ = found
        if "error" in answer:
            raise _made(str(answer.get("kind")), str(answer["error"]), str(answer.get("hint", "")))
        return found

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        try:
            for line in stream:
                answer = json.loads(line)
                if not isinstance(answer, dict) or not line.endswith(b"\n"):
                    break
                size = answer.get("size", 0)
                content = stream.read(size) if isinstance(size, int) and size > 0 else b""
                self._answers.put((answer, content))
        except (OSError, ValueError):
            pass
        self._ended.set()
        self._answers.put(None)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self.send({"do": "beat"})
            except DeviceError:
                return

    def _lost(self) -> DeviceError:
        """Why the link is gone, by what its command wrote."""
        self._ended.set()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip()
        return self._explain(words, self._process.poll())


class _Silent(Exception):
    """The device said nothing for some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def _made(kind: str, words: str, hint: str) -> HwnasError:
    """An error that a device told, under its own type where words are all that this takes."""
    of_links = {"DeviceFull": DeviceFull, "LinkLost": LinkLost}
    found: Any = of_links.get(kind, getattr(errors, kind, DeviceError))
    plain = isinstance(found, type) and issubclass(found, HwnasError) and found.__init__ is HwnasError.__init__
    return (found if plain else DeviceError)(words, hint=hint)


_LINKS: dict[tuple[str, ...], Link] = {}
#: Keys of devices whose lock this process is to hold, whatever becomes of the link.
HELD: set[tuple[str, ...]] = set()


def shared(key: tuple[str, ...], make: Callable[[], Link]) -> Link:
    """The link of this process under a key; a new one where there is none, or it is gone."""
    known = _LINKS.get(key)
    if known is None or not known.alive:
        known = _LINKS[key] = make()
    return known


def drop(key: tuple[str, ...]) -> None:
    """Close the link under a key, if there is one."""
    known = _LINKS.pop(key, None)
    if known is not None and known.owner == os.getpid():
        known.close()


@atexit.register
def _close_all() -> None:
    for key in list(_LINKS):
        drop(key)


def sent(link: Link, files: Mapping[str, Path]) -> dict[str, str]:
    """Make the device have files; their digests by name. What it has already is not sent again.

    Raises:
        DeviceError: it cannot keep one.
        LinkLost: the link is gone.
    """
    digests = {name: _sha256(path) for name, path in files.items()}
    answer, _ = link.ask({"do": "have", "sha256": sorted(set(digests.values()))})
    missing = set(answer["missing"])
    for name, path in files.items():
        if digests[name] in missing:
            link.put(path, digests[name])
            missing.discard(digests[name])
    return digests


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
