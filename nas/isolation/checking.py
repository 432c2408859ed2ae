"""What code of others gives, looked at before it is used: values of evaluators, rows of strategies, parts of spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.objectives import CONFIDENCE, Objective, Values, is_source

#: How far a value may lie outside of its interval by rounding, relative to it.
_ROUNDING = 1e-9


class Broken(Exception):
    """It is not what the protocol says; the text says how."""


def values(found: Any, count: int) -> tuple[Values, dict[int, str]]:
    """Values as float64 `(count,)`, and what is wrong with single rows, whose values are NaN.

    Raises:
        Broken: it is no `Values` of `count` numbers, has one end of an interval only, or a coverage outside of 0..1.
    """
    missing = [part for part in ("value", "low", "high") if not hasattr(found, part)]
    if missing:
        raise Broken(f"evaluate gave a {type(found).__name__}, not nas.objectives.Values")
    value, low, high = (
        None if part != "value" and getattr(found, part) is None else _column(getattr(found, part), part, count)
        for part in ("value", "low", "high")
    )
    assert value is not None
    given = getattr(found, "coverage", None)
    coverage = None if given is None else _column(given, "coverage", count)
    if coverage is not None and (outside := (coverage < -_ROUNDING) | (coverage > 1 + _ROUNDING)).any():
        raise Broken(f"coverage is a share in 0..1, and it gave {coverage[outside][0]:g}")
    if (low is None) != (high is None):
        raise Broken("an interval has both ends or none")
    if low is None or high is None:
        return Values(value, coverage=coverage), {}
    confidence = getattr(found, "confidence", CONFIDENCE)
    if not isinstance(confidence, float) or not 0.0 < confidence < 1.0:
        raise Broken(f"the confidence of its intervals is {confidence!r}, which is none above 0 and below 1")
    wrong: dict[int, str] = {}
    for row in np.flatnonzero(np.isfinite(value)):
        known = np.isfinite(low[row]), np.isfinite(high[row])
        room = _ROUNDING * max(abs(value[row]), 1e-300)
        said = f"the interval [{low[row]:g}, {high[row]:g}]"
        if known[0] != known[1]:
            wrong[int(row)] = f"{said} has one end only"
        elif all(known) and low[row] > high[row]:
            wrong[int(row)] = f"{said} ends before it begins"
        elif all(known) and not low[row] - room <= value[row] <= high[row] + room:
            wrong[int(row)] = f"the value {value[row]:g} lies outside of {said}"
    for column in (value, low, high):
        column[list(wrong)] = np.nan
    return Values(value, low, high, coverage, confidence), wrong


def _column(given: Any, part: str, count: int) -> Floats:
    column = np.asarray(given)
    if column.dtype.kind not in "fiub":
        raise Broken(f"{part} is no column of numbers but of {column.dtype}")
    if column.shape != (count,):
        raise Broken(f"{part} has the shape {column.shape}, {(count,)} was asked for")
    return np.array(column, dtype=np.float64)


def rows(asked: Any, choices: Sequence[int], count: int) -> NDArray[np.int64]:
    """What a strategy asked for, as int64 `(<=count, d)`.

    Raises:
        Broken: it is no matrix of whole numbers in the space, or has too many rows.
    """
    found = np.asarray(asked)
    width = len(choices)
    if found.size == 0 and (found.ndim < 2 or found.shape in ((0, width), (0, 0))):
        return np.empty((0, width), dtype=np.int64)
    if found.dtype.kind not in "iu":
        raise Broken(f"rows are whole numbers, and it asked for {found.dtype}")
    if found.ndim != 2 or found.shape[1] != width:
        raise Broken(f"rows have the shape (n, {width}), and it asked for {found.shape}")
    if len(found) > count:
        raise Broken(f"it asked for {len(found)} architectures where {count} were wanted")
    outside = ((found < 0) | (found >= np.array(choices))).any(axis=1)
    if outside.any():
        row = found[outside][0].tolist()
        raise Broken(f"{row} is outside of the space, whose genes have {tuple(choices)} options")
    return np.array(found, dtype=np.int64)


def opened(evaluator: Any) -> Objective:
    """The objective of an evaluator that was opened.

    Raises:
        Broken: a part of it is missing, or not what the protocol says.
    """
    for part in ("objective", "free", "identity", "evaluate"):
        if not hasattr(evaluator, part):
            raise Broken(f"it opened a {type(evaluator).__name__} without {part!r}")
    objective = evaluator.objective
    if type(objective) is not Objective:  # what a class of its own would do differently is lost on the way
        raise Broken(f"its objective is a {type(objective).__name__}, not nas.objectives.Objective")
    for part, kind in (("name", str), ("unit", str), ("maximise", bool), ("source", str), ("spec", str)):
        if not isinstance(getattr(objective, part), kind):
            raise Broken(f"{part} of its objective is {getattr(objective, part)!r}, which is no {kind.__name__}")
    if not is_source(objective.source):
        raise Broken(f"the source of its objective is {objective.source!r}, which is no word of 1 to 20 letters")
    if not isinstance(evaluator.free, bool) or not isinstance(evaluator.identity, str):
        raise Broken("`free` must be a bool and `identity` a string")
    return objective
