"""Devices that were measured, and ship: a folder of a predictor for each target, named DEVICE/TARGET.

What is in them was measured and fitted by the commands that `docs/reference/measured-devices.md` shows, never by hand.
Nothing here reads them; `predictors.load` does.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def names() -> tuple[str, ...]:
    """All of them, such as `xeon-amx/local-onnxruntime`."""
    root = _root()
    return tuple(sorted(card.parent.relative_to(root).as_posix() for card in root.glob("*/*/card.json")))


def folder(name: str | Path) -> Path | None:
    """Where one of `names` is; None for what is none of them."""
    return _root() / name if Path(name).as_posix() in names() else None


def _root() -> Path:
    return Path(str(files("device_profiles") / "data" / "measured"))
