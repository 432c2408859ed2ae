"""Tables of studies: made in a database that has none, taken along from older versions in place, refused if newer."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from device_profiles.errors import SchemaMismatch
from device_profiles.reading import parse_json
from nas.study.tables import METADATA, OWN, SEARCHES, STUDIES, STUDY, STUDY_VERSION, TRIALS
from profiler import database, dialects, row_checks
from profiler.store import Store


def prepare(store: Store) -> None:
    """Bring the tables of studies in a database to this version, all of them or none.

    Raises:
        SchemaMismatch: they are of a newer version, damaged, or there are trials and nothing that says of which study;
            nothing was changed.
    """
    with store.reading() as connection:
        found = _version(connection, store)
    if found != STUDY_VERSION:
        store.require_writable(f"{store.url} holds {'no studies' if found is None else f'studies of version {found}'}")
        with store.transaction() as connection:
            found = _version(connection, store)  # another process may have been first
            if found is None or found == STUDY_VERSION:
                database.complete(connection, METADATA)
            else:
                _take_along(connection, store)
    with store.reading() as connection:
        database.require_tables(connection, METADATA, store.url)


def lost(store: Store) -> SchemaMismatch:
    """The error where there are rows of a study, and nothing says of which."""
    return SchemaMismatch(
        f"{store.url} holds rows of a search, but nothing says of which: table 'study' lost its rows",
        hint="Restore it from a copy, or give another folder; nothing was changed.",
    )


def digest(settings: str) -> str:
    """What stands for the settings of a search in its key."""
    return hashlib.sha256(settings.encode()).hexdigest()


def _version(connection: Connection, store: Store) -> int | None:
    """Version of the tables; None where there are none, or nothing in them."""
    known = set(sa.inspect(connection).get_table_names())
    if STUDY.name not in known:
        return None
    stated = sa.select(STUDY.c.value).where(STUDY.c.key == "version")
    texts = connection.scalars(stated.distinct()).all()
    where = f"version of table 'study' in {store.url}"
    versions = [parse_json(str(text), where, kind=SchemaMismatch) for text in texts]
    for version in versions:
        if version not in range(1, STUDY_VERSION + 1) or isinstance(version, bool):
            raise SchemaMismatch(
                f"{store.url} holds a study of version {version}; this version reads {STUDY_VERSION}",
                hint="Use the version that wrote it; nothing was changed.",
            )
    if STUDIES.name in known:
        return int(min(versions, default=STUDY_VERSION))
    tables = [table for table in METADATA.sorted_tables if table.name in known]
    if not versions and any(connection.execute(_first(table)).first() for table in tables):
        raise lost(store)
    return int(versions[0]) if versions else 1


def _first(table: sa.Table) -> sa.Select[Any]:
    return sa.select(sa.literal(1)).select_from(sa.table(table.name)).limit(1)


def _take_along(connection: Connection, store: Store) -> None:
    """Make the tables anew with all that they held, as of the one study of this database.

    Keys change, which SQLite cannot do to a table that is there. All rows are read first, and checked.
    """
    known = set(sa.inspect(connection).get_table_names())
    tables = [table for table in METADATA.sorted_tables if table.name in known]
    held = {table: list(_rows(connection, table, store.url)) for table in tables}
    for table in reversed(tables):
        connection.execute(sa.schema.DropTable(table))
    database.complete(connection, METADATA)
    if any(held.values()):
        store.insert_once(connection, STUDIES, id=1, name=OWN, place="")
    for table, rows in held.items():
        if rows:
            connection.execute(table.insert(), [row_checks.sealed(table, row, store.url) for row in rows])
    for table in METADATA.sorted_tables:
        dialects.go_on_counting(connection, table)


def _rows(connection: Connection, table: sa.Table, url: str) -> Iterator[dict[str, Any]]:
    """Rows of an older version as they are now."""
    places: Counter[tuple[int, int]] = Counter()
    order: sa.ColumnClause[Any] = next(sa.column(key.name) for key in table.primary_key if key.name != "study")
    found = connection.execute(sa.select(sa.text("*")).select_from(sa.table(table.name)).order_by(order))
    for old in found.mappings().all():
        row: Mapping[str, Any] = row_checks.checked(table, dict(old), url)
        new = {name: value for name, value in row.items() if name != "seal"}
        if "study" in table.c:
            new["study"] = 1
        if table is STUDY and new["key"] == "version":
            new["value"] = str(STUDY_VERSION)
        elif table is SEARCHES:
            new["digest"] = digest(new["settings"])
        elif table is TRIALS:
            batch = new["search"], new["batch"]
            new["place"] = places[batch]
            places[batch] += 1
        yield new
