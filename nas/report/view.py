"""What the parts of a run's page look at: the study, read once, and how a value is said."""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from device_profiles.errors import SchemaMismatch
from nas.objectives import Objective
from nas.spaces.protocol import Space
from nas.study import as_measured, groups
from nas.study import facts as study_facts
from nas.study.study import Study
from nas.study.trial import Point, Trial

#: Characters of a line in a small window.
_LINE = 44


@dataclass(frozen=True)
class View:
    """A run.

    Attributes:
        study: of the run.
        space: that was searched.
        objectives: in order.
        trials: in order; without those whose values are not compared.
        front: as it was judged.
        finalists: facts about what was chosen, by architecture.
    """

    study: Study
    space: Space
    objectives: tuple[Objective, ...]
    trials: tuple[Trial, ...]
    front: tuple[Point, ...]
    finalists: dict[tuple[int, ...], dict[str, Any]]

    @property
    def judged(self) -> list[Trial]:
        """Trials that have a result."""
        return [trial for trial in self.trials if trial.result is not None]

    @property
    def strategies(self) -> list[str]:
        """Those that asked, in order."""
        return list(dict.fromkeys(trial.strategy for trial in self.trials))

    @cached_property
    def groups(self) -> list[tuple[Point, ...]]:
        """The front, points of equal values together unless one was measured."""
        return groups.of_equals(self.front, self.objectives, self.finalists)

    @property
    def timed(self) -> Objective | None:
        """The objective that measured latencies stand beside."""
        return as_measured.timed(self.objectives)

    def facts(self, point: Point) -> dict[str, Any]:
        """What is known of a point beside its values."""
        return self.finalists.get(point.arch, {})

    def name(self, arch: tuple[int, ...]) -> str:
        """An architecture in the text form of its space."""
        return self.space.format(np.array(arch))


def of_study(study: Study) -> View:
    """Read a run.

    Raises:
        InvalidData: the run has no study.
        SchemaMismatch: a measured finalist has no latency with an interval.
    """
    finalists = study.finalists()
    for arch, facts in finalists.items():
        if "measured" in facts and not study_facts.is_latency(facts["measured"].get("latency_ms"), whole=True):
            raise SchemaMismatch(f"finalist {','.join(map(str, arch))} of {study.store.url} has no measured latency")
    return View(
        study, study.space(), study.objectives(), tuple(study.compared(study.trials())), tuple(study.front()), finalists
    )


def label(objective: Objective) -> str:
    """Name and unit of an objective."""
    return f"{objective.name} [{objective.unit}]" if objective.unit else objective.name


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """A value and the interval around it, if there is one."""
    return f"{value:.4g}" + ("" if low is None or high is None else f" ({low:.4g} to {high:.4g})")


def difference(found: as_measured.Difference) -> str:
    """How far a measured value is from what was believed, and whether the interval held it."""
    share = "" if found.relative is None else f" ({found.relative:+.1%})"
    return f"{found.value:+.3g}{share}, {found.verdict}"


def wrapped(text: str, lines: int | None = None) -> str:
    """Text in lines for a figure, as HTML; with `lines` the middle of what is longer is left out."""
    most = None if lines is None else lines * _LINE
    if most is not None and len(text) > most:
        text = f"{text[: most // 2 - 1]}…{text[len(text) - most // 2 :]}"
    return "<br>".join(map(html.escape, textwrap.wrap(text, _LINE, break_on_hyphens=False) or [""]))


def hover(view: View, one: Point | Trial, found_by: tuple[str, ...], count: int = 1) -> str:
    """Everything that is known of a point, as lines of HTML."""
    lines = [wrapped(view.name(one.arch))]
    if count > 1:
        lines.append(f"and {count - 1} more with these values")
    for objective in view.objectives:
        value, low, high = (one.result or {}).get(objective.name, (float("nan"), None, None))
        around = ", no interval" if objective.source == "predicted" and (low is None or high is None) else ""
        share = f", coverage {one.coverage[objective.name]:.0%}" if objective.name in one.coverage else ""
        said = f"{objective.name}: {with_interval(value, low, high)} {objective.unit}".rstrip()
        lines.append(html.escape(f"{said}, {objective.source}{around}{share}"))
    lines += measured_lines(view, one) if isinstance(one, Point) else []
    return "<br>".join([*lines, html.escape(f"found by {', '.join(found_by)}")])


def measured_lines(view: View, point: Point) -> list[str]:
    """The measured latency of a finalist, and how far it is from what was believed."""
    latency = as_measured.latency_of(view.facts(point))
    if latency is None:
        return []
    lines = [f"measured: {with_interval(latency['value'], latency['low'], latency['high'])} ms"]
    found = as_measured.difference(point, view.timed, view.facts(point))
    assert found is None or view.timed is not None
    return lines if found is None else [*lines, html.escape(f"measured - {view.timed.source}: {difference(found)}")]  # type: ignore[union-attr]
