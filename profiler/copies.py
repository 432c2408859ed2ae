"""Copies of stores in memory: who only looks at a store leaves its file as it is, whatever version wrote it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from profiler import database, dialects

#: How often a file is copied that another process changes meanwhile.
_TRIES = 5


def engine_of_copy(place: database.Place) -> Engine:
    """A database in memory with what a file holds now, a writer's last commit included. The file may be read-only.

    Args:
        place: of a file, see `database.check_file`.

    Raises:
        InvalidData: it cannot be read.
        StoreBusy: other processes change it all the time.
    """
    assert place.path is not None
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    with database.named(place):
        _fill(memory, place.path)
    engine = sa.create_engine("sqlite://", creator=lambda: memory, poolclass=sa.pool.StaticPool)
    dialects.listen(engine)
    return engine


def _fill(memory: sqlite3.Connection, path: Path) -> None:
    for _ in range(_TRIES):
        # Beside a log there is a writer, or was one: SQLite reads both as one. Without one, it would make a log.
        beside = any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))
        before = path.stat()
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?{'mode=ro' if beside else 'immutable=1'}", uri=True)
        ) as source:
            source.execute(f"PRAGMA busy_timeout={int(dialects.PATIENCE_S * 1000)}")
            source.backup(memory)
        after = path.stat()
        if beside or (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
            return
    raise database.StoreBusy(
        f"store {path} is being written by another process", hint="Wait for it and run the command again."
    )
