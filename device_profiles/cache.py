"""Where the toolkit keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

from device_profiles.errors import DeviceError


def cache_folder() -> Path:
    """`$HWNAS_CACHE`, else `$XDG_CACHE_HOME/hwnas`, else `~/.cache/hwnas`; it may not exist yet."""
    if own := os.environ.get("HWNAS_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "hwnas"
    except RuntimeError as error:  # a user without a home, as in a container
        raise DeviceError("this user has no home folder", hint="Set HWNAS_CACHE to a folder.") from error
