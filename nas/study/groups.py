"""Points of a front with the same values are one row for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nas.objectives import Objective
from nas.study.trial import Point


def of_equals(
    front: Sequence[Point], objectives: Sequence[Objective], alone: Collection[tuple[int, ...]] = ()
) -> list[tuple[Point, ...]]:
    """Points in groups of equal values, each where its first point is.

    Args:
        front: points.
        objectives: whose values are compared, to the last digit.
        alone: architectures that stay by themselves, because more is known of them.
    """
    found: dict[tuple[object, ...], list[Point]] = {}
    for point in front:
        values = tuple(point.result[objective.name][0] for objective in objectives)
        found.setdefault((values, point.arch if point.arch in alone else None), []).append(point)
    return [tuple(points) for points in found.values()]


def finders(points: Sequence[Point]) -> tuple[str, ...]:
    """Strategies that asked for one of them, in the order of the points."""
    return tuple(dict.fromkeys(name for point in points for name in point.found_by))
