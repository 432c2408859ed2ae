"""The INA3221 monitors of NVIDIA's Jetson boards, by hwmon or, on older kernels, by iio: rails by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_profiles.facts import Unavailable
from profiler.meters import _sysfs
from profiler.meters._windows import measured
from profiler.meters.protocol import Energy

#: Rails at a board's input, which hold all others: none is added to them.
TOTALS = ("VDD_IN", "VIN_SYS_5V0", "POM_5V_IN", "VIN", "SYS_VIN")
UPDATE_MS = 20.0


@dataclass(frozen=True)
class Rail:
    """A rail: its power is in `power`, or the product of `volts` and `amperes`; all in thousandths.

    Attributes:
        name: on the board.
        power: file of mW, or None.
        volts: file of mV.
        amperes: file of mA.
    """

    name: str
    power: Path | None
    volts: Path | None = None
    amperes: Path | None = None

    def power_mw(self) -> float:
        """Now.

        Raises:
            OSError: it cannot be read.
        """
        if self.power is not None:
            return _sysfs.number(self.power)
        assert self.volts is not None and self.amperes is not None
        return _sysfs.number(self.volts) * _sysfs.number(self.amperes) / 1e3


@dataclass(frozen=True)
class Rails:
    """The rail at the input, or the sum of those that there are."""

    rails: tuple[Rail, ...]
    update_ms: float = UPDATE_MS

    @property
    def name(self) -> str:
        """With what it covers."""
        total = len(self.rails) == 1 and self.rails[0].name in TOTALS
        names = " + ".join(rail.name for rail in self.rails)
        return f"INA3221 {names}: {'the whole module' if total else 'these rails, not the board'}"

    def energy_mj(self) -> None:
        """It tells power."""

    def power_mw(self) -> float:
        """Their sum."""
        return sum(rail.power_mw() for rail in self.rails)


@dataclass(frozen=True)
class Jetson:
    """The meter.

    Attributes:
        root: of the tree of sysfs.
    """

    root: Path = _sysfs.ROOT

    def available(self) -> Unavailable | None:
        """Why no rail can be read."""
        if self._rails():
            return None
        return Unavailable("no INA3221 in /sys/bus/i2c: not a Jetson, or its rails may be read by root alone")

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """Energy of `work`, per repetition."""
        missing = self.available()
        if missing is not None:
            return missing
        rails = self._rails()
        chosen = [rail for total in TOTALS for rail in rails if rail.name == total][:1] or rails
        return measured(Rails(tuple(chosen)), work, window_s=window_s)

    def _rails(self) -> list[Rail]:
        found: dict[str, Rail] = {}
        drivers = self.root / "sys/bus/i2c/drivers"
        for driver in ("ina3221", "ina3221x"):
            for folder in sorted((drivers / driver).glob("*-*")) if (drivers / driver).is_dir() else []:
                for rail in (*_by_hwmon(folder), *_by_iio(folder)):
                    found.setdefault(rail.name, rail)
        return [rail for rail in found.values() if _readable(rail)]


METER = Jetson


def _by_hwmon(folder: Path) -> list[Rail]:
    """`hwmon/hwmonN/in1_label`, `in1_input` in mV, `curr1_input` in mA."""
    rails = []
    for label in sorted(folder.glob("hwmon/hwmon*/in*_label")):
        number = label.name.removeprefix("in").removesuffix("_label")
        volts, amperes = label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")
        name = _sysfs.text(label)
        if name and name != "NC" and amperes.exists():
            rails.append(Rail(name, None, volts, amperes))
    return rails


def _by_iio(folder: Path) -> list[Rail]:
    """`iio:deviceN/rail_name_0` and `in_power0_input` in mW."""
    rails = []
    for label in sorted(folder.glob("iio:device*/rail_name_*")):
        power = label.with_name(f"in_power{label.name.removeprefix('rail_name_')}_input")
        name = _sysfs.text(label)
        if name and power.exists():
            rails.append(Rail(name, power))
    return rails


def _readable(rail: Rail) -> bool:
    try:
        rail.power_mw()
    except OSError:
        return False
    return True
