"""An NVIDIA GPU's total-energy counter, by NVML.

The counter and the integral of power may differ by 1.7 times (zeus, issue 181), so power has a meter of its own, and
each record says which it is. On A100 and H100 a quarter of the time is sampled (Yang et al., arXiv 2312.02741).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from device_profiles.facts import Unavailable
from profiler.meters._windows import measured
from profiler.meters.protocol import Energy

#: The counter is renewed about every 20 to 100 ms, by the card.
UPDATE_MS = 100.0


@dataclass(frozen=True)
class Counter:
    """The counter of a card."""

    library: Any
    handle: Any
    update_ms: float = UPDATE_MS

    @property
    def name(self) -> str:
        """With what it covers."""
        return f"NVML total energy of {_name(self.library, self.handle)}: the card, its memory too"

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
class Nvml:
    """The meter.

    Attributes:
        sensor: of NVML and the handle of a card.
        library: NVML; the module `pynvml` if None.
    """

    sensor: Callable[[Any, Any], Any] = Counter
    library: Any = None

    def available(self) -> Unavailable | None:
        """Why the card cannot be read."""
        found = self._opened()
        return found if isinstance(found, Unavailable) else None

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """Energy of `work`, per repetition."""
        found = self._opened()
        return found if isinstance(found, Unavailable) else measured(found, work, window_s=window_s)

    def _opened(self) -> Any:
        """The sensor of the first card, read once; or why there is none."""
        try:
            library = self.library or importlib.import_module("pynvml")
            library.nvmlInit()
            sensor = self.sensor(library, library.nvmlDeviceGetHandleByIndex(0))
            if sensor.energy_mj() is None:
                sensor.power_mw()
        except Exception as error:  # NVML raises types of its own, and OSError where its library is missing
            return Unavailable(f"no NVIDIA GPU tells its energy: {error}")
        return sensor


METER = Nvml


def _name(library: Any, handle: Any) -> str:
    name = library.nvmlDeviceGetName(handle)
    return name.decode() if isinstance(name, bytes) else str(name)
