"""No energy meter: the null form, which says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from device_profiles.facts import Unavailable
from profiler.meters.protocol import Energy


@dataclass(frozen=True)
class NoEnergy:
    """Measures nothing and gives the reason."""

    reason: str = "no energy meter is set for this target"

    def available(self) -> Unavailable | None:
        """Never."""
        return Unavailable(self.reason)

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """The reason; `work` is not run."""
        return Unavailable(self.reason)


METER = NoEnergy
