"""Who is at work in a database: a row for each call, kept up by a heartbeat, so that others see whether it still is.

A call that is killed says nothing any more. On its own machine that is seen at once, elsewhere when its row was not
kept up for `LAPSE_S`. Where only one may write (a study), the row is a lease: who takes it over says so in the row of
the one that lapsed, and that one, should it wake up, is refused by `require`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from device_profiles.errors import DeviceError, HwnasError
from profiler import dialects
from profiler.schema import INVOCATIONS
from profiler.store import Store

#: A row is kept up as often, and counts for as long: some beats may be late, or lost with a server that restarts.
HEARTBEAT_S, LAPSE_S = 5.0, 60.0
#: Who waits for another one looks as often.
_POLL_S = 0.5


@dataclass(frozen=True)
class Invocation:
    """A call of a campaign or of a search.

    Attributes:
        id: of its row.
        subject: what it writes: conditions, or a study.
        state: `running`; `finished`; `stopped`, where it ended with an error, was interrupted or was killed.
        host: name of its machine.
        pid: number of its process there.
        seen_s: when it was last seen, in seconds since 1970.
        age_s: how long ago that was.
    """

    id: str
    subject: str
    state: str
    host: str
    pid: int
    seen_s: float
    age_s: float

    def __str__(self) -> str:
        return f"process {self.pid} of {self.host}, last seen {self.age_s:.0f} s ago"


Busy = Callable[[Invocation], DeviceError]


def invocations(store: Store, kind: str) -> list[Invocation]:
    """Calls of one kind, the earliest first, each in the state that it really is in."""
    query = sa.select(INVOCATIONS).where(INVOCATIONS.c.kind == kind).order_by(INVOCATIONS.c.began_s)
    now_s = store.now_s()
    return [_invocation(row, now_s) for row in store.rows(INVOCATIONS, query)]


def latest(calls: list[Invocation]) -> dict[str, Invocation]:
    """By subject: the call that is running, else the last one that was."""
    found: dict[str, Invocation] = {}
    for call in calls:
        if call.subject not in found or found[call.subject].state != "running" or call.state == "running":
            found[call.subject] = call
    return found


@contextlib.contextmanager
def present(store: Store, kind: str, subject: str, *, busy: Busy | None = None, wait: bool = False) -> Iterator[str]:
    """Be known as at work while the block runs.

    Args:
        store: the database.
        kind: `campaign` or `search`.
        subject: what is written.
        busy: the error where another call is at work on it; None where there may be several.
        wait: until it is not, in place of the error.

    Yields:
        The id of this call, for `require`.
    """
    mine = uuid.uuid4().hex
    while (other := _entered(store, mine, kind, subject, alone=busy is not None)) is not None:
        if not wait and busy is not None:
            raise busy(other)
        time.sleep(_POLL_S)
    state = "stopped"
    try:
        with _kept_up(store, mine):
            yield mine
        state = "finished"
    finally:
        with contextlib.suppress(HwnasError):  # unsaid, it is seen by its age
            _say(store, mine, state=state)


def require(connection: Connection, mine: str, lost: Callable[[], DeviceError]) -> None:
    """Refuse to write where another call has taken over."""
    if connection.scalar(sa.select(INVOCATIONS.c.state).where(INVOCATIONS.c.id == mine)) != "running":
        raise lost()


def _entered(store: Store, mine: str, kind: str, subject: str, *, alone: bool) -> Invocation | None:
    """Write the row of this call; or the call that is at work already, where only one may be."""
    columns = INVOCATIONS.c
    query = sa.select(INVOCATIONS).where(columns.kind == kind, columns.subject == subject, columns.state == "running")
    with store.transaction() as connection:
        now_s = dialects.now_s(connection)
        for known in connection.execute(query).mappings().all():
            other = _invocation(known, now_s)
            if other.state != "running":
                store.rewrite(connection, INVOCATIONS, columns.id == other.id, state="stopped")
            elif alone:
                return other
        row = {"id": mine, "kind": kind, "subject": subject, "state": "running", "began_s": now_s, "seen_s": now_s}
        place = {"host": socket.gethostname()[:255], "pid": os.getpid(), "pid_space": _pid_space()}
        store.insert_once(connection, INVOCATIONS, **row, **place)
    return None


@contextlib.contextmanager
def _kept_up(store: Store, mine: str) -> Iterator[None]:
    """Keep the row up from a thread; a database in memory is nobody else's, and each thread has its own."""
    if not isinstance(store.engine.pool, sa.QueuePool):
        yield
        return
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            with contextlib.suppress(HwnasError):  # the next one may be heard again
                _say(store, mine)

    thread = threading.Thread(target=beat, name="hwnas-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _say(store: Store, mine: str, **changes: Any) -> None:
    """This call was here just now; not where another one has taken over."""
    where = (INVOCATIONS.c.id == mine) & (INVOCATIONS.c.state == "running")
    with store.transaction() as connection:
        store.rewrite(connection, INVOCATIONS, where, seen_s=dialects.now_s(connection), **changes)


def _invocation(row: Any, now_s: float) -> Invocation:
    age_s = max(now_s - row["seen_s"], 0.0)
    state = row["state"]
    if state == "running" and (age_s > LAPSE_S or _is_gone(row)):
        state = "stopped"
    return Invocation(row["id"], row["subject"], state, row["host"], row["pid"], row["seen_s"], age_s)


def _is_gone(row: Any) -> bool:
    """Whether it was a process of this machine that is no more."""
    if not row["pid_space"] or row["pid_space"] != _pid_space():
        return False
    try:
        os.kill(row["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _pid_space() -> str:
    """In which numbers of processes mean the same: this start of this machine, and this container; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return ""
