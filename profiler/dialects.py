"""What SQLite and PostgreSQL do differently: how a writer waits for its turn, what time it is, what is there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

#: Those that stores are tested on.
KINDS = ("sqlite", "postgresql")
#: Until then a writer of a file waits for another one; each holds the database for milliseconds.
PATIENCE_S = 10.0
#: Of the advisory lock that writers of a PostgreSQL database take in turns: "hwnas" in ASCII.
_ADVISORY = 0x68776E6173
#: A PostgreSQL server ends the transaction of who falls silent in it for as long, since that may be a machine without
#: power; a writer waits for longer, so that it outlives such a one.
_SILENT_S, _TURN_S = 20.0, 40.0
#: Option of a connection that is going to write.
_WRITES = "hwnas_writes"


def listen(engine: Engine) -> None:
    """Have writers wait for others, but not for ever, and transactions of SQLite begin as they should."""
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _connected)
        sa.event.listen(engine, "begin", _begun)
    else:
        sa.event.listen(engine, "connect", _met)


def _connected(connection: Any, _record: Any) -> None:
    """A committed block survives a kill, and readers do not wait for the writer.

    Nothing here writes: the file may turn out to be someone else's. The journal's mode is set when a store is made.
    """
    connection.isolation_level = None  # transactions begin below, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={int(PATIENCE_S * 1000)}")
    cursor.close()


def _begun(connection: Connection) -> None:
    """Who is going to write waits for other writers now: one that has read before could not wait any more."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is all or nothing, and that no other writer of the toolkit is in at the same time."""
    with engine.execution_options(**{_WRITES: True}).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY})")
        yield connection


def _met(connection: Any, _record: Any) -> None:
    """Nobody waits for ever in a server: not for a lock, and not for who fell silent with one."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {int(_SILENT_S * 1000)}")
        cursor.execute(f"SET lock_timeout = {int(_TURN_S * 1000)}")
    connection.commit()


def insert_into(connection: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insertion that can say what happens where there is such a row."""
    return (sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert)(table)


def now_s(connection: Connection) -> float:
    """Seconds since 1970 by the clock that all who use the database share."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())


def go_on_counting(connection: Connection, table: sa.Table) -> None:
    """Have the numbers that a server gives to rows go on above those that were written with rows."""
    counted = table.autoincrement_column
    if counted is not None and connection.dialect.name == "postgresql":
        last = connection.scalar(sa.select(sa.func.max(counted)))
        if last is not None:
            sequence = sa.func.pg_get_serial_sequence(table.name, counted.name)
            connection.execute(sa.select(sa.func.setval(sequence, last)))


def pragma(engine: Engine, text: str) -> list[tuple[Any, ...]]:
    """Rows of a pragma outside of any transaction."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA {text}")
        return list(cursor.fetchall())
    finally:
        connection.close()


def write_ahead(engine: Engine) -> None:
    """Set the journal of an SQLite file that is being made; SQLite itself does not wait for others here."""
    if engine.dialect.name != "sqlite":
        return
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            pragma(engine, "journal_mode=WAL")
            return
        except engine.dialect.loaded_dbapi.OperationalError as error:
            busy = str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_BUSY")
            if not busy or time.monotonic() > deadline:
                raise sa.exc.OperationalError("PRAGMA journal_mode=WAL", None, error) from error
        time.sleep(0.01)
