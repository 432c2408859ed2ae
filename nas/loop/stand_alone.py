"""Do shared weights rank networks as trainings alone do? Asked of some that a search has judged, if it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from device_profiles.errors import UsageError
from nas import evaluators
from nas.arrays import Archs, Floats
from nas.evaluators import Context, Evaluator
from nas.evaluators.protocol import OwnsWeights
from nas.objectives import Objective
from nas.study.stand_alone import FACT
from nas.study.study import Study

#: Fewer networks have no rank correlation.
FEWEST = 3


def require(count: Any) -> None:
    """Refuse a number of networks that none can be ranked by.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(count, int) or isinstance(count, bool) or (count != 0 and count < FEWEST):
        raise UsageError(
            f"setting stand_alone must be 0 or a whole number of at least {FEWEST}, got {count!r}",
            hint="So many networks are trained alone: --set stand_alone=8 takes eight trainings.",
        )


def trainings(context: Context, judges: Sequence[Evaluator], count: int) -> tuple[Objective, Evaluator] | None:
    """The first objective by shared weights, and what trains its networks alone; None where nothing is to be asked.

    Opened before the search: what trainings alone cannot be done with is refused then.

    Args:
        context: of the search, with the settings of trainings alone.
        judges: evaluators of the objectives.
        count: networks, at most.

    Raises:
        UsageError: a setting of trainings alone is out of its range.
        InvalidData: the data are too few for a training alone.
    """
    objective = next((one.objective for one in judges if isinstance(one, OwnsWeights)), None)
    if objective is None or not count:
        return None
    return objective, evaluators.open_objective(f"alone={objective.spec}:trained", context)


def compare(study: Study, context: Context, objective: Objective, alone: Evaluator, count: int) -> None:
    """Train networks alone, and keep how their ranks agree with those by shared weights, parameters and MACs.

    They are those that the search has judged, at even steps of their rank.

    Args:
        study: of the search; it gets a fact.
        context: of the search.
        objective: by shared weights.
        alone: trains its networks alone.
        count: networks, at most.

    Raises:
        TrainingDiverged: a network's training ended in no numbers.
    """
    archs, shared = _chosen(study, context, objective.name, count)
    if len(archs) < FEWEST:
        return
    trained = alone.evaluate(archs).value
    counts = {name: evaluators.open_objective(name, context).evaluate(archs).value for name in ("params", "macs")}
    study.set_fact(
        FACT,
        {
            "objective": objective.name,
            "networks": [arch.tolist() for arch in archs],
            "shared": shared.tolist(),
            "alone": trained.tolist(),
            "spearman": {name: _spearman(one, trained) for name, one in {"shared": shared, **counts}.items()},
        },
    )


def _chosen(study: Study, context: Context, name: str, count: int) -> tuple[Archs, Floats]:
    """Distinct networks with a function that were judged, at even steps of their rank, and their values."""
    trials = [trial for trial in study.trials() if trial.result is not None and np.isfinite(trial.value(name))]
    space = context.space
    rows = np.array([trial.arch for trial in trials], dtype=np.int64).reshape(-1, len(space.choices))
    values = np.array([trial.value(name) for trial in trials])
    live = space.is_valid(rows)
    archs, first = np.unique(space.canonical(rows[live]), axis=0, return_index=True)
    values = values[live][first]
    order = np.argsort(values, kind="stable")
    order = order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]
    return archs[order], values[order]


def _spearman(one: Floats, other: Floats) -> float | None:
    """Spearman's rank correlation; None where one of the two ranks nothing."""
    from scipy.stats import spearmanr

    if min(len(np.unique(one)), len(np.unique(other))) < 2:
        return None
    return float(spearmanr(one, other).statistic)
