"""The power management chip of the Raspberry Pi 5, by `vcgencmd pmic_read_adc`: amperes times volts of each rail."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from device_profiles.facts import Unavailable
from profiler.meters._windows import measured
from profiler.meters.protocol import Energy

#: A reading takes about 10 ms.
UPDATE_MS = 20.0
_LINE = re.compile(r"^\s*(\S+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]\s*$")


def powers_mw(shown: str) -> dict[str, float]:
    """Power of each rail of which both a current and a voltage are shown.

    Raises:
        OSError: there is none.
    """
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for line in shown.splitlines():
        match = _LINE.match(line)
        if match is not None:
            (amperes if match.group(2) == "A" else volts)[match.group(1)] = float(match.group(3))
    found = {name: 1e3 * amperes[name] * volts[name] for name in amperes if name in volts}
    if not found:
        raise OSError(f"vcgencmd shows no rails: {' '.join(shown.split())[:100] or 'nothing'}")
    return found


@dataclass(frozen=True)
class Rails:
    """The sum of all rails."""

    command: str
    name: str = "PMIC, all rails: not the board, whose USB and losses are beside them"
    update_ms: float = UPDATE_MS

    def energy_mj(self) -> None:
        """It tells power."""

    def power_mw(self) -> float:
        """Now."""
        return sum(powers_mw(_shown(self.command)).values())


@dataclass(frozen=True)
class RaspberryPi:
    """The meter.

    Attributes:
        command: what is called.
    """

    command: str = "vcgencmd"

    def available(self) -> Unavailable | None:
        """Why no rail can be read."""
        if shutil.which(self.command) is None:
            return Unavailable("there is no vcgencmd: not a Raspberry Pi, or not its own system")
        try:
            powers_mw(_shown(self.command))
        except OSError as error:
            return Unavailable(f"{error}: rails are measured since the Raspberry Pi 5")
        return None

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """Energy of `work`, per repetition."""
        return self.available() or measured(Rails(self.command), work, window_s=window_s)


METER = RaspberryPi


def _shown(command: str) -> str:
    try:
        done = subprocess.run([command, "pmic_read_adc"], capture_output=True, text=True, timeout=5, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError("vcgencmd does not answer") from error
    if done.returncode:
        raise OSError(f"vcgencmd ended with code {done.returncode}: {done.stderr.strip()[:100]}")
    return done.stdout
