"""Runs at a glance: what was searched for, how far it is, and how large its front is. Nothing is searched here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from device_profiles.errors import InvalidData
from nas.objectives import Objective
from nas.study.study import open_study
from nas.study.tables import DATABASE
from nas.study.trial import STATES, Trial

#: Folders between the one that is asked about and a run: nobody waits for a walk through a whole disk.
DEEPEST = 3


@dataclass(frozen=True)
class Summary:
    """One run.

    Attributes:
        folder: of the run.
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
    """

    folder: Path
    space: str
    objectives: tuple[Objective, ...]
    strategies: tuple[str, ...]
    asked: int
    evaluations: int
    failed: int
    front: int
    states: dict[str, int]
    not_compared: int


def summarise(folder: str | Path) -> Summary:
    """Read a run, which may still be going on; nothing in its folder is changed.

    Raises:
        InvalidData: the folder holds no run.
        SchemaMismatch: the run cannot be read by this version, or is damaged.
    """
    study = open_study(folder, as_copy=True)
    try:
        trials, requests = study.trials(), study.asked()
        wanted = requests[-1]["evaluations"] * len(requests[-1]["strategies"]) if requests else 0
        return Summary(
            Path(folder),
            str(study.fact("space")),
            study.objectives(),
            tuple(dict.fromkeys(trial.strategy for trial in trials)),
            max(wanted, len(trials)),
            sum(trial.result is not None for trial in trials),
            len(study.failures()),
            len(study.front()),
            states(trials),
            study.not_compared,
        )
    finally:
        study.store.close()


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
        if DATABASE in files:
            folders.clear()  # what a run holds belongs to it
            yield Path(place)
