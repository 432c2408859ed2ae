"""MODNAS: one search for many devices and preferences.

Not part of this version; the name answers with an error that says so.
"""

from __future__ import annotations

from typing import Any

from device_profiles.errors import HwnasError


class Modnas:
    """Not part of this version."""

    def __init__(self, choices: Any, *, seed: int = 0) -> None:
        raise HwnasError("nas.gradient.modnas is not part of this version", hint="Use nsga2 or gdas.")
