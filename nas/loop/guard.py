"""Evaluations that raise, hang, end their process or give no values cost their architecture, not the search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from device_profiles.errors import HwnasError, InvalidModel, PluginError
from device_profiles.plugins import text_of
from nas.arrays import Archs, Floats
from nas.evaluators.protocol import Evaluator
from nas.isolation import apart
from nas.isolation.checking import Broken
from nas.isolation.deadline import EvaluationTimeout, deadline
from nas.objectives import Values, at_confidence

__all__ = ["EvaluationTimeout", "deadline", "evaluate", "free_values", "known"]

Judge = Callable[[Archs], Values]


def evaluate(
    judge: Judge,
    archs: Archs,
    *,
    seconds: float | None = None,
    failed: Callable[[int, str], None],
) -> Values:
    """Values of architectures; NaN for those on which `judge` fails, takes too long, or gives what is no value.

    They are tried together first, and one by one if that fails. What the toolkit itself raises (`HwnasError`) says
    something of the run, not of an architecture, and is passed on, except that a network cannot be built or measured
    (`InvalidModel`). `KeyboardInterrupt` is the user's, unless code of others raised it in a process of its own.

    Args:
        judge: of an evaluator, whose values are wanted.
        archs: `(n, d)`.
        seconds: for each architecture, or None.
        failed: told the row and the reason of each failure.
    """
    if len(archs) == 0:
        return Values(_nan(0))
    found = _tried(judge, archs, seconds, failed)
    if isinstance(found, Values):
        return found
    if len(archs) == 1:
        failed(0, found)
        return Values(_nan(1))
    return _one_by_one(judge, archs, seconds, failed, 1)


def known(evaluator: Evaluator, seconds: float | None, most_seconds: float = apart.PLUGIN_SECONDS) -> Judge:
    """Values of an objective that is free to know, for strategies, which ask for many and take numbers alone.

    Where an evaluator of others fails on an architecture, strategies believe the worst that it says of any other one;
    judged in its turn, the architecture fails with its reason.
    """

    def values(archs: Archs) -> Values:
        found = free_values(evaluator, archs, seconds, most_seconds).value
        finite = np.isfinite(found)
        if isinstance(evaluator, apart.Apart) and not finite.all():
            cost = evaluator.objective.cost(found)
            worst = cost[finite].max() if finite.any() else 0.0
            found = evaluator.objective.value(np.where(finite, cost, worst))
        return Values(found)

    return values


def free_values(
    evaluator: Evaluator, archs: Archs, seconds: float | None, most_seconds: float = apart.PLUGIN_SECONDS
) -> Values:
    """Values of an objective that is free to know; NaN where an evaluator of others fails.

    Args:
        evaluator: of the objective.
        archs: `(n, d)`, up to a million.
        seconds: for each architecture, or None.
        most_seconds: for all of them.

    Raises:
        PluginError: it took longer: its values are not free.
    """
    if not isinstance(evaluator, apart.Apart):
        return evaluator.evaluate(archs)
    if len(archs) == 0:
        return Values(_nan(0))
    late = most_seconds / len(archs)
    limit = late if seconds is None else min(seconds, late)
    reasons: dict[int, str] = {}
    found = _tried(evaluator.evaluate, archs, limit, reasons.__setitem__)
    if isinstance(found, Values):
        return found
    if found.startswith(EvaluationTimeout.__name__) and seconds is None:
        raise PluginError(
            f"the evaluator of {evaluator.objective.name!r} says that its values are free, and took longer than "
            f"{most_seconds:g} s for {len(archs)} of them",
            hint="`free = False` is for evaluators whose values take time.",
        )
    if len(archs) == 1:
        return Values(_nan(1))
    return _one_by_one(evaluator.evaluate, archs, limit if seconds is not None else most_seconds, lambda *_: None, 16)


def _tried(judge: Judge, archs: Archs, seconds: float | None, failed: Callable[[int, str], None]) -> Values | str:
    """Values of all together, or why there are none."""
    limit = None if seconds is None else seconds * len(archs)
    ask = apart.of(judge)
    try:
        if ask is None:
            with deadline(limit):
                return at_confidence(judge(archs))
        values, wrong = ask(archs, limit)
    except InvalidModel as error:
        return text_of(error)
    except (HwnasError, KeyboardInterrupt):
        raise
    except (apart.Failed, Broken) as error:
        return str(error)
    except BaseException as error:  # whatever code of others raises, `SystemExit` among it
        return text_of(error)
    for row, reason in wrong.items():
        failed(row, reason)
    return at_confidence(values)


def _one_by_one(
    judge: Judge, archs: Archs, seconds: float | None, failed: Callable[[int, str], None], parts: int
) -> Values:
    """In pieces: of one row each, or of a `parts`th of the rows where they are many and few of them fail."""
    rows, step = [], 1 if parts == 1 else max(len(archs) // parts, 1)
    for start in range(0, len(archs), step):

        def mine(row: int, reason: str, start: int = start) -> None:
            failed(start + row, reason)

        piece = archs[start : start + step]
        found = _tried(judge, piece, seconds, mine)
        if isinstance(found, Values):
            rows.append(found)
        elif len(piece) == 1:
            mine(0, found)
            rows.append(Values(_nan(1)))
        else:
            rows.append(_one_by_one(judge, piece, seconds, mine, parts))
    return Values(*(_joined(rows, part) for part in ("value", "low", "high", "coverage")))  # type: ignore[arg-type]


def _joined(rows: list[Values], name: str) -> Floats | None:
    parts = [getattr(row, name) for row in rows]
    if all(part is None for part in parts):
        return None
    return np.concatenate(
        [_nan(len(row.value)) if part is None else part for row, part in zip(rows, parts, strict=True)]
    )


def _nan(count: int) -> Floats:
    return np.full(count, np.nan)
