"""Folders that are replaced whole or not at all, and only where every file in them was written here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from device_profiles.errors import DeviceError, HwnasError, UsageError
from device_profiles.outputs import existing
from device_profiles.system_errors import of_system

_HINT = "Give another folder with -o."


def check(folder: Path, what: str, is_own: Callable[[Path], bool], *, hint: str = _HINT) -> Path:
    """Refuse a place that `replacing` would refuse, before anything is computed; nothing is written.

    Args:
        folder: to be made or replaced.
        what: it is, for the message.
        is_own: whether a folder that holds something holds one of these and nothing beside it.
        hint: what to do if it does not.

    Returns:
        The path with its links followed.

    Raises:
        UsageError: it is no folder, it holds something else, or there can be none.
    """
    try:
        place = Path(os.path.realpath(folder))
        nearest = existing(place)
        if nearest == place:
            _require_own(folder, place, what, is_own, hint)
            nearest = place.parent
        elif not nearest.is_dir():
            raise UsageError(f"there can be no folder {folder}: {nearest} is a file", hint=hint)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _refused(folder, error, hint) from error
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {folder}: {nearest} cannot be written", hint=hint)
    return place


@contextmanager
def replacing(folder: Path, what: str, is_own: Callable[[Path], bool], *, hint: str = _HINT) -> Iterator[Path]:
    """A new folder to write into; when the block ends, it takes the place of `folder`, which is kept if it fails.

    Args:
        folder: to be made or replaced.
        what: it is, for the message.
        is_own: whether a folder that holds something holds one of these and nothing beside it, and may be replaced.
        hint: what to do if it does not.

    Raises:
        UsageError: `folder` is a file, or holds something else, or cannot be written.
        DeviceError: the disk is full or fails.
    """
    place = check(folder, what, is_own, hint=hint)
    try:
        # Beside what it will replace, as far as that is there: a failure leaves no folders behind.
        with tempfile.TemporaryDirectory(dir=existing(place.parent), prefix=".hwnas-") as beside:
            work, old = Path(beside) / "new", Path(beside) / "old"
            work.mkdir()
            yield work
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                shutil.move(place, old)
            try:
                shutil.move(work, place)
            except BaseException:
                if old.exists() and not place.exists():
                    shutil.move(old, place)
                raise
    except OSError as error:
        raise _refused(folder, error, hint) from error


def _require_own(folder: Path, place: Path, what: str, is_own: Callable[[Path], bool], hint: str) -> None:
    """Refuse a file, the folder that one is in, and a folder with anything of others, saying what is there."""
    if not place.is_dir():
        raise UsageError(f"{folder} exists and is not {what}: it is a file", hint=hint)
    if place == Path.cwd():
        raise UsageError(f"{folder} is the folder that you are in, which cannot be replaced", hint=hint)
    names = sorted(path.name for path in place.iterdir())
    if names and not is_own(place):
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        raise UsageError(
            f"{folder} exists and is not {what} alone, so it is not replaced: it holds {', '.join(names[:4])}{more}",
            hint=hint,
        )


def _refused(folder: Path, error: OSError | ValueError, hint: str) -> HwnasError:
    """The machine's fault as it is; any other is one of the path that was given."""
    if isinstance(error, OSError) and isinstance(found := of_system(error), DeviceError):
        return DeviceError(f"cannot write {folder}: {error.strerror or error}", hint=found.hint)
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"cannot write {folder}: {said}", hint=hint)
