"""Small files of the kernel, below a root that may be another than `/`."""

from __future__ import annotations

from pathlib import Path

from device_profiles import machine
from device_profiles.facts import Unknown

ROOT = machine.ROOT


def text(path: Path) -> str | None:
    """What a file says; None where it is missing or may not be read."""
    found = machine.read(path)
    return None if isinstance(found, Unknown) else found


def number(path: Path) -> float:
    """A number.

    Raises:
        OSError: the file cannot be read, or holds none.
    """
    try:
        return float(path.read_text().strip())
    except ValueError as error:
        raise OSError(f"{path} holds no number") from error
