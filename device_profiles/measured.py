"""Devices that were measured, and ship: a folder of a predictor for each, under the name of its target.

What is in them was measured and fitted by the commands that `docs/reference/measured-devices.md` shows, never by hand.
`predictors.load` reads them.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from device_profiles.profile import Target, from_plain
from device_profiles.reading import parse_json, read_bytes


def names() -> tuple[str, ...]:
    """All of them, such as `xeon-amx-onnxruntime`."""
    return tuple(sorted(card.parent.name for card in _root().glob("*/card.json")))


def folder(name: str | Path) -> Path | None:
    """Where one of `names` is; None for what is none of them."""
    return _root() / name if str(name) in names() else None


def target(name: str) -> Target | None:
    """The target that one of `names` is: its device, with facts, and the way it ran models; else None."""
    place = folder(name)
    return None if place is None else from_plain(parse_json(read_bytes(place / "card.json"), name)["profile"])


def _root() -> Path:
    return Path(str(files("device_profiles") / "data" / "measured"))
