"""The front judged again with what was measured: finalists count as the device said, not as they were predicted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nas.objectives import Objective, Values, at_confidence
from nas.spaces.protocol import Space
from nas.study import common_factor
from nas.study.common_factor import CommonFactor
from nas.study.study import Study, front_of, meets
from nas.study.trial import Point
from profiler.measurement import CONFIDENCE

#: The unit of what finalists are measured in.
_UNIT = "ms"


@dataclass(frozen=True)
class Difference:
    """What a finalist was believed to take, and what it took.

    Attributes:
        value: measured - believed, in ms.
        relative: the same as a share of what was believed, or None where that is 0.
        verdict: `inside` or `outside` of the interval that was believed, or `no interval`.
    """

    value: float
    relative: float | None
    verdict: str


@dataclass(frozen=True)
class AsMeasured:
    """A front with measured values in place of predictions for the finalists.

    Attributes:
        front: the points that no other dominates then, and that meet the constraints.
        stay: measured finalists of the predicted front that are on it.
        leave: those that are not.
        enter: points that the predicted front has not.
        factor: what measured finalists say of those that were not measured, if they say one thing.
    """

    front: tuple[Point, ...]
    stay: tuple[Point, ...]
    leave: tuple[Point, ...]
    enter: tuple[Point, ...]
    factor: CommonFactor | None = None

    def sentence(self, space: Space) -> str:
        """What became of the finalists, for people."""
        count = len(self.stay) + len(self.leave)
        gone = _moved(self.leave, space, "leaves", "leave")
        come = _moved(self.enter, space, "comes on", "come on")
        all_of_them = "" if self.factor is None else f"; {self.factor.sentence}"
        stay = f"{len(self.stay)} of {count} measured finalists stay on the front"
        return f"judged again as measured: {stay}{gone}{come}{all_of_them}"


def timed(objectives: Sequence[Objective]) -> Objective | None:
    """The objective that measured latencies are compared with: the first in ms that is no measurement itself."""
    return next((o for o in objectives if o.unit == _UNIT and o.source != "measured"), None)


def foretold(objectives: Iterable[Objective]) -> Objective | None:
    """The predicted objective that measured latencies stand in for: the first in ms."""
    return timed([objective for objective in objectives if objective.source == "predicted"])


def latency_of(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The measured latency among the facts of a finalist: `value`, `low`, `high` in ms; None if there is none."""
    found: dict[str, Any] | None = (facts.get("measured") or {}).get("latency_ms")
    return found


def difference(point: Point, objective: Objective | None, facts: Mapping[str, Any]) -> Difference | None:
    """How far the measured latency is from what was believed; None if there is not both."""
    latency = latency_of(facts)
    if objective is None or latency is None:
        return None
    believed, low, high = point.result[objective.name]
    verdict = "no interval"
    if low is not None and high is not None:
        verdict = "inside" if low <= latency["value"] <= high else "outside"
    value = latency["value"] - believed
    return Difference(value, value / believed if believed else None, verdict)


def judge_again(study: Study) -> AsMeasured | None:
    """The front with what was measured; None where no predicted latency of the front was measured.

    What was not measured is taken times the factor that measured networks have in common, see
    `nas.study.common_factor`.
    """
    objectives, facts, points = study.objectives(), study.finalists(), study.points()
    before, constraints = front_of(points, objectives), study.constraints()
    believed = foretold(objectives)
    measured = {arch: latency for arch, known in facts.items() if (latency := latency_of(known)) is not None}
    finalists = [point for point in before if point.arch in measured]
    if believed is None or not finalists:
        return None
    factor = _factor(points, believed.name, measured)
    now = [_as_measured(point, believed.name, measured.get(point.arch), factor) for point in points]
    after = front_of([point for point in now if meets(point, constraints)], objectives)
    on, then = {point.arch for point in after}, {point.arch for point in before}
    return AsMeasured(
        front=tuple(after),
        stay=tuple(point for point in finalists if point.arch in on),
        leave=tuple(point for point in finalists if point.arch not in on),
        enter=tuple(point for point in after if point.arch not in then),
        factor=factor,
    )


def _factor(points: Sequence[Point], name: str, measured: Mapping[Any, Mapping[str, Any]]) -> CommonFactor | None:
    pairs = [(measured[point.arch]["value"], point.result[name][0]) for point in points if point.arch in measured]
    known = [(took, believed) for took, believed in pairs if believed > 0]
    return common_factor.of([took / believed for took, believed in known], [believed for _, believed in known])


def _as_measured(point: Point, name: str, latency: Mapping[str, Any] | None, factor: CommonFactor | None) -> Point:
    if latency is not None:
        coverage = {key: share for key, share in point.coverage.items() if key != name}
        return replace(point, result={**point.result, name: told(latency)}, coverage=coverage)
    if factor is not None:
        return replace(point, result={**point.result, name: factor.applied(point.result[name])})
    return point


def told(latency: Mapping[str, Any]) -> tuple[float, float | None, float | None]:
    """A measured latency with an interval as those of the front are."""
    value, low, high = float(latency["value"]), latency.get("low"), latency.get("high")
    if low is None or high is None:
        return value, low, high
    columns = [np.array([end]) for end in (value, low, high)]
    found = at_confidence(Values(columns[0], columns[1], columns[2], confidence=CONFIDENCE))
    assert found.low is not None and found.high is not None
    return value, float(found.low[0]), float(found.high[0])


def _moved(points: Sequence[Point], space: Space, one: str, several: str) -> str:
    if not points:
        return ""
    first = space.format(np.array(points[0].arch))
    return f"; {first} {one} it" if len(points) == 1 else f"; {first} and {len(points) - 1} more {several} it"
