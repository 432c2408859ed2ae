"""What a model believes: a value with an interval, its coverage, and what was missing. Never a measurement."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError

Floats = NDArray[np.float64]

#: The unit of each cost.
UNITS = {"latency": "ms", "energy": "mJ", "memory": "bytes"}


@dataclass(frozen=True)
class Prediction:
    """Predictions for `n` networks.

    Attributes:
        value: `(n,)`, in `unit`.
        low: `(n,)`, lower ends of the 90 % intervals; None if there were too few measured networks to calibrate any.
        high: `(n,)`, upper ends, or None.
        unit: `ms`, `mJ` or `bytes`.
        coverage: `(n,)`, share that stands on kernels the model has seen, in 0..1; what it has not seen counts by what
            its work may cost, not by what it was guessed at.
        missing: for each network the keys of kernels that it has not seen, or nothing near as large.
    """

    value: Floats
    low: Floats | None
    high: Floats | None
    unit: str
    coverage: Floats
    missing: tuple[tuple[str, ...], ...]

    def times(self, factor: Floats) -> Prediction:
        """Each network's value and interval by a factor, `(n,)`."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return replace(self, value=self.value * factor, low=low, high=high)


def check_missing(missing: str) -> None:
    """Refuse a way of treating missing kernels that is none.

    Raises:
        UsageError: it is neither `guess` nor `raise`.
    """
    if missing not in ("guess", "raise"):
        raise UsageError(f"missing kernels can be treated as 'guess' or 'raise', got {missing!r}")
