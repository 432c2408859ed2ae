"""A request that is refused leaves no files: a store that was made for it is taken away again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from device_profiles.errors import HwnasError, InvalidData, UsageError
from device_profiles.outputs import existing
from profiler.store import Store

#: Tables whose rows are work: with one of these the file is kept.
_WORK = {"blocks": None, "trials": "result", "failures": None}
_SIDES = ("", "-wal", "-shm", "-journal")


@contextlib.contextmanager
def if_refused(*places: str | Path | None) -> Iterator[list[Store]]:
    """Remove the files of new stores, and the folders made for them, if the block refuses its request.

    Only what was not there before, and holds no work. What ends by a fault of the machine or by an interrupt is kept:
    the same command goes on with it.

    Args:
        *places: of stores that the block may make; URLs and None are left alone.

    Yields:
        A list; the block adds the stores that it opens, so that they are closed before their files go.
    """
    files = [Path(place) for place in places if place is not None and "://" not in str(place)]
    new = [(file, existing(file.absolute().parent)) for file in files if not file.exists()]
    stores: list[Store] = []
    try:
        yield stores
    except HwnasError as error:
        if isinstance(error, (UsageError, InvalidData)):
            made = {str(file) for file, _ in new}
            kept_ones = {store.url for store in stores if store.url in made and _worked(store)}
            for store in stores:
                store.close()  # also one that was there before: its side files are not left behind
            for file, kept in new:
                if str(file) not in kept_ones:
                    _remove(file, kept)
        raise


def _worked(store: Store) -> bool:
    """Whether a store holds anything that took time, or cannot be asked."""
    try:
        tables = set(sa.inspect(store.engine).get_table_names())
        with store.engine.connect() as connection:
            for table, column in _WORK.items():
                where = sa.text(f"{column} is not null") if column else sa.true()
                query = sa.select(sa.literal(1)).select_from(sa.table(table)).where(where).limit(1)
                if table in tables and connection.execute(query).first() is not None:
                    return True
    except sa.exc.SQLAlchemyError:
        return True
    return False


def _remove(file: Path, kept: Path) -> None:
    with contextlib.suppress(OSError):  # a folder that is not empty is not ours to remove
        for side in _SIDES:
            file.with_name(file.name + side).unlink(missing_ok=True)
        folder = file.absolute().parent
        while folder != kept:
            folder.rmdir()
            folder = folder.parent
