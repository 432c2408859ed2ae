"""Stores of before version 4 allowed blocks of one key: equal ones are kept once, others get a key of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from profiler.schema import BLOCKS

if TYPE_CHECKING:
    from profiler.store.opened import OpenStore

_KEY = (BLOCKS.c.process, BLOCKS.c.model, BLOCKS.c.round, BLOCKS.c.retry)


def separate(store: OpenStore, connection: Connection) -> None:
    """Have no two blocks with one key: of equal ones the first stays, others become further repeats of it."""
    several = sa.select(*_KEY).group_by(*_KEY).having(sa.func.count() > 1)
    for process, model, round_, _ in connection.execute(several).all():
        of_round = (BLOCKS.c.process == process) & (BLOCKS.c.model == model) & (BLOCKS.c.round == round_)
        seen: set[tuple[object, ...]] = set()
        taken: set[int] = set()
        for row in connection.execute(sa.select(BLOCKS).where(of_round).order_by(BLOCKS.c.id)).mappings().all():
            what = tuple(value for name, value in row.items() if name not in ("id", "seal"))
            if what in seen:
                connection.execute(BLOCKS.delete().where(BLOCKS.c.id == row["id"]))
            elif row["retry"] in taken:
                free = next(number for number in range(len(taken) + 1) if number not in taken)
                store.rewrite(connection, BLOCKS, BLOCKS.c.id == row["id"], retry=free)
                taken.add(free)
            else:
                taken.add(row["retry"])
            seen.add(what)
