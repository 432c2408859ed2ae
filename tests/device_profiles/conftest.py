"""Settings of the tests of targets."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", deadline=None)  # a loaded machine fails no property
settings.load_profile("steady")
