"""Windows of work between windows of idling: what the work took beside what the device takes anyway.

Standard library alone: meters run on the device.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from device_profiles.facts import Unavailable
from profiler.meters.protocol import Energy

#: A window holds at least this many updates of the sensor.
FEWEST_UPDATES = 50
#: And is longer than they take by this much: a busy device reads its sensor late.
SPARE = 1.25
#: The device idles before and after a window, each for this share of it.
IDLE_SHARE = 0.4
#: Idle power before and after may differ by this share of what the work added.
IDLE_DRIFT = 0.2
#: What the work added must be more than this share of all that was seen.
LEAST_SHARE = 1e-3


class Sensor(Protocol):
    """A source of readings."""

    @property
    def name(self) -> str:
        """Which sensor, and what it covers."""

    @property
    def update_ms(self) -> float:
        """How often it is renewed."""

    def energy_mj(self) -> float | None:
        """Energy since some moment, wraps counted; None where the sensor tells power alone.

        Raises:
            OSError: it cannot be read.
        """

    def power_mw(self) -> float:
        """Power now; for sensors that count energy it is not asked.

        Raises:
            OSError: it cannot be read.
        """


@dataclass
class _Sampler:
    """Integrates power, in a thread that keeps away from the CPU of the work where there are others."""

    sensor: Sensor
    clock: Callable[[], float]
    times_s: list[float] = field(default_factory=list)
    powers_mw: list[float] = field(default_factory=list)
    failed: str = ""

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._away = _others()

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        if self._away and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self._away)  # of this thread alone
        try:
            while True:
                self.powers_mw.append(self.sensor.power_mw())
                self.times_s.append(self.clock())
                if self._ended.wait(self.sensor.update_ms / 1e3):
                    return
        except (OSError, ValueError) as error:
            self.failed = str(error)

    @property
    def energy_mj(self) -> float:
        """By trapezoids over the time that was sampled."""
        steps = zip(self.times_s, self.times_s[1:], self.powers_mw, self.powers_mw[1:], strict=False)
        return sum((end - start) * (one + other) / 2.0 for start, end, one, other in steps)

    @property
    def seconds(self) -> float:
        """From the first sample to the last."""
        return self.times_s[-1] - self.times_s[0] if len(self.times_s) > 1 else 0.0


@dataclass(frozen=True)
class _Window:
    energy_mj: float
    seconds: float
    updates: int


def measured(
    sensor: Sensor,
    work: Callable[[], None],
    *,
    window_s: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy | Unavailable:
    """Energy of one repetition of `work`, from a window of many between two of idling.

    Args:
        sensor: what is read.
        work: one repetition.
        window_s: it lasts at least this, and at least `FEWEST_UPDATES` updates.
        clock: seconds.
        sleep: idles for seconds.

    Returns:
        Gross and net energy of a repetition; or why there is none: the sensor cannot be read or was not renewed often
        enough, the device was not idle the same before and after, or the work took no more than idling.
    """
    window_s = max(window_s, SPARE * FEWEST_UPDATES * sensor.update_ms / 1e3)
    repetitions = 0

    def busy() -> None:
        nonlocal repetitions
        end = clock() + window_s
        while clock() < end:
            work()
            repetitions += 1

    def idle() -> None:
        sleep(IDLE_SHARE * window_s)

    try:
        before, during, after = (_window(sensor, what, clock) for what in (idle, busy, idle))
    except (OSError, ValueError) as error:
        return Unavailable(f"{sensor.name} cannot be read: {error}")
    if during.updates < FEWEST_UPDATES:
        return Unavailable(f"{sensor.name} was renewed {during.updates} times in {during.seconds:.1f} s of work")
    idle_mw = [one.energy_mj / one.seconds for one in (before, after)]
    net_mj = during.energy_mj - sum(idle_mw) / 2.0 * during.seconds
    if net_mj <= LEAST_SHARE * during.energy_mj:
        return Unavailable(f"{sensor.name} saw no more than idling: {during.energy_mj / during.seconds:.0f} mW")
    if abs(idle_mw[1] - idle_mw[0]) * during.seconds > IDLE_DRIFT * net_mj:
        return Unavailable(
            f"idle power was {idle_mw[0]:.0f} mW before and {idle_mw[1]:.0f} mW after the work: too different for what "
            f"the work added, {net_mj / during.seconds:.0f} mW"
        )
    return Energy(during.energy_mj / repetitions, net_mj / repetitions, sensor.name, sensor.update_ms)


def _window(sensor: Sensor, what: Callable[[], None], clock: Callable[[], float]) -> _Window:
    """Energy of a stretch of time.

    Raises:
        OSError: the sensor cannot be read.
    """
    start_mj, start_s = sensor.energy_mj(), clock()
    if start_mj is None:
        with _Sampler(sensor, clock) as sampler:
            what()
        if sampler.failed:
            raise OSError(sampler.failed)
        if sampler.seconds <= 0.0:
            raise OSError("it gave a single reading")
        return _Window(sampler.energy_mj, sampler.seconds, len(sampler.times_s))
    what()
    seconds, end_mj = clock() - start_s, sensor.energy_mj()
    assert end_mj is not None, "a sensor counts energy, or it does not"
    return _Window(end_mj - start_mj, seconds, int(seconds * 1e3 / sensor.update_ms))


def _others() -> set[int]:
    """CPUs that this process is not pinned to."""
    if not hasattr(os, "sched_getaffinity"):
        return set()
    return set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
