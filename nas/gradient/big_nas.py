"""BigNAS: from a coarse grid of networks to the best near each budget, under weights that need no more training.

Source: Yu et al., "BigNAS: scaling up neural architecture search with big single-stage models", ECCV 2020, section 3.4.

Differences: one budget becomes a grid of them; the coarse grid is made from names of genes, with about as many networks
as there (160); mutation sets each gene to another option with the same probability, in place of one stage at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats
from nas.gradient.parts.costs import costs_of, excess
from nas.gradient.protocol import Found, GradientProblem, all_costs, no_descent, wants
from nas.gradient.screening import budgets as limits
from nas.gradient.screening.drawing import Pool, distinct, drawn
from nas.gradient.screening.judging import Judge, Scored, joined, pool_of
from nas.gradient.screening.skeletons import skeletons
from nas.operators.variation import reset_mutation
from nas.streams import stream

#: Probability of another option for each gene, and children that are made for each that is looked at.
_RATE, _SPARE = 0.1, 8


def big_nas(
    problem: GradientProblem,
    *,
    budgets: int = 24,
    coarse: int = 160,
    mutants: int = 8,
    rounds: int = 2,
    batch: int = 256,
) -> Iterator[Found]:
    """Search from coarse to fine.

    Args:
        problem: space, supernet, data, costs and bounds.
        budgets: most points of the grid of budgets of the first predicted objective.
        coarse: networks of the coarse grid.
        mutants: of the best network of each budget, in each round.
        rounds: of mutation.
        batch: validation examples in one batch.

    Yields:
        At most `problem.budget` networks, one each, for budget after budget; where there are more evaluations, the next
        best of each follow. Where none was found within the bounds, the closest.

    Raises:
        UsageError: a setting is below 1.
        Diverged: all losses were no numbers.
    """
    if min(budgets, coarse, mutants, rounds, batch) < 1:
        raise UsageError(
            "big-nas needs at least one budget, coarse network, mutant, round and validation example, got "
            f"{budgets}, {coarse}, {mutants}, {rounds}, {batch}"
        )
    if len(problem.skip) >= problem.budget:
        return
    judge = Judge(problem, "big-nas", batch)
    pool = _coarse(problem, coarse)
    scored = judge.quickly(pool)
    grid = limits.grid(scored.costs, min(budgets, problem.budget))
    for number in range(rounds if pool.within else 0):
        near = _mutants(problem, scored, grid, mutants, stream(problem.seed, "big-nas.fine", number))
        if len(near.archs):
            scored = joined([scored, judge.quickly(near)])
    if pool.within:
        rows, _ = limits.by_budget(problem, scored, grid, 2 * problem.budget)
        scored = judge.fully(pool_of(scored.rows(rows)))
        rows, chosen = limits.by_budget(problem, scored, grid, problem.budget)
    else:
        rows, chosen = [0], [float(scored.costs[0, 0])]
    notes = [
        ", ".join(filter(None, (f"budget {budget:.4g}, loss {scored.losses[row]:.4g}", pool.note)))
        for row, budget in zip(rows, chosen, strict=True)
    ]
    yield from judge.found(scored.archs[rows], notes)


def _coarse(problem: GradientProblem, count: int) -> Pool:
    """Networks of the coarse grid within the bounds; where there is none, random ones, or the closest."""
    rng = stream(problem.seed, "big-nas.coarse")
    archs = distinct(problem, skeletons(problem.space, count, rng))
    costs = costs_of(problem, archs)
    inside = excess(problem, costs) <= 0
    return Pool(archs[inside], costs[inside]) if inside.any() else drawn(problem, count, rng)


def _mutants(problem: GradientProblem, scored: Scored, grid: Floats, count: int, rng: np.random.Generator) -> Pool:
    """New networks: at most `count` children of the best within each budget, within that budget too."""
    seen = {arch.tobytes() for arch in scored.archs}
    found: list[Archs] = []
    for budget in grid:
        inside = np.flatnonzero(limits.within(problem, scored.costs, float(budget)))
        if not len(inside):
            continue
        best = scored.archs[inside[scored.losses[inside].argmin()]]
        made = reset_mutation(np.repeat(best[None], _SPARE * count, axis=0), problem.space.choices, rng, rate=_RATE)
        children = distinct(problem, made)
        children = children[limits.within(problem, costs_of(problem, children), float(budget))]
        fresh = [child for child in children if child.tobytes() not in seen][:count]
        seen |= {child.tobytes() for child in fresh}
        found.extend(fresh)
    archs = np.array(found, dtype=np.int64).reshape(-1, len(problem.space.choices))
    return Pool(archs, costs_of(problem, archs) if found else np.empty((0, len(problem.priced))))


GRADIENT = wants(trainer="sandwich")(no_descent(all_costs(big_nas)))
