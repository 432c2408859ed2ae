"""Evaluations that raise or hang cost their architecture, not the search."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from device_profiles.errors import HwnasError
from nas.evaluators.protocol import Archs
from nas.objectives import Floats, Values


class EvaluationTimeout(Exception):
    """An evaluation took longer than it may."""


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise `EvaluationTimeout` in the block when it takes longer.

    It interrupts Python code and system calls of the main thread, on systems with `SIGALRM`; elsewhere, and inside of a
    library's loop that never returns to Python, nothing can.

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


def evaluate(
    judge: Callable[[Archs], Values],
    archs: Archs,
    *,
    seconds: float | None = None,
    failed: Callable[[int, str], None],
) -> Values:
    """Values of architectures; NaN for those on which `judge` raises or takes too long.

    They are tried together first, and one by one if that fails. What the toolkit itself raises (`HwnasError`) says
    something of the run, not of an architecture, and is passed on.

    Args:
        judge: of an evaluator, whose values are wanted.
        archs: `(n, d)`.
        seconds: for each architecture, or None.
        failed: told the row and the reason of each failure.
    """
    try:
        with deadline(None if seconds is None else seconds * max(len(archs), 1)):
            return judge(archs)
    except HwnasError:
        raise
    except Exception as error:  # whatever a third party's evaluator raises
        if len(archs) == 1:
            failed(0, f"{type(error).__name__}: {error}")
            return Values(_nan(1))
    rows = []
    for i in range(len(archs)):

        def mine(_: int, reason: str, row: int = i) -> None:
            failed(row, reason)

        rows.append(evaluate(judge, archs[i : i + 1], seconds=seconds, failed=mine))
    return Values(*(_joined([getattr(row, end) for row in rows]) for end in ("value", "low", "high")))  # type: ignore[arg-type]


def _joined(parts: list[Floats | None]) -> Floats | None:
    if all(part is None for part in parts):
        return None
    return np.concatenate([_nan(1) if part is None else part for part in parts])


def _nan(count: int) -> Floats:
    return np.full(count, np.nan)
