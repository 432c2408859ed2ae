"""Split-conformal intervals on the relative error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Coverage that intervals aim at.
LEVEL = 0.90
#: Fewest errors that a 90 % interval can rest on: with fewer than 9 the finite-sample quantile does not exist.
LEAST = 9


def relative_half_width(errors: Floats) -> float | None:
    """Half-width, relative to the prediction, that covers 90 % of exchangeable errors.

    Source: Lei et al., "Distribution-free predictive inference for regression", JASA 113, 2018, section 2.2.

    Args:
        errors: `(n,)`, `|measured - predicted| / predicted` on networks that the prediction had not seen.

    Returns:
        The `ceil((n + 1) * 0.9)`-th smallest error, or None with fewer than 9 errors: too few for an interval.
    """
    count = len(errors)
    if count < LEAST:
        return None
    rank = min(int(np.ceil((count + 1) * LEVEL)), count)
    return float(np.sort(errors)[rank - 1])


def repeated(half_width: float | None, repeats: Floats) -> float | None:
    """Half-width for measurements of another campaign, from that of errors within one.

    Networks of one campaign share its error, of which none of them knows: the machine's state, what the campaign took
    for its best. How far a repeated measurement may be off tells it, and is independent of how well a model fits.

    Args:
        half_width: of errors within the campaign, relative; None stays None.
        repeats: `(n,)`, relative half-widths of the intervals that repeated measurements fall into.
    """
    return half_width if half_width is None or not len(repeats) else float(np.hypot(half_width, np.median(repeats)))


def around(
    value: Floats, half_width: float | None, guessed: Floats, less: Floats | None = None
) -> tuple[Floats | None, Floats | None]:
    """Ends of the 90 % intervals.

    Args:
        value: `(n,)`, predictions.
        half_width: relative half-width where all that they stand on was measured, or None.
        guessed: `(n,)`, share of the value by which guesses may be above it.
        less: `(n,)`, share by which they may be below it, in 0..1; if None, as many times less as they may be more.

    Returns:
        Lower and upper ends `(n,)`, or None and None without `half_width`.
    """
    if half_width is None:
        return None, None
    kept = 1.0 / (1.0 + guessed) if less is None else 1.0 - less
    return value * max(1.0 - half_width, 0.0) * kept, value * (1.0 + half_width + guessed)
