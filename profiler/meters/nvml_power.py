"""An NVIDIA GPU's instant power, by NVML, integrated over time; see `profiler.meters.nvml` on how it may differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from profiler.meters._nvml import UPDATE_MS, Card, name_of

#: `NVML_FI_DEV_POWER_INSTANT`.
_INSTANT = 186


@dataclass(frozen=True)
class Power:
    """The instant power of a card."""

    library: Any
    handle: Any
    update_ms: float = UPDATE_MS

    @property
    def name(self) -> str:
        """With what it covers."""
        return f"NVML instant power of {name_of(self.library, self.handle)}: the card, its memory too"

    def energy_mj(self) -> None:
        """It tells power."""

    def power_mw(self) -> float:
        """Now."""
        field_id = getattr(self.library, "NVML_FI_DEV_POWER_INSTANT", _INSTANT)
        (value,) = self.library.nvmlDeviceGetFieldValues(self.handle, [field_id])
        if value.nvmlReturn:
            raise OSError(f"NVML answers {value.nvmlReturn} when it is asked for instant power")
        return float(value.value.uiVal)


@dataclass(frozen=True)
class NvmlPower(Card):
    """The meter."""

    sensor: Callable[[Any, Any], Any] = Power


METER = NvmlPower
