"""What measured finalists say together: a device that runs them slower than predicted runs the others slower, too.

A table is measured in one state of a device and finalists in another: clocks, heat and other work move all latencies by
about the same factor, or small networks by another than large ones. Where only the finalists count as measured,
everything that nobody measured would look faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.arrays import Floats
from nas.objectives import CONFIDENCE

#: Measured networks from which a factor is told from chance, and from which one that changes with latency is.
LEAST, LEAST_CHANGING = 3, 4
#: Squares of logarithms below which latencies are one.
_ALIKE = 1e-6

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
        power: the factor grows as this power of believed latency; 0 where one factor fits all.
        believed: the least, the geometric mean and the largest of believed latencies, in their unit; beyond, the factor
            is that of the ends.
    """

    value: float
    low: float
    high: float
    spread: float
    count: int
    power: float = 0.0
    believed: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def at(self, believed: float) -> float:
        """The factor of a network by its believed latency."""
        least, middle, most = self.believed
        return float(self.value * (min(max(believed, least), most) / middle) ** self.power)

    def applied(self, believed: Ends) -> Ends:
        """A belief about a network that was not measured: value, low, high.

        Its interval is the wider one of what was believed and of how single networks lie around the factor.
        """
        value, low, high = believed
        factor = self.at(value)
        now = value * factor
        lows = [now / self.spread, *([] if low is None else [low * factor])]
        highs = [now * self.spread, *([] if high is None else [high * factor])]
        return now, min(lows), max(highs)

    @property
    def sentence(self) -> str:
        """For people."""
        if self.power:
            first, last = self.at(self.believed[0]), self.at(self.believed[2])
            how = f"{first:.3g} (the fastest) to {last:.3g} times (the slowest) what was predicted"
        else:
            how = f"{self.value:.3g} times what was predicted ({self.low:.3g} to {self.high:.3g})"
        return f"finalists take {how}, and so does what was not measured"


def of(ratios: Sequence[float], believed: Sequence[float] | None = None) -> CommonFactor | None:
    """The factor of measured over believed latencies; None where there are few, or where 1 is as likely.

    It changes with latency where a straight line through the logarithms does, by the 90 % interval of its slope, and
    leaves the order of networks as it is.

    Args:
        ratios: `(n,)`.
        believed: `(n,)`, what was believed of each, above 0; one factor fits all if None.
    """
    if len(ratios) < LEAST or min(ratios) <= 0:
        return None
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    changing = None if believed is None else _changing(logs, np.log(np.asarray(believed, dtype=np.float64)))
    if changing is not None:
        return changing
    reach = _quantile(len(logs) - 1) * logs.std(ddof=1)
    mean, ends = logs.mean(), reach / np.sqrt(len(logs))
    if abs(mean) <= ends:
        return None
    single = reach * np.sqrt(1 + 1 / len(logs))
    value, low, high, spread = np.exp([mean, mean - ends, mean + ends, single])
    return CommonFactor(float(value), float(low), float(high), float(spread), len(logs))


def _changing(logs: Floats, believed: Floats) -> CommonFactor | None:
    """The factor as a power of latency, by least squares on the logarithms; None where it may be none."""
    count, away = len(logs), believed - believed.mean()
    squares = float(away @ away)
    if count < LEAST_CHANGING or squares < _ALIKE:
        return None
    slope, mean = float(away @ logs) / squares, logs.mean()
    left = logs - mean - slope * away
    reach = _quantile(count - 2) * np.sqrt(float(left @ left) / (count - 2))
    if abs(slope) <= reach / np.sqrt(squares) or slope <= -1:
        return None
    ends, single = reach / np.sqrt(count), reach * np.sqrt(1 + 1 / count + float(np.square(away).max()) / squares)
    value, low, high, spread = np.exp([mean, mean - ends, mean + ends, single])
    least, middle, most = np.exp([believed.min(), believed.mean(), believed.max()])
    known = (float(least), float(middle), float(most))
    return CommonFactor(float(value), float(low), float(high), float(spread), count, slope, known)


def _quantile(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))
