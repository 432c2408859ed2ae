"""What a store needs of its database: a place, a whole file, transactions one at a time, errors with names."""

from __future__ import annotations

import contextlib
import logging
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from device_profiles.errors import DeviceBusy, DeviceError, InvalidData, SchemaMismatch, UsageError
from device_profiles.passwords import without_password
from profiler import dialects

# An interrupt while a connection is given back has SQLAlchemy log a traceback: for those who configure logging.
logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())

_SQLITE_MAGIC = b"SQLite format 3\x00"
_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
#: Larger files are not read as a whole when they are opened: that takes about 5 ms a MB.
CHECKED_BYTES = 128 << 20


class StoreFull(DeviceError):
    """The disk of the store is full; what was committed stays."""


class StoreBusy(DeviceBusy):
    """Another process writes to the store, for longer than anybody should."""


class NoStore(InvalidData):
    """There is no store yet: no file, an empty one, or one whose making was interrupted."""


@dataclass(frozen=True)
class Place:
    """Where a store is.

    Attributes:
        url: for SQLAlchemy.
        path: of the file, or None where there is none.
        shown: for people, without a password.
    """

    url: sa.URL
    path: Path | None
    shown: str


def place_of(where: str | Path) -> Place:
    """A path is a path, whatever characters it has; what has `://` is a URL.

    Raises:
        UsageError: the URL cannot be read, or nobody knows its scheme.
    """
    text = str(where)
    if isinstance(where, Path) or "://" not in text:
        path = Path(where)
        return Place(sa.URL.create("sqlite", database=str(path.absolute())), path, text)
    shown = without_password(text)
    try:
        url = sa.make_url(text)
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() not in dialects.KINDS:
            raise sa.exc.NoSuchModuleError(url.drivername)
        url.get_dialect()
    except sa.exc.NoSuchModuleError:
        raise UsageError(
            f"unknown scheme of a database in {shown}", hint="Give a path, or postgresql://USER@HOST/NAME."
        ) from None
    # The errors below quote the URL, so nothing of them is told.
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(
            f"cannot read {shown} as the URL of a database", hint="Write postgresql://USER@HOST/NAME, or give a path."
        ) from None
    named = url.database if url.get_backend_name() == "sqlite" and not url.query else None
    return Place(url, Path(named) if named and named != ":memory:" else None, shown)


def engine_of(place: Place, *, read_only: bool = False) -> Engine:
    """A way to connect; nothing is opened yet.

    Args:
        place: of the database.
        read_only: have a server refuse every change.

    Raises:
        DeviceError: the driver of the database is not installed.
        UsageError: the URL asks for what its driver does not have.
    """
    try:
        # What is idle for hours while something is trained or compiled may be cut off by a network between.
        engine = sa.create_engine(place.url, pool_pre_ping=place.url.get_backend_name() != "sqlite")
    except ImportError as error:
        raise DeviceError(
            f"the driver of {place.shown} is missing: {error}", hint="python -m pip install 'hwnas[postgresql]'"
        ) from None
    except (sa.exc.ArgumentError, TypeError, ValueError):
        raise UsageError(f"cannot read {place.shown} as the URL of a database", hint="Check its options.") from None
    dialects.listen(engine)
    return engine.execution_options(postgresql_readonly=True) if read_only else engine


def complete(connection: Connection, metadata: sa.MetaData) -> None:
    """Add what a database lacks of its tables, columns and triggers; nothing that is there is changed.

    Indices of tables that are there are left to `index`: what they forbid may be in old rows.
    """
    metadata.create_all(connection)
    inspector = sa.inspect(connection)
    quote = connection.dialect.identifier_preparer.quote
    for table in metadata.sorted_tables:
        known = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {quote(table.name)} ADD COLUMN {quote(column.name)} {kind}")
        if connection.dialect.name == "sqlite" and "seal" in table.c:
            # Who edits a row by hand means it; a seal tells only damage.
            name, trigger = quote(table.name), quote(f"unseal_{table.name}")
            body = f"UPDATE {name} SET seal = NULL WHERE rowid = new.rowid"  # noqa: S608  # a name of ours
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {trigger} AFTER UPDATE ON {name} WHEN new.seal IS old.seal "
                f"BEGIN {body}; END"
            )


def index(connection: Connection, metadata: sa.MetaData) -> None:
    """Add the indices that tables of an older version lack."""
    for table in metadata.sorted_tables:
        for one in table.indexes:
            one.create(connection, checkfirst=True)


def require_tables(connection: Connection, metadata: sa.MetaData, shown: str) -> None:
    """Refuse a database that lost tables or columns.

    Raises:
        SchemaMismatch: with the first that is missing.
    """
    inspector = sa.inspect(connection)
    tables = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in tables:
            raise SchemaMismatch(f"{shown} has no table {table.name!r}", hint=_RESTORE)
        missing = {column.name for column in table.columns} - {c["name"] for c in inspector.get_columns(table.name)}
        if missing:
            raise SchemaMismatch(f"table {table.name!r} of {shown} has no column {min(missing)!r}", hint=_RESTORE)


def is_empty(connection: Connection, metadata: sa.MetaData) -> bool:
    """Whether all tables that are there are of these, with no columns of others and not one row."""
    inspector = sa.inspect(connection)
    for name in inspector.get_table_names():
        columns = {column["name"] for column in inspector.get_columns(name)}
        if name not in metadata.tables or not columns <= set(metadata.tables[name].columns.keys()):
            return False
        if connection.execute(sa.select(sa.literal(1)).select_from(metadata.tables[name]).limit(1)).first():
            return False
    return True


