"""What is said where losses stay no numbers."""

from __future__ import annotations

from device_profiles.errors import HwnasError


class Diverged(HwnasError):
    """Losses of a gradient search, or of the training of shared weights, are no numbers; what it had is kept."""
