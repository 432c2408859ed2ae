"""Code of others in a process of its own, which can be ended whatever it does."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from nas.isolation.frames import Channel, Header, Malformed

__all__ = ["AVAILABLE", "Channel", "Header", "Lost", "Sandbox"]

#: Whether this system can; elsewhere code of others runs in the process of the search.
AVAILABLE = hasattr(os, "fork") and hasattr(socket, "send_fds")

#: Seconds for a process to start, or to be gone.
_START_S = 60.0

_OPEN: weakref.WeakSet[Sandbox] = weakref.WeakSet()


class Lost(Exception):
    """The worker ended, was ended, or answered nonsense; the text says how.

    Args:
        reason: for people.
        late: whether it took too long.
    """

    def __init__(self, reason: str, *, late: bool = False) -> None:
        super().__init__(reason)
        self.late = late


class Sandbox:
    """A worker process, started when it is needed, and again after it was lost.

    Args:
        serve: what the worker does with its end of the channel; it sees this process as it was at `start`.
        memory_bytes: most that it may take, or None for most of what is free.
    """

    def __init__(self, serve: Callable[[Channel], None], *, memory_bytes: int | None = None) -> None:
        self._serve = serve
        self._memory_bytes = memory_bytes
        self._keeper = 0
        self._control: socket.socket | None = None
        self._channel: Channel | None = None
        _OPEN.add(self)

    @property
    def running(self) -> bool:
        """Whether there is a worker."""
        return self._channel is not None

    def start(self) -> None:
        """Fork the keeper, if there is none: workers see this process as it is now."""
        if self._control is not None:
            return
        from nas.isolation.keeper import keep

        mine, theirs = socket.socketpair()
        parent = os.getpid()
        self._keeper = os.fork()
        if self._keeper == 0:
            gc.freeze()  # a session of a runtime that is collected here waits for its threads, which are not here
            mine.close()
            for other in _OPEN:  # their keepers must see the search end, and not this process hold on
                other._forget()
            keep(theirs, parent, self._serve, self._memory_bytes)
        theirs.close()
        self._control = mine

    def call(
        self,
        header: Mapping[str, Any],
        payload: bytes = b"",
        *,
        seconds: float | None = None,
        answer: Callable[[Header, bytes], tuple[Header, bytes] | None] | None = None,
    ) -> tuple[Header, bytes]:
        """Ask the worker, and wait.

        Args:
            header: what is asked.
            payload: bytes beside it.
            seconds: after which the worker is ended, or None.
            answer: called with frames that have `ask`, which are questions of the worker; what it returns is sent back.

        Raises:
            Lost: there is no answer; the next call has a new worker.
        """
        try:
            channel = self._worker()
            until = None if seconds is None else time.monotonic() + seconds
            channel.send(header, payload)
            while True:
                found = self._next(channel, until)
                if "ask" not in found[0]:
                    return found
                reply = None if answer is None else answer(*found)
                if reply is not None:
                    channel.send(*reply)
        except (Malformed, OSError) as error:
            self.end()
            raise Lost("its process answered nonsense, or closed its connection") from error
        except BaseException:  # an interrupt, too, leaves no worker that is about to answer
            self.end()
            raise

    def _next(self, channel: Channel, until: float | None) -> tuple[Header, bytes]:
        control = self._control
        assert control is not None
        beside, status = [control], None
        while True:
            try:
                found = channel.receive(until if status is None else 0.0, beside)
            except EOFError:
                if status is None:
                    status = self._told(b"d")
                raise Lost(_ended(status)) from None
            if isinstance(found, tuple):
                return found
            if found is None and status is not None:
                raise Lost(_ended(status))
            if found is None:
                raise Lost("no value in time", late=True)
            status, beside = self._told(b"d"), []

    def _worker(self) -> Channel:
        if self._channel is None:
            self.start()
            assert self._control is not None
            self._control.sendall(b"s")
            self._told(b"s")
        if self._channel is None:
            raise Lost("no process could be started for it")
        return self._channel

    def _told(self, wanted: bytes) -> int | None:
        """The number of the next message of this kind; None where the keeper is gone or silent."""
        from nas.isolation.keeper import MESSAGE

        assert self._control is not None
        self._control.settimeout(_START_S)
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE.size, 1)
            except TimeoutError:
                return None
            for descriptor in descriptors:
                connection = socket.socket(fileno=descriptor)
                if wanted != b"s":  # of a start that was interrupted
                    connection.close()
                    continue
                connection.settimeout(_START_S)
                self._channel = Channel(connection)
            if len(data) < MESSAGE.size:
                return None
            kind, number = MESSAGE.unpack(data)
            if kind == wanted:
                return int(number)

    def end(self) -> None:
        """End the worker with all that it started."""
        if self._channel is not None:
            self._channel.connection.close()
            self._channel = None
        if self._control is None:
            return
        try:
            self._control.sendall(b"k")
            gone = self._told(b"k") is not None
        except OSError:
            gone = False
        if not gone:
            self.close()

    def close(self) -> None:
        """End the worker and the keeper; the next call starts both again."""
        keeper = self._keeper
        self._forget()
        if keeper:
            _wait(keeper)

    def _forget(self) -> None:
        for connection in (self._channel.connection if self._channel else None, self._control):
            if connection is not None:
                connection.close()
        self._channel = self._control = None
        self._keeper = 0

    def __del__(self) -> None:
        self._forget()


def _wait(keeper: int) -> None:
    """Let the keeper end what it keeps, and itself."""
    until = time.monotonic() + _START_S
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(keeper, os.WNOHANG)[0] == 0:
            if time.monotonic() > until:
                os.kill(keeper, signal.SIGKILL)
            time.sleep(0.001)


def _ended(status: int | None) -> str:
    if status is None:
        return "its process was lost"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"it ended its process with code {code}"
    name = signal.Signals(-code).name if -code in {int(one) for one in signal.Signals} else str(-code)
    return f"its process was ended by {name}" + (", maybe for want of memory" if name == "SIGKILL" else "")
