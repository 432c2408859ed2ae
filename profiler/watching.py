"""What campaigns of a store come to so far, while they run or afterwards: a few statements, nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from profiler import presence, schema
from profiler.presence import Invocation
from profiler.store import Store


@dataclass(frozen=True)
class CampaignState:
    """What was measured of one target.

    Attributes:
        target: its name.
        conditions: id of the conditions that its numbers share.
        state: `running`, `finished` or `stopped`.
        models: how many have at least one block.
        failed: how many could not be measured.
        processes: workers that were started.
        blocks: taken by them.
        device_s: seconds of device time.
        last: the call that is at work, or the last one that was; None in rows of older versions.
    """

    target: str
    conditions: str
    state: str
    models: int
    failed: int
    processes: int
    blocks: int
    device_s: float
    last: Invocation | None


def campaigns(store: Store) -> list[CampaignState]:
    """Targets that are or were measured in a store, by name."""
    p, b, f = schema.PROCESSES.c, schema.BLOCKS.c, schema.FAILURES.c
    models, count = sa.func.count(sa.distinct(b.model)), sa.func.count()
    with store.reading() as connection:
        started = {
            key: values
            for key, *values in connection.execute(
                sa.select(
                    p.conditions,
                    count,
                    sa.func.coalesce(sa.func.sum(p.device_s), 0.0),
                    count.filter(p.state.not_in(("finished", schema.ASIDE))),
                ).group_by(p.conditions)
            )
        }
        taken = {
            key: values
            for key, *values in connection.execute(
                sa.select(p.conditions, models, count).join(schema.PROCESSES, p.id == b.process).group_by(p.conditions)
            )
        }
        given_up = connection.execute(sa.select(f.conditions, count).group_by(f.conditions))
        failed: dict[str, int] = dict(given_up.tuples().all())
    calls = presence.latest(presence.invocations(store, "campaign"))
    found = []
    for row in sorted(store.rows(schema.TARGETS), key=lambda row: str(row["name"])):
        key = row["conditions"]
        processes, device_s, unfinished = started.get(key, (0, 0.0, 0))
        measured, blocks = taken.get(key, (0, 0))
        last = calls.get(key)
        state = last.state if last is not None else "stopped" if unfinished or not processes else "finished"
        counts = measured, failed.get(key, 0), processes, blocks, float(device_s)
        found.append(CampaignState(row["name"], key, state, *counts, last))
    return found
