"""The reference of a run's hypervolume: it follows the front where that goes beyond it."""

from __future__ import annotations

import numpy as np

from nas.objectives import Objective
from nas.study.study import Study, costs_of

#: Of runs whose reference may be widened; runs of before have no such fact, and keep the one that they have.
RULE, VERSION = "reference_rule", 2
#: How far beyond the front the reference then lies, as a share of the front's range.
MARGIN = 0.1


def widen(study: Study) -> None:
    """Move the reference where a point of the front lies on it or beyond, and so would add no volume.

    Hypervolumes are computed from the trials with the reference that the run has, so those of one run stay comparable.

    Args:
        study: of a run; one of before this rule stays as it is.
    """
    reference = study.fact("reference")
    if reference is None or study.fact(RULE) is None:
        return
    objectives, front = study.objectives(), study.front()
    if not front:
        return
    costs = costs_of([point.result for point in front], objectives)
    found = [
        bound if is_share(objective) or column.max() < bound else _beyond(column)
        for objective, bound, column in zip(objectives, reference, costs.T, strict=True)
    ]
    if found != reference:
        study.set_fact("reference", found)


def is_share(objective: Objective) -> bool:
    """Whether it is a maximised fraction, of which none at all is the worst there is."""
    return objective.unit == "fraction" and objective.maximise


def _beyond(costs: np.ndarray) -> float:
    return float(costs.max() + MARGIN * max(float(np.ptp(costs)), 1e-9))
