"""What an energy meter is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from device_profiles.facts import Unavailable


@dataclass(frozen=True)
class Energy:
    """Energy of a window of work.

    Attributes:
        gross_mj: all that the sensor saw.
        net_mj: gross less what the device takes when idle, over the same time.
        sensor: which sensor, and what it covers.
        update_ms: how often the sensor is renewed.
    """

    gross_mj: float
    net_mj: float
    sensor: str
    update_ms: float


class EnergyMeter(Protocol):
    """One named source of energy readings. Where there is no sensor the answer is `Unavailable`, never 0."""

    def available(self) -> Unavailable | None:
        """Why it cannot measure here, or None if it can."""

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """Energy of `work`, repeated for `window_s` seconds, per repetition."""


MakeMeter = Callable[..., EnergyMeter]
"""A module's `METER`; it may name hardware facts of the target that it is made with, as `hardware`."""

#: A window lasts at least this long.
WINDOW_S = 5.0
#: What begins the name of a sensor that is none: energy that was worked out, not read.
MODELLED = "modelled"
