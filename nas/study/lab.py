"""Runs whose rows are in a lab: a database that many searches write into. The folder says which study there is its own.

The study has a name that no other one has, so a folder may move, and a lab may get another address. One search at a
time writes to it, from whichever machine.
"""

from __future__ import annotations

import contextlib
import json
import socket
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiles.errors import ConditionMismatch, HwnasError, InvalidData, RunBusy, SchemaMismatch, UsageError
from device_profiles.passwords import without_password
from device_profiles.reading import parse_json
from nas.study.tables import DATABASE, OWN
from profiler import presence

if TYPE_CHECKING:
    from nas.study.record import Record
    from profiler.presence import Invocation

#: The file in a run's folder.
POINTER = "lab.json"
_SCHEMA = "hwnas.lab/1"
#: Of calls that search.
KIND = "search"


@dataclass(frozen=True)
class Pointer:
    """Where the rows of a run are.

    Attributes:
        lab: URL of the database without a password, or the path of a file.
        study: name of the run's study in it.
    """

    lab: str
    study: str


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / DATABASE).exists() or (folder / POINTER).exists()


def pointer_of(folder: Path) -> Pointer | None:
    """Where the rows of a run are, if not in its folder.

    Raises:
        SchemaMismatch: the file that says so is damaged.
    """
    path = folder / POINTER
    if not path.is_file():
        return None
    plain = parse_json(path.read_text(encoding="utf-8", errors="replace"), str(path), kind=SchemaMismatch)
    known = plain if isinstance(plain, dict) and plain.get("schema") == _SCHEMA else {}
    lab, study = known.get("lab"), known.get("study")
    if not (isinstance(lab, str) and isinstance(study, str) and lab and study):
        raise SchemaMismatch(
            f"{path} does not say in which lab the run is", hint="Restore it from a copy; nothing was changed."
        )
    return Pointer(lab, study)


def pointer_to(folder: Path, lab: str | Path | None) -> Pointer | None:
    """Where the rows of a run are, or will be; None where that is its folder.

    Args:
        folder: of the run.
        lab: that is asked for, or None for the one that it has.

    Raises:
        UsageError: the run has its rows in its folder, and a lab is asked for.
    """
    known = pointer_of(folder)
    if lab is None:
        return known
    if known is None and (folder / DATABASE).exists():
        raise UsageError(
            f"run {folder} keeps its rows in its folder, not in a lab",
            hint="Leave --lab out to go on with it, or give another folder with -o.",
        )
    place = without_password(str(lab), instead="") if "://" in str(lab) else str(Path(lab).absolute())
    return Pointer(place, uuid.uuid4().hex if known is None else known.study)


def keep(folder: Path, pointer: Pointer, study: Record) -> None:
    """Have the folder of a run say where its rows are, whole or not at all.

    Raises:
        ConditionMismatch: they are in another lab.
    """
    known = pointer_of(folder)
    if known == pointer:
        return
    if known is not None and not study.number:
        raise ConditionMismatch(
            f"the rows of run {folder} are not in {study.store.url}",
            expected={"lab": known.lab},
            got={"lab": pointer.lab},
            hint="Give the lab that it was begun in, or leave --lab out.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{POINTER}.partial"
    temporary.write_text(json.dumps({"schema": _SCHEMA, **asdict(pointer)}) + "\n", encoding="utf-8")
    temporary.replace(folder / POINTER)


def place_of(folder: Path) -> str:
    """The folder of a run, for people who look at the lab from elsewhere."""
    return f"{socket.gethostname()}:{folder.resolve()}"


@contextlib.contextmanager
def held(study: Record, *, wait: bool = False) -> Iterator[None]:
    """Hold a study of a lab while it is written to; that of a folder is held by the folder's lock.

    Args:
        study: of a run.
        wait: until no other search holds it.

    Raises:
        RunBusy: another search holds it, on this machine or on another one.
    """

    def busy(other: Invocation) -> RunBusy:
        return RunBusy(
            f"study {study.name} in {study.store.url} is being searched by {other}",
            hint="Wait for it with --wait; one that was killed elsewhere is taken over after a minute.",
        )

    if study.name == OWN:
        yield
        return
    with presence.present(study.store, KIND, study.name, busy=busy, wait=wait) as mine:
        study.writer = mine
        try:
            yield
        finally:
            study.writer = None


@contextlib.contextmanager
def unmade_if_refused(study: Record, folder: Path) -> Iterator[None]:
    """Take a new study back if the block refuses its request before anything was judged; see `profiler.unmade`."""
    new = study.name != OWN and not study.number
    try:
        yield
    except (UsageError, InvalidData):
        with contextlib.suppress(HwnasError):
            if new and not any(trial.result is not None for trial in study.trials()):
                study.withdraw()
                (folder / POINTER).unlink(missing_ok=True)
        raise
