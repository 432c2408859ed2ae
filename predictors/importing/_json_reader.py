"""JSON of others, read once: a key that is there twice would hide one of its values."""

from __future__ import annotations

import json
from typing import Any

from device_profiles.errors import InvalidTable


def read(text: str, where: str) -> Any:
    """The value.

    Args:
        text: JSON.
        where: it comes from, for messages.

    Raises:
        InvalidTable: it is no JSON, is nested too deep, or has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InvalidTable(f"cannot read {where} as JSON: {error}", hint="Fetch the file again.") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise ValueError(f"{twice[:60]!r} is there twice")
    return made
