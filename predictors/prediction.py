"""What a model believes: a value with an interval, its coverage, and what was missing. Never a measurement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
