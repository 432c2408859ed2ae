"""A database that is open: rows are checked and sealed, transactions are whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from device_profiles.errors import HwnasError, SchemaMismatch
from device_profiles.reading import parse_json
from device_profiles.version import version
from profiler import copies, database, dialects, row_checks, schema
from profiler.operators import OperatorGraph
from profiler.store import repeated


class OpenStore:
    """A measurement database as a file or a server: opened, made, closed, read and written row by row.

    What it takes and raises is said at `profiler.store.store.Store`.
    """

    def __init__(self, url: str | Path, *, create: bool = True, as_copy: bool = False) -> None:
        self._place = database.place_of(url)
        self.url = self._place.shown
        create = create and not as_copy
        if self._place.path is not None:
            database.check_file(self._place.path, create=create)
        self._fused: dict[tuple[str, str], OperatorGraph] = {}
        copied = as_copy and self._place.path is not None
        self.read_only = as_copy and not copied
        self._engine = (
            copies.engine_of_copy(self._place) if copied else database.engine_of(self._place, read_only=self.read_only)
        )
        try:
            self._open(create=create)
        except BaseException:
            self._engine.dispose()
            raise

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def identity(self) -> str:
        """Equal for two that are open on one database."""
        place = self._place
        if place.path is not None:
            return str(place.path.resolve())
        return f"memory {id(self)}" if not place.url.database else place.url.set(password=None).render_as_string()

    @property
    def engine(self) -> Engine:
        """The database, for tables of other packages in the same file."""
        return self._engine

    def close(self) -> None:
        """Close the database; a file is left whole, without side files."""
        if self._engine.dialect.name == "sqlite":
            with contextlib.suppress(HwnasError), database.named(self._place):
                dialects.pragma(self._engine, "wal_checkpoint(TRUNCATE)")
        self._engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read from; damage that shows only now is a `SchemaMismatch`."""
        with database.named(self._place), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: all or nothing, and no other writer is in one at the same time.

        Raises:
            StoreFull: the disk is full; nothing of this transaction was kept.
            StoreBusy: another process does not end its own.
        """
        with database.named(self._place), dialects.writing(self._engine) as connection:
            yield connection

    def rows(self, table: sa.Table, query: sa.Select[Any] | None = None) -> list[dict[str, Any]]:
        """Rows of one table, each checked.

        Args:
            table: whose rows they are.
            query: a selection of it; all rows if None.

        Raises:
            SchemaMismatch: a row is damaged; it is named.
        """
        with self.reading() as connection:
            found = connection.execute(sa.select(table) if query is None else query)
            return row_checks.checked_all(table, list(found.keys()), found, self.url)

    def insert(self, connection: Connection, table: sa.Table, **row: Any) -> int:
        """Write one checked row with its seal; its number, where the database gives numbers.

        Raises:
            InvalidData: a value is one that could not be read again.
        """
        key = connection.execute(table.insert().values(**row_checks.sealed(table, row, self.url))).inserted_primary_key
        return int(key[0]) if key is not None and table.autoincrement_column is not None else 0

    def insert_once(self, connection: Connection, table: sa.Table, **row: Any) -> bool:
        """Write one checked row with its seal, unless there is one of the same key already.

        Returns:
            Whether it was written.

        Raises:
            InvalidData: a value is one that could not be read again.
        """
        new = dialects.insert_into(connection, table).values(**row_checks.sealed(table, row, self.url))
        once = new.on_conflict_do_nothing().returning(*table.primary_key)
        return connection.execute(once).first() is not None

    def insert_latest(self, connection: Connection, table: sa.Table, **row: Any) -> None:
        """Write one checked row with its seal, in place of one of the same key.

        Raises:
            InvalidData: a value is one that could not be read again.
        """
        new = dialects.insert_into(connection, table).values(**row_checks.sealed(table, row, self.url))
        keys = list(table.primary_key)
        changes = {name: new.excluded[name] for name in (*row, "seal") if name not in {key.name for key in keys}}
        other = table.c.seal.is_distinct_from(new.excluded.seal)
        connection.execute(new.on_conflict_do_update(index_elements=keys, set_=changes, where=other))

    def now_s(self) -> float:
        """Seconds since 1970 by the clock that all who use the database share."""
        with self.reading() as connection:
            return dialects.now_s(connection)

    def rewrite(self, connection: Connection, table: sa.Table, where: sa.ColumnElement[bool], **changes: Any) -> None:
        """Change one row, and its seal with it; nothing happens if there is none."""
        row = connection.execute(sa.select(table).where(where)).mappings().first()
        if row is not None:
            whole = row_checks.sealed(table, {**row_checks.checked(table, dict(row), self.url), **changes}, self.url)
            counted = table.autoincrement_column
            values = {name: value for name, value in whole.items() if counted is None or name != counted.name}
            other = table.c.seal.is_distinct_from(whole["seal"])  # what is the same keeps its seal
            connection.execute(table.update().where(where, other).values(**values))

    def _json(self, table: sa.Table, row: Mapping[str, Any], column: str) -> Any:
        """What a column of a row holds as JSON."""
        text = row[column]
        where = f"{column} of row {row[next(iter(table.primary_key)).name]} of table {table.name!r} in {self.url}"
        return parse_json(text, where, kind=SchemaMismatch)

    def _open(self, *, create: bool) -> None:
        with self.reading() as connection:
            found = self._version(connection)
        if found is None and not create:
            raise database.NoStore(
                f"there is no store in {self.url}: it is empty, or was interrupted while it was made",
                hint=f"hwnas profile TARGET --store {self.url} makes it whole.",
            )
        if found is not None:
            database.check_content(self._engine, self._place)
        if found != schema.SCHEMA_VERSION:
            self.require_writable(f"store {self.url} is of version {found} of its tables")
            with database.named(self._place):
                dialects.write_ahead(self._engine)
            with self.transaction() as connection:
                self._make(connection)
        with self.reading() as connection:
            database.require_tables(connection, schema.METADATA, self.url)

    def require_writable(self, what: str) -> None:
        """Refuse to take tables along where the database is only looked at.

        Raises:
            SchemaMismatch: it is; `what` is of an older version.
        """
        if self.read_only:
            raise SchemaMismatch(
                f"{what}, which is only read, not taken along",
                hint="Open it for writing with this version of hwnas first: hwnas profile or hwnas search into it.",
            )

    def _version(self, connection: Connection) -> int | None:
        """Version of the schema; None if the store is still to be made, or its making was interrupted.

        Raises:
            SchemaMismatch: the database is none of ours, or of a version that is not read.
        """
        tables = set(sa.inspect(connection).get_table_names())
        if "meta" in tables:
            query = sa.select(schema.META.c.key, schema.META.c.value)
            meta: dict[str, str] = dict(connection.execute(query).tuples().all())
            found = str(meta.get("schema_version", "0"))
            if found in map(str, range(1, schema.SCHEMA_VERSION + 1)):
                return int(found)
            if not meta and database.is_empty(connection, schema.METADATA):
                return None
            raise SchemaMismatch(
                f"store {self.url} has schema version {found}, written by hwnas "
                f"{meta.get('written_by', 'unknown')}; this version reads {schema.SCHEMA_VERSION}",
                hint="Use the version that wrote it, or a newer one; nothing was changed.",
            )
        if tables and not database.is_empty(connection, schema.METADATA):
            raise SchemaMismatch(
                f"{self.url} is a database, but not a measurement store (it has no table 'meta')",
                hint="Give the path of a store, or of a new file.",
            )
        return None

    def _make(self, connection: Connection) -> None:
        """All tables of this version, in one transaction; another process may have been first."""
        found = self._version(connection)
        if found == schema.SCHEMA_VERSION:
            return
        database.complete(connection, schema.METADATA)
        if found is not None:
            repeated.separate(self, connection)
        database.index(connection, schema.METADATA)
        version_now = str(schema.SCHEMA_VERSION)
        if found is None:
            self.insert_once(connection, schema.META, key="schema_version", value=version_now)
            self.insert_once(connection, schema.META, key="written_by", value=version())
        else:
            self.rewrite(connection, schema.META, schema.META.c.key == "schema_version", value=version_now)
