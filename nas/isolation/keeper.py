"""The keeper: a process that starts workers, sees them die, and leaves nothing of them behind.

It is forked from the search before that has computed anything, and computes nothing itself: so each worker starts from
a process without threads, which numerical libraries need to be forked safely. It kills a worker with its group and with
all that it has left behind, when it is told to and when the search is gone, however that ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

import psutil

from nas.isolation.frames import Channel, readable

#: What the keeper tells: a letter and a number. `s`: a worker was started, by its process number; `d`: it ended, by its
#: status; `k`: there is none any more.
MESSAGE = struct.Struct("<ci")

Serve = Callable[[Channel], None]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
#: Share of the memory that is free now that a worker may take.
_MEMORY = 0.9
#: Seconds within which what was killed is gone.
_GONE_S = 5.0


def keep(control: socket.socket, parent: int, serve: Serve, memory_bytes: int | None) -> None:
    """Do as the search says until it is gone; never returns.

    Args:
        control: the keeper's end of its connection to the search.
        parent: process of the search.
        serve: what a worker does.
        memory_bytes: most that a worker may take, or None for most of what is free.
    """
    try:
        os.setsid()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        awake, waker = socket.socketpair()
        waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        worker = 0
        while os.getppid() == parent:
            ready = readable([control, awake], 1.0)
            if awake in ready:
                awake.recv(4096)
            for status in _ended(worker):
                control.sendall(MESSAGE.pack(b"d", status))
                worker = 0
            if control not in ready:
                continue
            order = control.recv(1)
            if not order:
                break
            _kill(worker)
            worker = 0
            if order == b"s":
                mine, theirs = socket.socketpair()
                worker = os.fork()
                if worker == 0:
                    signal.set_wakeup_fd(-1)
                    for unused in (mine, control, awake, waker):
                        unused.close()
                    _work(theirs, serve, memory_bytes)
                theirs.close()
                socket.send_fds(control, [MESSAGE.pack(b"s", worker)], [mine.fileno()])
                mine.close()
            else:
                control.sendall(MESSAGE.pack(b"k", 0))
        _kill(worker)
    finally:
        os._exit(0)


def _ended(worker: int) -> list[int]:
    """The status of the worker if it has ended; whatever else has ended is forgotten."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while True:
            number, status = os.waitpid(-1, os.WNOHANG)
            if number == 0:
                break
            if number == worker:
                found.append(status)
    return found


def _kill(worker: int) -> None:
    """End the worker, its group, and what has left its group: orphans come to the keeper."""
    if worker:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGKILL)
    me, until = psutil.Process(), time.monotonic() + _GONE_S
    while time.monotonic() < until:
        try:
            number, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if number == 0:
            for child in me.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
            time.sleep(0.002)


def _work(connection: socket.socket, serve: Serve, memory_bytes: int | None) -> None:
    """A worker's life; never returns."""
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _redirect()
        _limit(memory_bytes)
        serve(Channel(connection))
    finally:
        os._exit(0)


def _redirect() -> None:
    """Nothing to read; what others print is talk, and goes to standard error: standard output has the answer alone."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.fstat(2)
    except OSError:
        os.dup2(null, 2)
    os.dup2(2, 1)
    if null > 2:
        os.close(null)
    # The old objects may hold locks of threads that are not here, or be those of a live display.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115


def _limit(memory_bytes: int | None) -> None:
    """No core dumps, and no more memory than there is: an evaluation that takes all of it fails alone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes is None:
        taken = getattr(psutil.Process().memory_info(), "data", 0)  # what the search has mapped counts here, too
        memory_bytes = int(taken + _available() * _MEMORY)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    # Where the limit does not hold (shared memory), the system ends this process before the search.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("1000")


def _available() -> int:
    """Free memory of the machine, or of the control group where that is less."""
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):
        limits = []
        for name in ("max", "current"):
            with open(f"/sys/fs/cgroup/memory.{name}") as file:  # noqa: PTH123
                limits.append(int(file.read()))
        free = min(free, limits[0] - limits[1])
    return free


def _prctl(option: int, value: int) -> None:
    """Linux only: die with the parent, or become the parent of orphans."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
