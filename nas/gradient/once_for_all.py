"""Once-for-all: a predictor of losses, and evolution on it within each budget, under weights of progressive shrinking.

Source: Cai et al., "Once-for-all: train one network and specialize it for efficient deployment", ICLR 2020, section
    3.4.

Differences: some hundreds of networks are scored on one validation batch in place of 16,000 on 10,000 images, and the
predictor is one of `nas.surrogates` on genes and features of the space, in place of three layers of 400 units; budgets
are a grid of the first predicted objective; evolution ends when it finds nothing better; its finds are scored again,
and where they are few, so are the best of the networks that the predictor learned from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from device_profiles.errors import UsageError
from nas import surrogates
from nas.arrays import Archs, Flags, Floats
from nas.gradient.parts.costs import costs_of
from nas.gradient.protocol import Found, GradientProblem, all_costs, no_descent, wants
from nas.gradient.screening import budgets as limits
from nas.gradient.screening.drawing import Pool, distinct
from nas.gradient.screening.evolution import Evolution, drawn, evolve
from nas.gradient.screening.judging import Judge, Scored
from nas.operators.protocol import Problem
from nas.streams import stream
from nas.surrogates import choice
from nas.surrogates.columns import Columns

#: Networks that are scored again for each that is wanted, and the fewest of each budget.
_AGAIN, _LEAST = 2, 4


def once_for_all(
    problem: GradientProblem,
    *,
    budgets: int = 24,
    scored: int = 500,
    surrogate: str = "mlp",
    population: int = 100,
    generations: int = 500,
    batch: int = 256,
) -> Iterator[Found]:
    """Search by a predictor.

    Args:
        problem: space, supernet, data, costs and bounds.
        budgets: most points of the grid of budgets of the first predicted objective.
        scored: random networks that the predictor learns from.
        surrogate: which predictor; one of `nas.surrogates`.
        population: of the evolution, at least 2.
        generations: of it, at most.
        batch: validation examples in one batch.

    Yields:
        At most `problem.budget` networks within the bounds, one each, for budget after budget; where there are more
        evaluations, the next best of each follow.

    Raises:
        UsageError: a setting is too small.
        UnknownName: there is no such surrogate.
        InfeasibleBudget: no network was drawn that is within the bounds.
        Diverged: all losses were no numbers.
    """
    if min(budgets, scored, generations, batch) < 1 or population < 2:
        raise UsageError(
            "once-for-all needs at least one budget, scored network, generation and validation example, and a "
            f"population of 2, got {budgets}, {scored}, {generations}, {batch}, {population}"
        )
    surrogates.REGISTRY.get(surrogate)
    if len(problem.skip) >= problem.budget:
        return
    space = problem.space
    rng = stream(problem.seed, "once-for-all.pool")
    feasible = space.canonical(drawn(space, partial(_fits, problem, np.inf), population, rng, said=_said(problem)))
    judge = Judge(problem, "once-for-all", batch)
    lessons = distinct(problem, space.sample(min(scored, space.size), rng))
    taught = judge.quickly(Pool(lessons, costs_of(problem, lessons)))
    loss = _predictor(problem, taught, surrogate)
    grid = limits.grid(costs_of(problem, feasible), min(budgets, problem.budget))
    settings = Evolution(population=population, generations=generations)
    ends = []
    for number, budget in enumerate(grid):
        fits = partial(_fits, problem, float(budget))
        rng = stream(problem.seed, "once-for-all.evolution", number)
        start = np.concatenate([feasible[fits(feasible)], space.sample(min(population, space.size), rng)])
        ends.append(evolve(space, loss, fits, start[fits(start)][:population], rng, settings))
        problem.progress("once-for-all", number + 1, len(grid))
    archs = _best(problem, ends, taught)
    again = judge.fully(Pool(archs, costs_of(problem, archs)))
    rows, chosen = limits.by_budget(problem, again, grid, problem.budget)
    notes = [f"budget {b:.4g}, loss {again.losses[row]:.4g}" for row, b in zip(rows, chosen, strict=True)]
    yield from judge.found(again.archs[rows], notes)


def _best(problem: GradientProblem, ends: Sequence[Archs], taught: Scored) -> Archs:
    """The first of what each evolution ended with, and where that are too few networks, the best of those scored."""
    enough, take = _AGAIN * problem.budget, _LEAST
    archs = distinct(problem, np.concatenate([end[:take] for end in ends]))
    while len(archs) < enough and take < max(map(len, ends)):
        take *= 2
        archs = distinct(problem, np.concatenate([end[:take] for end in ends]))
    inside = limits.within(problem, taught.costs, np.inf)
    order = [row for row in np.argsort(taught.losses, kind="stable") if inside[row]]
    return distinct(problem, np.concatenate([archs, taught.archs[order][: max(enough - len(archs), 0)]]))


def _fits(problem: GradientProblem, budget: float, archs: Archs) -> Flags:
    """Which networks `(n, d)` are within the bounds and the budget, by the costs of their canonical genomes, `(n,)`."""
    return limits.within(problem, costs_of(problem, problem.space.canonical(archs)), budget)


def _predictor(problem: GradientProblem, lessons: Scored, surrogate: str) -> Callable[[Archs], Floats]:
    """Predicted losses of `(n, d)`, `(n,)`, learned from networks that were scored."""
    space = problem.space
    columns = Columns.of(
        Problem(
            choices=space.choices, objectives=1, features=space.features, valid=space.is_valid, ordered=space.ordered
        )
    )
    model = choice.fit(
        surrogate, columns.encode(lessons.archs), lessons.losses, stream(problem.seed, "once-for-all.predictor")
    )
    return lambda archs: np.asarray(model.predict(columns.encode(space.canonical(archs))), dtype=np.float64)


def _said(problem: GradientProblem) -> str:
    """The bounds, for people."""
    said = []
    for number, price in enumerate(problem.priced, start=1):
        said += [f"cost {number} <= {price.bound:g}"] if price.bound is not None else []
        said += [f"cost {number} >= {price.floor:g}"] if price.floor is not None else []
    return " and ".join(said) or "no bound"


GRADIENT = wants(trainer="shrinking")(no_descent(all_costs(once_for_all)))
