"""Folders that are replaced whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from device_profiles.errors import UsageError


@contextmanager
def replacing(
    folder: Path, what: str, is_own: Callable[[Path], bool], *, hint: str = "Give another folder with -o."
) -> Iterator[Path]:
    """A new folder to write into; when the block ends, it takes the place of `folder`, which is kept if it fails.

    Args:
        folder: to be made or replaced.
        what: it is, for the message.
        is_own: whether a folder that holds something is one of these, and may be replaced.
        hint: what to do if it is not.

    Raises:
        UsageError: `folder` is a file, or holds something else.
    """
    foreign = folder.is_dir() and any(folder.iterdir()) and not is_own(folder)
    if foreign or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} exists and is not {what}", hint=hint)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        work, old = Path(place) / "new", Path(place) / "old"
        work.mkdir()
        yield work
        if folder.exists():
            shutil.move(folder, old)
        try:
            shutil.move(work, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                shutil.move(old, folder)
            raise
