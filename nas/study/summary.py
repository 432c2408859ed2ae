"""Runs at a glance: what was searched for, how far it is, and how large its front is. Nothing is searched here."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from device_profiles.errors import InvalidData
from nas.objectives import Objective
from nas.study import lab, layout
from nas.study.study import Study, open_study
from nas.study.tables import DATABASE, OWN, STUDIES, STUDY
from nas.study.trial import STATES, Trial
from profiler import lock, presence
from profiler.store import Store

#: Folders between the one that is asked about and a run: nobody waits for a walk through a whole disk.
DEEPEST = 3


@dataclass(frozen=True)
class Summary:
    """One run.

    Attributes:
        folder: of the run; in a lab, that of the machine that began it.
        space: its spec.
        objectives: what is searched for.
        strategies: that asked for something, in the order they did.
        asked: architectures that are to be judged: by what was asked of the run last, if it says so, else what
            strategies asked for so far.
        evaluations: how many were judged.
        failed: how many of these have no value.
        front: how many of these are on the front.
        states: how many trials are in each state, see `Trial.state`.
        not_compared: how many were judged under smaller budgets than others, and so are not on the front.
        writer: who searches in it.
        lab: database that its rows are in, or None where that is its folder.
        study: name of its study there.
    """

    folder: str
    space: str
    objectives: tuple[Objective, ...]
    strategies: tuple[str, ...]
    asked: int
    evaluations: int
    failed: int
    front: int
    states: dict[str, int]
    not_compared: int
    writer: Writer = field(compare=False)
    lab: str | None = None
    study: str | None = None

    @property
    def state(self) -> str:
        """`running`; `finished`, where all is judged that was asked for; `stopped`."""
        return "running" if self.writer.works else "finished" if self.evaluations >= self.asked else "stopped"


@dataclass(frozen=True)
class Writer:
    """Who searches in a run, or was the last to.

    Attributes:
        works: whether it does now.
        host: its machine, "" if nobody knows.
        pid: its process there, 0 if nobody knows.
        seen_s: when the run was last written, or its writer last seen, in seconds since 1970; 0 if nobody knows.
    """

    works: bool = False
    host: str = ""
    pid: int = 0
    seen_s: float = 0.0


def summarise(folder: str | Path) -> Summary:
    """Read a run, which may still be going on; nothing in its folder, or its lab, is changed.

    Raises:
        InvalidData: the folder holds no run.
        SchemaMismatch: the run cannot be read by this version, or is damaged.
    """
    study = open_study(folder, as_copy=True)
    with study.store:
        writer = _of_folder(Path(folder)) if study.name == OWN else _of_lab(study.store).get(study.name, Writer())
        return _summary(study, str(folder), writer)


def in_database(store: Store) -> Iterator[tuple[str, Callable[[], Summary]]]:
    """Studies of a lab, or that of a run's database, the first first: where each is from, and what reads it.

    Args:
        store: opened `as_copy`.
    """
    if not sa.inspect(store.engine).has_table(STUDY.name):
        return
    layout.prepare(store)
    writers = _of_lab(store)
    for row in store.rows(STUDIES, sa.select(STUDIES).order_by(STUDIES.c.id)):
        own = row["name"] == OWN and Path(store.url).name == DATABASE
        writer = _of_folder(Path(store.url).parent) if own else writers.get(row["name"], Writer())
        place = row["place"] or store.url
        yield place, partial(_read, store, row["name"], place, writer)


def _read(store: Store, name: str, place: str, writer: Writer) -> Summary:
    return _summary(Study(store, name), place, writer)


def _of_folder(folder: Path) -> Writer:
    """Who holds the folder of a run on this machine."""
    pid = lock.run_holder(folder)
    times = [path.stat().st_mtime for path in folder.glob(f"{DATABASE}*")]
    return Writer(pid is not None, socket.gethostname() if pid else "", pid or 0, max(times, default=0.0))


def _of_lab(store: Store) -> dict[str, Writer]:
    """Who holds the studies of a lab, or was the last to, by their names."""
    calls = presence.latest(presence.invocations(store, lab.KIND))
    return {name: Writer(call.state == "running", call.host, call.pid, call.seen_s) for name, call in calls.items()}


def _summary(study: Study, folder: str, writer: Writer) -> Summary:
    objectives, trials, requests = study.objectives(), study.trials(), study.asked()
    wanted = requests[-1]["evaluations"] * len(requests[-1]["strategies"]) if requests else 0
    apart = study.name != OWN
    return Summary(
        folder,
        str(study.fact("space")),
        objectives,
        tuple(dict.fromkeys(trial.strategy for trial in trials)),
        max(wanted, len(trials)),
        sum(trial.result is not None for trial in trials),
        len(study.failures()),
        len(study.front()),
        states(trials),
        study.not_compared,
        writer,
        study.store.url if apart else None,
        study.name if apart else None,
    )


def states(trials: Iterable[Trial]) -> dict[str, int]:
    """How many trials are in each state."""
    found = Counter(trial.state for trial in trials)
    return {state: found[state] for state in STATES}


def not_compared(count: int) -> str:
    """How many trials are of smaller budgets, for people; "" where none is."""
    if count == 0:
        return ""
    return (
        f"{count} trials of smaller budgets are not compared"
        if count > 1
        else "1 trial of a smaller budget is not compared"
    )


def below(folder: str | Path) -> Iterator[Path]:
    """Folders of runs, the given one or up to `DEEPEST` folders below it, by name; links are not followed.

    Raises:
        InvalidData: it is no folder.
    """
    if not Path(folder).is_dir():
        raise InvalidData(f"{folder} is not a folder", hint="Give the folder that holds runs, such as runs.")
    for place, folders, files in os.walk(folder):
        folders.sort()
        if len(Path(place).relative_to(folder).parts) >= DEEPEST:
            folders.clear()
        if DATABASE in files or lab.POINTER in files:
            folders.clear()  # what a run holds belongs to it
            yield Path(place)
