"""What is refused before a search writes or computes anything, and what is said where nothing is feasible."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from device_profiles.errors import InfeasibleBudget, UsageError
from device_profiles.outputs import existing
from nas import gradient, strategies
from nas.evaluators import Evaluator
from nas.evaluators.predicted import Predicted
from nas.evaluators.protocol import OwnsWeights
from nas.gradient.protocol import descends, takes_all
from nas.isolation import apart
from nas.isolation.space_parts import Parts
from nas.loop import guard
from nas.objectives import Constraint, violations
from nas.spaces.protocol import Space
from nas.study import lab
from nas.study.plan import SearchPlan
from nas.study.trial import Trial
from predictors import genes

#: Spaces up to this size are looked through for an architecture that meets the constraints before anything is trained.
ENUMERABLE = 100_000
#: What a search writes into its folder.
_OWN = ("run.db", "lab.json", "supernet.", "trained", "onnx", ".")


def check_strategies(plan: SearchPlan, space: Space) -> None:
    """Refuse settings that a strategy does not take, before anything is written.

    Raises:
        UsageError: it is so.
    """
    for name in plan.named:
        if name in strategies.names() and not runs_apart(name):
            settings = plan.settings_of(name)
            strategies.create(
                name, choices=space.choices, objectives=len(plan.objectives), ordered=space.ordered, **settings
            )


def check_gradients(plan: SearchPlan, evaluators: tuple[Evaluator, ...], constraints: tuple[Constraint, ...]) -> None:
    """Refuse objectives that a gradient strategy cannot descend, before anything is written.

    Raises:
        UsageError: there are no shared weights, they cannot be mixed, nothing is predicted, or there is more than the
            strategy takes.
    """
    priced = [evaluator.objective.name for evaluator in evaluators if isinstance(evaluator, Predicted)]
    for name in plan.strategies:
        if name not in gradient.names():
            continue
        if not priced or not any(isinstance(evaluator, OwnsWeights) for evaluator in evaluators):
            raise UsageError(
                f"strategy {name!r} needs an objective with shared weights and a predicted one",
                hint="--objective accuracy --data digits --objective latency:DIR, or perplexity of text and pairs.",
            )
        if descends(gradient.REGISTRY.get(name)):
            next(one for one in evaluators if isinstance(one, OwnsWeights)).require_mixed()
        if takes_all(gradient.REGISTRY.get(name)):
            continue
        lower = [str(one) for one in constraints if one.name in priced and not one.upper]
        if len(priced) > 1 or lower:
            raise UsageError(
                f"strategy {name!r} takes one predicted objective with upper bounds, got {', '.join(priced + lower)}",
                hint="Leave one out, or use gdas.",
            )


def gradient_bounds(name: str, constraints: tuple[Constraint, ...]) -> tuple[float | None, float | None]:
    """The tightest upper and lower bound on an objective, None where there is none."""
    mine = [constraint for constraint in constraints if constraint.name == name]
    upper = min((one.bound for one in mine if one.upper), default=None)
    return upper, max((one.bound for one in mine if not one.upper), default=None)


def runs_apart(name: str) -> bool:
    """Whether it is a strategy of others, which is made in a process of its own alone."""
    return name in strategies.names() and apart.is_apart(strategies.REGISTRY.get(name))


def check_place(place: Path) -> None:
    """Refuse a folder that is something else: a run has files beside which nothing of others is safe.

    Raises:
        UsageError: it is.
    """
    hint = "Give another folder with -o."
    try:
        if existing(place.absolute()) == place.absolute() and not place.is_dir():
            raise UsageError(f"{place} is a file, not the folder of a run", hint=hint)
        foreign = (
            sorted(path.name for path in place.iterdir() if not path.name.startswith(_OWN)) if place.exists() else []
        )
        if foreign and not lab.is_run(place):
            more = f" and {len(foreign) - 4} more" if len(foreign) > 4 else ""
            raise UsageError(
                f"{place} exists and is not the folder of a run: it holds {', '.join(foreign[:4])}{more}", hint=hint
            )
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror}", hint=hint) from error


def check_feasible(
    space: Space, parts: Parts, evaluators: tuple[Evaluator, ...], constraints: tuple[Constraint, ...]
) -> None:
    """Refuse bounds on free quantities that no architecture of a small space meets, before anything is trained."""
    free = {evaluator.objective.name: evaluator for evaluator in evaluators if evaluator.free}
    mine = [constraint for constraint in constraints if constraint.name in free]
    if not mine or space.size > ENUMERABLE:
        return
    archs = genes.numbered(np.arange(space.size), space.choices)
    archs = archs[parts.is_valid(archs)]
    values = {constraint.name: guard.free_values(free[constraint.name], archs, None).value for constraint in mine}
    total = violations(mine, values)
    assert total is not None
    if total.min() > 0:
        best = int(total.argmin())
        found = ", ".join(f"{name} = {value[best]:.4g}" for name, value in values.items())
        raise InfeasibleBudget(
            f"no architecture of {space.spec} meets {' and '.join(map(str, mine))}; the closest has {found}",
            hint="Loosen the bound, or choose another space.",
        )


def closest(trials: list[Trial], constraints: tuple[Constraint, ...]) -> str:
    """How far the trial that violates the constraints least is from meeting them, for people."""
    judged = [trial for trial in trials if trial.result is not None]
    values = {c.name: np.array([trial.value(c.name) for trial in judged]) for c in constraints}
    total = violations(constraints, values)
    if total is None or not judged:
        return "none was judged"
    best = int(np.argmin(total))
    if not np.isfinite(total[best]):
        return "all of them failed"
    found = ", ".join(f"{name} = {value[best]:.4g}" for name, value in values.items())
    text = ",".join(map(str, judged[best].arch))
    return f"the closest, {text}, has {found}: {total[best]:.1%} off"
