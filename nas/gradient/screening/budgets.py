"""A grid of budgets of the first predicted objective, and the best networks within each."""

from __future__ import annotations

import numpy as np

from nas.arrays import Flags, Floats
from nas.gradient.parts.costs import excess
from nas.gradient.protocol import GradientProblem
from nas.gradient.screening.judging import Scored


def grid(costs: Floats, count: int) -> Floats:
    """At most `count` budgets, ascending and even, from the lowest to the highest of the first costs of `(n, m)`.

    Source: the epsilon-constraint method, Haimes, Lasdon & Wismer, IEEE Transactions on Systems, Man, and Cybernetics
        1(3), 1971.
    """
    first = costs[:, 0]
    return np.unique(np.linspace(first.min(), first.max(), count) if count > 1 else first.max(keepdims=True))


def within(problem: GradientProblem, costs: Floats, budget: float) -> Flags:
    """Which costs `(n, m)` keep a budget of the first objective and the bounds of all, `(n,)`."""
    return np.asarray((costs[:, 0] <= budget) & (excess(problem, costs) <= 0))


def by_budget(problem: GradientProblem, scored: Scored, budgets: Floats, count: int) -> tuple[list[int], list[float]]:
    """At most `count` rows of `(n, d)` networks, each with the budget that it was chosen for.

    First the lowest loss within each budget, from the lowest budget, without what an earlier one has too; then, round
    by round, the lowest of each that none has yet.
    """
    order = np.argsort(scored.losses, kind="stable").tolist()
    inside = [within(problem, scored.costs, float(budget)) for budget in budgets]
    queues = [[row for row in order if mine[row]] for mine in inside]
    chosen: dict[int, float] = {}
    first = True
    while len(chosen) < count and any(queues):
        for budget, queue in zip(budgets, queues, strict=True):
            fresh = queue[:1] if first else [row for row in queue if row not in chosen][:1]
            if fresh and fresh[0] not in chosen and len(chosen) < count:
                chosen[fresh[0]] = float(budget)
        queues = [[row for row in queue if row not in chosen] for queue in queues]
        first = False
    return list(chosen), list(chosen.values())
