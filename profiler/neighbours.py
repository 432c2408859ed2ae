"""What other programs compute meanwhile on a machine that measures itself.

They share its caches and its memory. The sentinel computes within a cache of its own and shows nothing of that, while
networks take some percent longer, and differ by as much from one campaign to the next.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import psutil

#: CPUs that others may use before it is worth saying.
WORTH_SAYING = 0.2
#: Clocks of the system count in hundredths of a second: less time than this tells nothing.
LEAST_S = 1.0


@dataclass(frozen=True)
class Since:
    """A moment, and CPU time until then.

    Attributes:
        at_s: when that was, by a clock that does not jump.
        busy_s: CPU time of all programs of the machine.
        own_s: of this process and those that it started.
    """

    at_s: float
    busy_s: float
    own_s: float

    @staticmethod
    def now() -> Since:
        """This moment."""
        return Since(time.monotonic(), _busy_s(), _own_s())

    def others_cpus(self) -> float | None:
        """CPUs that other programs have used on average since then, 0 and more; None for less than a second."""
        now = Since.now()
        elapsed_s = now.at_s - self.at_s
        others_s = (now.busy_s - self.busy_s) - (now.own_s - self.own_s)
        return None if elapsed_s < LEAST_S else max(others_s, 0.0) / elapsed_s


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq")))


def _own_s() -> float:
    """Of this process, of its children that ended, and of those that run."""
    total = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it may have ended meanwhile: then its parent has its time
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
