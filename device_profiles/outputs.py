"""Files that a command writes for people: whole or not at all, and in the place of nothing but one of their own kind.

A path that a user gives may name anything: a store, a run, notes. What lies there is recognised by its content, never
by its name.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_profiles.errors import DeviceError, HwnasError, UsageError
from device_profiles.system_errors import of_system

#: Bytes of a file that its kind is recognised by.
HEAD_BYTES = 64 << 10


@dataclass(frozen=True)
class FileKind:
    """What the toolkit writes as one file.

    Attributes:
        what: it is, for messages: `a page of hwnas`.
        is_own: whether a file that begins so is one, and may be replaced; told at most `HEAD_BYTES`.
    """

    what: str
    is_own: Callable[[bytes], bool]


def _is_page(content: bytes) -> bool:
    head = content[:600].lower()
    return head.startswith(b"<!doctype html>") and b"<title>hwnas: " in head


#: Every page that the toolkit writes has a title that begins with its name.
PAGE = FileKind("a page of hwnas", _is_page)


def check(path: str | Path, kind: FileKind) -> Path:
    """Refuse a place that `write` would refuse, before anything is computed; nothing is written.

    Args:
        path: where the file will be.
        kind: of file.

    Returns:
        The path with its links followed.

    Raises:
        UsageError: there is something else, or there can be no file.
    """
    path = Path(path)
    hint = "Give another file with -o."
    try:
        place = Path(os.path.realpath(path))
        facts = _facts(place)
        if facts is not None and not stat.S_ISREG(facts.st_mode):
            what = "a folder" if stat.S_ISDIR(facts.st_mode) else "no regular file"
            raise UsageError(f"{path} is {what}, not {kind.what}", hint=hint)
        if facts is not None:
            with place.open("rb") as file:
                content = file.read(HEAD_BYTES)
            if content and not kind.is_own(content):
                raise UsageError(f"{path} exists and is not {kind.what}: it is not replaced", hint=hint)
        parent = existing(place.parent)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _refused(path, error) from error
    if not parent.is_dir():
        raise UsageError(f"there can be no {path}: {parent} is no folder", hint=hint)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"there can be no {path}: {parent} cannot be written", hint=hint)
    return place


def write(path: str | Path, content: str | bytes, kind: FileKind) -> None:
    """Write a file, whole or not at all.

    Raises:
        UsageError: there is something else, or there can be no file.
        DeviceError: the disk is full or fails.
    """
    path = Path(path)
    place = check(path, kind)
    data = content.encode() if isinstance(content, str) else content
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # The name of the temporary file is its own: one made of a long name would be too long.
        descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".hwnas-", suffix=".partial")
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            partial.replace(place)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _refused(path, error) from error


def existing(path: Path) -> Path:
    """The nearest of a path and its parents that exists.

    Raises:
        OSError: it cannot be known.
    """
    while _facts(path) is None:
        path = path.parent
    return path


def _facts(path: Path) -> os.stat_result | None:
    """What lies there, or None; a path through a file has nothing at its end."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _refused(path: Path, error: OSError | ValueError) -> HwnasError:
    """The machine's fault as it is; any other is one of the path that was given."""
    if isinstance(error, OSError) and isinstance(found := of_system(error), DeviceError):
        return DeviceError(f"cannot write {path}: {error.strerror}", hint=found.hint)
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"cannot write {path}: {said}", hint="Give another file with -o.")


def _umask() -> int:
    """The mask of new files; asking for it sets it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
