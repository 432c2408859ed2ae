"""An NVIDIA GPU's total-energy counter, by NVML.

The counter and the integral of power may differ by 1.7 times (zeus, issue 181), so power has a meter of its own, and
each record says which it is. On A100 and H100 a quarter of the time is sampled (Yang et al., arXiv 2312.02741).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from profiler.meters._nvml import UPDATE_MS, Card, name_of


@dataclass(frozen=True)
class Counter:
    """The counter of a card."""

    library: Any
    handle: Any
    update_ms: float = UPDATE_MS

    @property
    def name(self) -> str:
        """With what it covers."""
        return f"NVML total energy of {name_of(self.library, self.handle)}: the card, its memory too"

    def energy_mj(self) -> float:
        """Since the driver was loaded."""
        try:
            return float(self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle))
        except self.library.NVMLError as error:
            raise OSError(str(error)) from error

    def power_mw(self) -> float:
        """Not asked: it counts energy."""
        raise OSError("the counter counts energy")


@dataclass(frozen=True)
class Nvml(Card):
    """The meter."""

    sensor: Callable[[Any, Any], Any] = Counter


METER = Nvml
