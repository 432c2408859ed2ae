"""What meters of NVIDIA's GPUs share: NVML, opened when it is needed, and the sensor of its first card."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from device_profiles.facts import Unavailable
from profiler.meters._windows import measured
from profiler.meters.protocol import Energy

#: What NVML tells is renewed about every 20 to 100 ms, by the card.
UPDATE_MS = 100.0


@dataclass(frozen=True)
class Card:
    """A meter of the first card.

    Attributes:
        sensor: of NVML and the handle of a card.
        library: NVML; the module `pynvml` if None.
    """

    sensor: Callable[[Any, Any], Any]
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


def name_of(library: Any, handle: Any) -> str:
    """The name of a card."""
    name = library.nvmlDeviceGetName(handle)
    return name.decode() if isinstance(name, bytes) else str(name)
