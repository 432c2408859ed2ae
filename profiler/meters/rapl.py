"""RAPL by Linux's powercap: what the packages of an x86 CPU took, by counters that wrap.

Domains nest: cores and memory are parts of a package, and `psys` is the whole platform. Packages alone are added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from device_profiles.facts import Unavailable
from profiler.meters import _sysfs
from profiler.meters._windows import measured
from profiler.meters.protocol import Energy

#: The counters are renewed about every millisecond.
UPDATE_MS = 1.0


@dataclass
class Packages:
    """The counters of all packages, wraps counted."""

    domains: tuple[Path, ...]
    name: str = ""
    update_ms: float = UPDATE_MS
    _last: dict[Path, float] = field(default_factory=dict)
    _wrapped: dict[Path, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ", ".join(_sysfs.text(domain / "name") or domain.name for domain in self.domains)
        self.name = f"RAPL {names}: the CPU without memory and board"

    def energy_mj(self) -> float:
        """Their sum, since they were first read."""
        total = 0.0
        for domain in self.domains:
            now = _sysfs.number(domain / "energy_uj")
            if now < self._last.get(domain, now):
                # The counter runs from 0 to this, and begins anew.
                self._wrapped[domain] = self._wrapped.get(domain, 0.0) + _sysfs.number(domain / "max_energy_range_uj")
            self._last[domain] = now
            total += now + self._wrapped.get(domain, 0.0)
        return total / 1e3

    def power_mw(self) -> float:
        """Not asked: it counts energy."""
        raise OSError("RAPL counts energy")


@dataclass(frozen=True)
class Rapl:
    """The meter.

    Attributes:
        root: of the tree of sysfs.
    """

    root: Path = _sysfs.ROOT

    def available(self) -> Unavailable | None:
        """Why its counters cannot be read."""
        found = self._packages()
        if not found:
            return Unavailable("there is no RAPL package in /sys/class/powercap: not an x86 CPU, or a virtual machine")
        closed = [domain for domain in found if _sysfs.text(domain / "energy_uj") is None]
        if closed:
            return Unavailable(
                f"{closed[0] / 'energy_uj'} may not be read: since Linux 5.10 by root alone; "
                "sudo chmod a+r /sys/class/powercap/*/energy_uj"
            )
        return None

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """Energy of `work`, per repetition."""
        return self.available() or measured(Packages(tuple(self._packages())), work, window_s=window_s)

    def _packages(self) -> list[Path]:
        folder = self.root / "sys/class/powercap"
        found = sorted(folder.glob("intel-rapl:*")) if folder.is_dir() else []
        return [domain for domain in found if (_sysfs.text(domain / "name") or "").startswith("package")]


METER = Rapl
