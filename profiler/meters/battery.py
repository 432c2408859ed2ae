"""The battery of a phone or a laptop, by Linux's `power_supply`: the whole device, and only while it discharges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_profiles.facts import Unavailable
from profiler.meters import _sysfs
from profiler.meters._windows import measured
from profiler.meters.protocol import Energy

#: Fuel gauges are renewed a few times a second at most.
UPDATE_MS = 250.0


@dataclass(frozen=True)
class Battery:
    """A battery's own readings."""

    folder: Path
    update_ms: float = UPDATE_MS

    @property
    def name(self) -> str:
        """With what it covers."""
        return f"battery {self.folder.name}: the whole device, its screen and radios too"

    def energy_mj(self) -> None:
        """It tells power."""

    def power_mw(self) -> float:
        """Now.

        Raises:
            OSError: it cannot be read, or it is charged meanwhile: the current is then another one.
        """
        status = _sysfs.text(self.folder / "status")
        if status != "Discharging":
            raise OSError(f"{self.folder.name} is {(status or 'unknown').lower()}")
        if (self.folder / "power_now").exists():
            return abs(_sysfs.number(self.folder / "power_now")) / 1e3
        volts, amperes = (_sysfs.number(self.folder / f"{what}_now") for what in ("voltage", "current"))
        return abs(volts * amperes) / 1e9


@dataclass(frozen=True)
class BatteryMeter:
    """The meter.

    Attributes:
        root: of the tree of sysfs.
    """

    root: Path = _sysfs.ROOT

    def available(self) -> Unavailable | None:
        """Why the battery cannot be read, such as that it is charged."""
        found = self._battery()
        if found is None:
            return Unavailable("there is no battery in /sys/class/power_supply")
        status = _sysfs.text(found / "status")
        if status != "Discharging":
            state = (status or "unknown").lower()
            return Unavailable(f"the battery is {state}, and its current that of the charger: unplug the device")
        try:
            Battery(found).power_mw()
        except OSError as error:
            return Unavailable(f"the battery tells no power: {error}")
        return None

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """Energy of `work`, per repetition."""
        missing, found = self.available(), self._battery()
        if missing is not None or found is None:
            return missing or Unavailable("the battery is gone")
        return measured(Battery(found), work, window_s=window_s)

    def _battery(self) -> Path | None:
        folder = self.root / "sys/class/power_supply"
        all_of_them = sorted(folder.iterdir()) if folder.is_dir() else []
        return next((one for one in all_of_them if _sysfs.text(one / "type") == "Battery"), None)


METER = BatteryMeter
