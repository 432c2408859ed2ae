"""A limit on the time of a block, by an alarm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class EvaluationTimeout(BaseException):
    """An evaluation took longer than it may. No `Exception`, so that code which tries again does not swallow it."""


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise `EvaluationTimeout` in the block when it takes longer.

    It interrupts Python code and system calls of the main thread, on systems with `SIGALRM`; elsewhere, inside of a
    library's loop that never returns to Python, and in code that catches everything, nothing can but a process of its
    own (`nas.isolation.sandbox`).

    Args:
        seconds: above 0, or None for no limit.
    """
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise EvaluationTimeout(f"no value after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
