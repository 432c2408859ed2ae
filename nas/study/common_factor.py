"""What measured finalists say together: a device that runs them slower than predicted runs the others slower, too.

A table is measured in one state of a device and finalists in another: clocks, heat and other work move all latencies by
about the same factor. Where only the finalists count as measured, everything that nobody measured would look faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.objectives import CONFIDENCE

#: Measured networks from which a factor is told from chance.
LEAST = 3

Ends = tuple[float, float | None, float | None]


@dataclass(frozen=True)
class CommonFactor:
    """Measured over believed latency, common to all.

    Attributes:
        value: the geometric mean of the ratios.
        low: lower end of its 90 % interval, by Student's t on the logarithms.
        high: the upper end.
        spread: factor within which, up and down, 90 % of single networks are expected around it.
        count: measured networks.
    """

    value: float
    low: float
    high: float
    spread: float
    count: int

    def applied(self, believed: Ends) -> Ends:
        """A belief about a network that was not measured: value, low, high.

        Its interval is the wider one of what was believed and of how single networks lie around the factor.
        """
        value, low, high = believed
        now = value * self.value
        lows = [now / self.spread, *([] if low is None else [low * self.value])]
        highs = [now * self.spread, *([] if high is None else [high * self.value])]
        return now, min(lows), max(highs)

    @property
    def sentence(self) -> str:
        """For people."""
        return (
            f"finalists take {self.value:.3g} times what was predicted ({self.low:.3g} to {self.high:.3g}), "
            f"and so does what was not measured"
        )


def of(ratios: Sequence[float]) -> CommonFactor | None:
    """The factor of measured over believed latencies, `(n,)`; None where there are few, or where 1 is as likely."""
    if len(ratios) < LEAST or min(ratios) <= 0:
        return None
    from scipy.stats import t

    logs = np.log(np.asarray(ratios, dtype=np.float64))
    reach = t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * logs.std(ddof=1)
    mean, ends = logs.mean(), reach / np.sqrt(len(logs))
    if abs(mean) <= ends:
        return None
    single = reach * np.sqrt(1 + 1 / len(logs))
    value, low, high, spread = np.exp([mean, mean - ends, mean + ends, single])
    return CommonFactor(float(value), float(low), float(high), float(spread), len(logs))
