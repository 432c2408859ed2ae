"""Files of data: there, and known by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from device_profiles.errors import UsageError


def require_file(name: str) -> Path:
    """The path of a file.

    Raises:
        UsageError: there is none.
    """
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="Give the path of one, from the folder that you are in.")
    return path


def digest(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
