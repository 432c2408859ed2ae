"""What is said of a front whose predictions stand on little."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import predictors
from device_profiles.errors import HwnasError
from nas.evaluators.protocol import digest
from nas.objectives import Objective
from nas.study.study import Study
from nas.study.trial import Point
from predictors import trust


def warnings(study: Study, front: Sequence[Point]) -> list[str]:
    """One line for each predicted objective of low coverage on the front: what is missing, and what to do."""
    sources = study.fact("sources") or []
    found = []
    for place, objective in enumerate(study.objectives()):
        known = [point for point in front if objective.name in point.coverage]
        low = [point for point in known if point.coverage[objective.name] < trust.LEAST_COVERAGE]
        identity = sources[place] if place < len(sources) else ""
        missing = _missing(objective, identity, low) if low else ()
        cost = objective.spec.partition(":")[0]
        line = trust.warning(objective.name, [point.coverage[objective.name] for point in known], missing, cost=cost)
        found += [line] if line is not None else []
    return found


def _missing(objective: Objective, identity: str, points: Sequence[Point]) -> tuple[tuple[str, ...], ...]:
    """What the predictor lacks for them; () if it is not there any more, or is another one now."""
    folder = Path(objective.spec.partition(":")[2])
    try:
        if not folder.is_dir() or digest(folder) != identity:
            return ()
        return predictors.load(folder).predict(np.array([point.arch for point in points], dtype=np.int64)).missing
    except (HwnasError, OSError):
        return ()
