"""Files of others, read within bounds: a regular file of a bounded size, nested to a bounded depth, or a named error.

A pipe would never end, a file of 10 GB or of 100,000 brackets would take the machine down: what is over the bounds is
refused at once.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import stat
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from device_profiles.errors import InvalidData

#: Largest text that is read: tables of millions of rows stay below.
LARGEST_TEXT_BYTES = 256 << 20
#: Deepest nesting of JSON and TOML; the formats of this project need less than ten.
DEEPEST = 64
#: Most digits of a whole number in JSON: more overflow whatever computes with them.
MOST_DIGITS = 64
#: Largest TOML: people write it.
LARGEST_TOML_BYTES = 1 << 20
#: Most keys of a TOML file, and parts of one dotted key; the parser is slow, and quadratic in the latter.
MOST_KEYS = 10_000
MOST_PARTS = 16

#: What of TOML is no structure: comments and texts; one that does not end goes as far as it can.
_NO_STRUCTURE = re.compile(
    r"""#[^\n]*|\"{3}(?:\\.|[^\\])*?(?:\"{3}|\Z)|'{3}.*?(?:'{3}|\Z)|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?""", re.DOTALL
)


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 100


def shown(value: object) -> str:
    """A value of others for a message: as Python writes it, cut where it is long."""
    return _BRIEF.repr(value)


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
        InvalidData: it is no JSON, is nested deeper than `DEEPEST`, has a key twice, or a whole number of more than
            `MOST_DIGITS` digits.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise kind(f"cannot read {where} as JSON: {reason}", hint=hint) from error
    if _depth_over(value, DEEPEST):
        raise kind(f"cannot read {where} as JSON: it is nested deeper than {DEEPEST}", hint=hint)
    return value


def parse_toml(content: bytes, where: str, *, hint: str = "") -> dict[str, Any]:
    """TOML within bounds, of texts, finite numbers, whole numbers of 64 bits, and true and false.

    Args:
        content: TOML in UTF-8.
        where: it comes from, for messages.
        hint: what to do if it cannot be read.

    Raises:
        InvalidData: it is no TOML, over a bound, or holds a value of another kind, such as a date.
    """
    try:
        if len(content) > LARGEST_TOML_BYTES:
            raise ValueError(f"it has {len(content)} bytes, at most {LARGEST_TOML_BYTES} are read")
        text = content.decode()
        _require_small(_NO_STRUCTURE.sub("x", text))
        value = tomllib.loads(text)
        _require_plain(value)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InvalidData(f"{where} is not TOML that can be read: {reason[:300]}", hint=hint) from error
    return value


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits, at most {MOST_DIGITS} are read")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"{twice[:60]!r} is there twice")
    return made


def _require_small(structure: str) -> None:
    """Refuse TOML whose brackets, dots or keys would keep the parser busy; texts and comments are taken out."""
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", structure):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST}")
    if structure.count("=") > MOST_KEYS or structure.count("[") > MOST_KEYS:
        raise ValueError(f"it has more than {MOST_KEYS} keys")
    if max(part.count(".") for part in re.split(r"[=,\[\]{}\n]", structure)) >= MOST_PARTS:
        raise ValueError(f"a dotted key has more than {MOST_PARTS} parts")


def _require_plain(value: Any) -> None:
    """Refuse values that no format here has; the depth is bounded already."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _require_plain(inner)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no finite number")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("a whole number has more than 64 bits")
    elif not isinstance(value, str):
        raise ValueError(f"{value} is a {type(value).__name__}; texts, numbers, true and false are read")


def _depth_over(value: Any, most: int) -> bool:
    """Whether containers are nested deeper than `most`."""
    level = [value]
    for _ in range(most):
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
