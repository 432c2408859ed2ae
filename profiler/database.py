"""What a store needs of its database: a file that is whole, commits that survive a kill, errors with names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from device_profiles.errors import DeviceError, InvalidData, SchemaMismatch

_SQLITE_MAGIC = b"SQLite format 3\x00"


class StoreFull(DeviceError):
    """The disk of the store is full; what was committed stays."""


def sqlite_settings(connection: Any, _record: Any) -> None:
    """A committed block survives a kill, and readers do not wait for the writer.

    Nothing here writes: the file may turn out to be someone else's. The journal's mode is set when a store is made.
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def check_sqlite_file(path: Path) -> None:
    """Refuse a file that is no SQLite database, or one that lost its end.

    Raises:
        SchemaMismatch: it is; the file is not touched.
    """
    if not path.exists():
        return
    if path.is_dir():
        raise InvalidData(f"{path} is a folder, not a store", hint="Give the path of a file.")
    header = path.open("rb").read(100)
    hint = "Restore it from a copy, or give the path of a new file; nothing was changed."
    if len(header) < 100 or not header.startswith(_SQLITE_MAGIC):
        raise SchemaMismatch(f"{path} is not a measurement store: it does not begin like an SQLite file", hint=hint)
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    log = path.with_name(path.name + "-wal")
    if path.stat().st_size < expected and not (log.exists() and log.stat().st_size):
        raise SchemaMismatch(f"{path} was cut short: it has {path.stat().st_size} of {expected} bytes", hint=hint)


def translated(error: sa.exc.DatabaseError, url: str) -> InvalidData | StoreFull | SchemaMismatch:
    """A database error by its name in this project."""
    text = str(error.orig) if error.orig is not None else str(error)
    if "full" in text or "disk I/O" in text:
        return StoreFull(
            f"cannot write to store {url}: {text}",
            hint="Free some space and run the same command again; it goes on from there.",
        )
    if "malformed" in text or "not a database" in text:
        return SchemaMismatch(f"store {url} is damaged: {text}", hint="Restore it from a copy; nothing was changed.")
    return InvalidData(f"store {url}: {text}")