_RESTORE = "Restore it from a copy, or give the path of a new file; nothing was changed."


def check_file(path: Path, *, create: bool) -> None:
    """Refuse a file that is no SQLite database, or one that lost its end; an empty one is a store to be made.

    Raises:
        NoStore: there is none, and none is to be made.
        InvalidData: there can be no file.
        SchemaMismatch: it is something else, or cut short; the file is not touched.
    """
    hint = f"Make one with: hwnas profile TARGET --store {path}"
    try:
        if "\0" in str(path):
            raise ValueError("its name holds a NUL")
        if not path.exists():
            if not create:
                raise NoStore(f"there is no store at {path}", hint=hint)
            path.parent.mkdir(parents=True, exist_ok=True)
            return
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            raise InvalidData(f"{path} is a folder, not a store", hint="Give the path of a file.")
        if not stat.S_ISREG(kind.st_mode):
            raise InvalidData(f"{path} is no regular file, so it is no store", hint="Give the path of a file.")
        if _unfinished(path):
            return  # SQLite takes back what was not committed, and knows what is left
        if kind.st_size == 0:
            if not create:
                raise NoStore(f"there is no store at {path}: the file is empty", hint=hint)
            return
        problem = _problem(path)
        if "cut short" in problem:
            time.sleep(0.05)  # another process may be writing its end right now
            problem = _problem(path)
        if problem:
            raise SchemaMismatch(f"{path} {problem}", hint=_RESTORE)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidData(
            f"there can be no store at {path}: {reason}", hint="Give a path in a folder that can be written."
        ) from error


def _unfinished(path: Path) -> bool:
    """Whether a transaction was interrupted in it."""
    journal = path.with_name(path.name + "-journal")
    if not journal.is_file():
        return False
    try:
        with journal.open("rb") as file:
            return file.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC
    except FileNotFoundError:  # it has ended just now
        return False


def _problem(path: Path) -> str:
    """What is wrong with a file; empty if nothing is seen from outside."""
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(_SQLITE_MAGIC):
        return "is not a measurement store: it does not begin like an SQLite file"
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    size, logged = path.stat().st_size, 0
    with contextlib.suppress(FileNotFoundError):
        logged = path.with_name(path.name + "-wal").stat().st_size
    if size < expected and not logged:
        return f"was cut short: it has {size} of {expected} bytes"
    return ""


def check_content(engine: Engine, place: Place) -> None:
    """Read a file once: its trees, its indices and what points where must agree.

    Raises:
        SchemaMismatch: they do not.
    """
    if place.path is None or engine.dialect.name != "sqlite" or place.path.stat().st_size > CHECKED_BYTES:
        return
    with named(place):
        found = [str(row[0]) for row in dialects.pragma(engine, "integrity_check(1)")]
        if found == ["ok"]:
            found = [f"row {row[1]} of table {row[0]!r} belongs to a row of {row[2]!r} that is not there"
                     for row in dialects.pragma(engine, "foreign_key_check")][:1]  # fmt: skip
    if found not in ([], ["ok"]):
        raise SchemaMismatch(f"store {place.shown} is damaged: {found[0].splitlines()[-1]}", hint=_RESTORE)


@contextlib.contextmanager
def named(place: Place) -> Iterator[None]:
    """Errors of a database leave by their names in this project."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise translated(error.orig or error, place) from error
    except (sa.exc.SQLAlchemyError, OverflowError) as error:
        raise InvalidData(f"store {place.shown}: {_told(error, place)}") from error
    except Exception as error:
        # The driver's own errors, of what did not go through SQLAlchemy; all others are not ours.
        if type(error).__module__.partition(".")[0] not in ("sqlite3", "psycopg"):
            raise
        raise translated(error, place) from error


def translated(error: BaseException, place: Place) -> InvalidData | DeviceError:
    """A driver's error by its name in this project."""
    text, code = _told(error, place), str(getattr(error, "sqlite_errorname", None) or "")
    state = str(getattr(error, "sqlstate", None) or "")
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOLFS")) or state == "53100":
        return StoreFull(
            f"cannot write to store {place.shown}: {text}",
            hint="Free some space and run the same command again; it goes on from there.",
        )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")) or state in ("40001", "40P01", "55P03"):
        return StoreBusy(
            f"store {place.shown} is being written by another process", hint="Wait for it and run the command again."
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return InvalidData(
            f"store {place.shown} cannot be opened for writing: {text}",
            hint="Give a path in a folder that can be written, or copy the store there.",
        )
    lost = text.startswith(("no such", "malformed", "Could not decode")) or "has no column" in text
    if lost or code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")) or state[:2] == "42":
        return SchemaMismatch(f"store {place.shown} is damaged: {text}", hint=_RESTORE)
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("psycopg")]
    if "OperationalError" in kinds or state == "25P03":  # the server is gone, or took the connection for gone
        return DeviceError(f"cannot reach {place.shown}: {text}", hint="Is the server up, and are user and name right?")
    return InvalidData(f"store {place.shown}: {text}")


def _told(error: BaseException, place: Place) -> str:
    """What a driver says, without the password."""
    text = str(error).strip().partition("\n")[0]
    secrets = [place.url.password, *(str(v) for k, v in place.url.query.items() if "pass" in k.lower())]
    for secret in secrets:
        text = text.replace(str(secret), "***") if secret else text
    return text
