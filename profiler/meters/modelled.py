"""No meter: energy from a power that the target's profile states and the CPU time of the work. Never measured.

It says nothing that latency does not, beside how many threads work; it is there for those who must have a number, and
each number carries that it was modelled.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from device_profiles.facts import Unavailable
from profiler.meters.protocol import MODELLED, Energy


@dataclass(frozen=True)
class Modelled:
    """The meter.

    Attributes:
        tdp_w: of all CPUs, from the target's `[hardware]`.
    """

    hardware: ClassVar[tuple[str, ...]] = ("tdp_w",)
    tdp_w: float | None = None

    def available(self) -> Unavailable | None:
        """That the profile states no power."""
        if isinstance(self.tdp_w, (int, float)) and self.tdp_w > 0:
            return None
        return Unavailable("the target's [hardware] states no power: tdp_w = { value = 65.0, source = 'data sheet' }")

    def measure(self, work: Callable[[], None], *, window_s: float) -> Energy | Unavailable:
        """Energy of `work`, per repetition."""
        missing = self.available()
        if missing is not None:
            return missing
        assert self.tdp_w is not None, "it is available"
        cpus = os.cpu_count() or 1
        end, start_s, repetitions = time.perf_counter() + window_s, time.process_time(), 0
        while time.perf_counter() < end:
            work()
            repetitions += 1
        energy_mj = (time.process_time() - start_s) / repetitions * self.tdp_w / cpus * 1e3
        sensor = f"{MODELLED}, not measured: CPU time at {self.tdp_w:g} W over {cpus} CPUs"
        return Energy(energy_mj, energy_mj, sensor, 1e3 * time.get_clock_info("process_time").resolution)


METER = Modelled
