"""One protocol for all searches: what was evaluated after so many evaluations, against the exact front.

Costs are those of the report, in units of the problem's own ideal and nadir; the reference is 1 everywhere. Points that
are not better than the reference in every objective count nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.arrays import Archs
from nas.benchmark.problems.protocol import Problem
from nas.pareto import dominance, indicators

#: What is scored, with its direction: 1 if more is better. Those but the first two need a known front.
SCORES = {
    "hypervolume": 1,
    "distinct": 1,
    "ratio": 1,
    "recall": 1,
    "igd_plus": -1,
    "gd_plus": -1,
    "epsilon": -1,
    "regret": -1,
}
#: Bounds on the second cost for which the regret is taken: quantiles of the exact front.
_BOUNDS = np.linspace(0.05, 0.95, 10)


def score(problem: Problem, archs: Archs, checkpoints: Sequence[int]) -> dict[int, dict[str, float]]:
    """Scores after so many evaluations.

    Args:
        problem: with its report.
        archs: `(n, d)`, in the order of their evaluation.
        checkpoints: numbers of evaluations; those beyond `n` are left out.

    Returns:
        By checkpoint the scores of `SCORES`; `ratio`, distances and `epsilon` only with a known front, `recall` only
        if it is not sampled, `regret` only with two objectives. Infinite distances (nothing counted yet) are left out.
    """
    costs = problem.normalised(problem.report(archs))
    front = None if problem.front is None else problem.normalised(problem.front)
    reference = np.ones(len(problem.objectives))
    exact = None if front is None else indicators.hypervolume(front, reference)
    kept = np.empty((0, len(reference)))
    found: dict[int, dict[str, float]] = {}
    before = 0
    for count in sorted(point for point in checkpoints if point <= len(archs)):
        kept = np.concatenate([kept, costs[before:count]])
        kept = np.unique(kept[dominance.nondominated(kept)], axis=0)
        before = count
        volume = indicators.hypervolume(kept, reference)
        scores: dict[str, float] = {"hypervolume": volume, "distinct": indicators.distinct(kept)}
        if front is not None and exact:
            scores["ratio"] = volume / exact
            if not problem.sampled:
                scores["recall"] = indicators.recall(kept, front)
            scores["igd_plus"] = indicators.igd_plus(kept, front)
            scores["gd_plus"] = indicators.gd_plus(kept, front)
            scores["epsilon"] = indicators.additive_epsilon(kept, front)
            if len(reference) == 2:
                scores["regret"] = indicators.regret(kept, front, np.quantile(front[:, 1], _BOUNDS))
        found[count] = {name: value for name, value in scores.items() if np.isfinite(value)}
    return found
