"""Files of others, read within bounds: a regular file of a bounded size, nested to a bounded depth, or a named error.

A pipe would never end, a file of 10 GB or of 100,000 brackets would take the machine down: what is over the bounds is
refused at once.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from device_profiles.errors import InvalidData

#: Largest text that is read: tables of millions of rows stay below.
LARGEST_TEXT_BYTES = 256 << 20
#: Deepest nesting of JSON; the formats of this project need less than ten.
DEEPEST = 64


def read_bytes(path: Path, *, largest_bytes: int = LARGEST_TEXT_BYTES, hint: str = "") -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        largest_bytes: a larger one is refused unread.
        hint: what to do if there is none.

    Raises:
        InvalidData: it is missing, no regular file (a folder, a pipe, a device), too large, or cannot be read.
    """
    try:
        # A pipe blocks whoever opens it, so it is opened without waiting and looked at before it is read.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise InvalidData(f"{path} is no regular file", hint=hint)
            if facts.st_size > largest_bytes:
                raise InvalidData(f"{path} has {facts.st_size} bytes, at most {largest_bytes} are read", hint=hint)
            return file.read(largest_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidData(f"cannot read {path}: {reason}", hint=hint) from error


def parse_json(text: str | bytes, where: str, *, kind: type[InvalidData] = InvalidData, hint: str = "") -> Any:
    """JSON within bounds; a key that is there twice would hide one of its values.

    Args:
        text: JSON.
        where: it comes from, for messages.
        kind: of the error.
        hint: what to do if it cannot be read.

    Raises:
        InvalidData: it is no JSON, is nested deeper than `DEEPEST`, or has a key twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise kind(f"cannot read {where} as JSON: {reason}", hint=hint) from error
    if _depth_over(value, DEEPEST):
        raise kind(f"cannot read {where} as JSON: it is nested deeper than {DEEPEST}", hint=hint)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise ValueError(f"{twice[:60]!r} is there twice")
    return made


def _depth_over(value: Any, most: int) -> bool:
    """Whether containers are nested deeper than `most`."""
    level = [value]
    for _ in range(most + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
