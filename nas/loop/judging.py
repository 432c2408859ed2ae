"""Architectures are judged: every objective is evaluated, noisy ones several times, and what failed is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.evaluators.protocol import FULL, Budget, Budgets, Evaluator, Repeatable, takes_budget, within
from nas.evaluators.tabular import Tabular
from nas.loop import guard
from nas.objectives import Values
from nas.study.trial import Coverage, Replicates, Result


@dataclass(frozen=True)
class Judged:
    """What became of some architectures.

    Attributes:
        results: of each.
        reasons: why some have no value, by row.
        replicates: single values of noisy objectives, by row, where there are several.
        coverage: of predicted values, by row and objective, in 0..1, where it is known.
    """

    results: list[Result]
    reasons: dict[int, str]
    replicates: dict[int, Replicates]
    coverage: dict[int, Coverage]


def repeatable(evaluators: Sequence[Evaluator], replicates: int = 2) -> list[Repeatable]:
    """Those that can be asked again.

    Args:
        evaluators: of a search.
        replicates: so many values they must have for an architecture.

    Raises:
        UsageError: there is none, or one has fewer.
    """
    found: list[Repeatable] = [evaluator for evaluator in evaluators if isinstance(evaluator, Repeatable)]
    if not found:
        names = ", ".join(evaluator.objective.name for evaluator in evaluators)
        raise UsageError(
            f"none of the objectives {names} can be evaluated again: each has one value for an architecture",
            hint="Single trainings of a table are replicates: table:FILE.csv:FIRST,SECOND,THIRD.",
        )
    for evaluator in found:
        if evaluator.most is not None and evaluator.most < replicates:
            raise UsageError(
                f"objective {evaluator.objective.name!r} has {evaluator.most} replicates, {replicates} are wanted",
                hint=f"--set replicates={evaluator.most}",
            )
    return found


def require_budgets(evaluators: Sequence[Evaluator], budgets: Mapping[str, Budget]) -> None:
    """Refuse a budget for an objective that cannot be asked under one.

    Raises:
        UsageError: with the first that cannot.
    """
    known = {evaluator.objective.name: evaluator for evaluator in evaluators}
    for name, budget in budgets.items():
        if budget == FULL:
            continue
        if name not in known or not takes_budget(known[name]):
            takers = ", ".join(one for one, evaluator in known.items() if takes_budget(evaluator)) or "none of them"
            raise UsageError(
                f"objective {name!r} cannot be evaluated under the budget {budget.key}: its evaluator takes none",
                hint=f"Objectives that take one: {takers}.",
            )


def budgets_of(evaluators: Sequence[Evaluator], budget: Budget) -> Budgets:
    """The budget for each objective that takes one and is not free; others are asked without.

    Raises:
        UsageError: it limits something, and there is no such objective.
    """
    if budget == FULL:
        return {}
    found = {one.objective.name: budget for one in evaluators if takes_budget(one) and not one.free}
    if not found:
        names = ", ".join(evaluator.objective.name for evaluator in evaluators)
        raise UsageError(
            f"none of the objectives {names} can be evaluated under the budget {budget.key}: "
            "their evaluators take none, or are free",
            hint="Leave --set budget out.",
        )
    return found


def judge(
    evaluators: Sequence[Evaluator],
    archs: Archs,
    *,
    replicates: int = 1,
    seconds: float | None = None,
    budgets: Mapping[str, Budget] | None = None,
) -> Judged:
    """Judge architectures `(n, d)`.

    Args:
        evaluators: of the objectives.
        archs: to judge.
        replicates: evaluations of each by objectives that are `Repeatable`, whose value is their mean.
        seconds: for each evaluation, or None.
        budgets: by objective, under which each is evaluated; those that are not named are asked without.

    Raises:
        UsageError: an objective takes no budget.
    """
    limits = budgets or {}
    require_budgets(evaluators, limits)
    judged = Judged([{} for _ in archs], {}, {}, {})
    for evaluator in evaluators:
        name = evaluator.objective.name
        asked: list[Callable[[Archs], Values]] = [evaluator.evaluate]
        if isinstance(evaluator, Repeatable):
            asked += [partial(evaluator.again, replicate=place) for place in range(1, replicates)]
        said: dict[int, str] = {}
        nothing = "not in the table" if isinstance(evaluator, Tabular) else "no finite value"
        asked = [within(one, limits.get(name)) for one in asked]
        found = [guard.evaluate(one, archs, seconds=seconds, failed=said.__setitem__) for one in asked]
        single = np.stack([values.value for values in found], axis=1)
        for row, values in enumerate(single):
            judged.results[row][name] = _result(found[0], row) if len(values) == 1 else (_mean(values), None, None)
            if len(values) > 1:
                judged.replicates.setdefault(row, {})[name] = values.tolist()
            covered = found[0].coverage
            if covered is not None and len(values) == 1 and np.isfinite(covered[row]):
                judged.coverage.setdefault(row, {})[name] = float(np.clip(covered[row], 0.0, 1.0))
            if not np.isfinite(values).any():
                judged.reasons.setdefault(row, f"{name}: {said.get(row, nothing)}")
    return judged


def _result(values: Values, row: int) -> tuple[float, float | None, float | None]:
    ends = [None if end is None or not np.isfinite(end[row]) else float(end[row]) for end in (values.low, values.high)]
    return float(values.value[row]), ends[0], ends[1]


def _mean(values: np.ndarray) -> float:
    """Mean of the evaluations that did not fail."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
