"""Bounds of a search on its finalists: what was asked, what was predicted, and what the device said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.objectives import Constraint, Objective
from nas.study import as_measured
from nas.study.study import Study
from nas.study.trial import Point

Ends = tuple[float, float | None, float | None]
"""A value with the ends of its interval, or None for them."""


@dataclass(frozen=True)
class CheckedBound:
    """One bound on one finalist.

    Attributes:
        bound: that was asked for.
        unit: of all values.
        arch: the finalist.
        believed: what the search went by, with its 90 % interval.
        measured: what the device said, with its 90 % interval; None for a quantity that finalists are not measured in.
        verdict: of what was measured, else of what was believed: `met` or `broken` where the interval says so, `met
            within the interval` or `broken within the interval` where it holds the bound.
    """

    bound: Constraint
    unit: str
    arch: tuple[int, ...]
    believed: Ends
    measured: Ends | None
    verdict: str

    @property
    def met(self) -> bool:
        """Whether the value is within the bound."""
        return self.verdict.startswith("met")


def checked(study: Study) -> list[CheckedBound]:
    """Each bound on each finalist, the bounds in order."""
    facts, objectives = study.finalists(), {objective.name: objective for objective in study.objectives()}
    timed = as_measured.foretold(objectives.values())
    points = [point for point in study.points() if point.arch in facts]
    found = []
    for bound in study.constraints():
        objective = objectives[bound.name]
        for point in points:
            latency = as_measured.latency_of(facts[point.arch]) if objective == timed else None
            measured = None if latency is None else as_measured.told(latency)
            found.append(_one(bound, objective, point, measured))
    return found


def _one(bound: Constraint, objective: Objective, point: Point, measured: Ends | None) -> CheckedBound:
    believed = point.result[objective.name]
    return CheckedBound(
        bound,
        objective.unit,
        point.arch,
        believed,
        measured,
        verdict(bound, believed if measured is None else measured),
    )


def verdict(bound: Constraint, known: Ends) -> str:
    """See `CheckedBound.verdict`."""
    value, low, high = known
    ends = [value if end is None else end for end in (low, high)]
    inside = [end <= bound.bound if bound.upper else end >= bound.bound for end in (value, *ends)]
    word = "met" if inside[0] else "broken"
    return word if all(inside) or not any(inside) else f"{word} within the interval"


def surely_met(bounds: Sequence[Constraint], point: Point) -> bool:
    """Whether the intervals of what is believed of a point are within all bounds."""
    return all(verdict(bound, point.result[bound.name]) == "met" for bound in bounds)
