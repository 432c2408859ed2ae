"""Decomposed exact search: options are scored one by one on shared weights, sums are solved exactly for each budget.

Source: scores of single replacements on trained weights, summed by an integer program under a latency budget: Molchanov
    et al., "LANA: latency aware network acceleration", ECCV 2022. Scores of blocks that rate whole networks: Li et al.,
    "Block-wisely supervised neural architecture search with knowledge distillation" (DNA), CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from device_profiles.errors import UsageError
from nas.gradient.additive.choosing import Budgets, Chooser
from nas.gradient.additive.costs import affine
from nas.gradient.additive.scores import score
from nas.gradient.protocol import Diverged, Found, GradientProblem, all_costs, no_descent


def blockwise(problem: GradientProblem, *, budgets: int = 24, references: int = 8, batch: int = 256) -> Iterator[Found]:
    """Search by scores of single options.

    Args:
        problem: space, supernet, data, costs and bounds.
        budgets: most points of the grid of budgets; where there are more evaluations, the next best of each follow.
        references: random networks in which options are scored.
        batch: validation examples that scores are taken on.

    Yields:
        One network each, and no network twice; none is beyond a bound or its budget by its predicted cost. Where no
        network was found within the bounds, the one that breaks them least by the sums.

    Raises:
        UsageError: a setting is below 1.
        Diverged: all losses of a gene were no numbers.
    """
    if min(budgets, references, batch) < 1:
        raise UsageError(
            f"blockwise needs at least one budget, reference and validation example, got {budgets}, {references}, "
            f"{batch}"
        )
    if len(problem.skip) >= problem.budget:
        return
    scores = score(problem, references, batch)
    if scores.effects is None:
        raise Diverged(
            f"blockwise has no scores: all losses of a gene, {scores.lost} in all, were no numbers",
            hint="Train the shared weights otherwise: --set trainer=fair, or another train_steps.",
        )
    costs = tuple(affine(problem, price.cost, scores.archs) for price in problem.priced)
    chooser = Chooser(problem, scores.effects, costs)
    said = [f"costs as sums are off by {', '.join(f'{cost.error:.2%}' for cost in costs)}"]
    said += [f"{scores.lost} losses without a number left out"] if scores.lost else []
    number = -1
    for number, (arch, limits) in enumerate(chooser.all(problem.budget, budgets)):
        if number not in problem.skip:
            yield Found(number, arch[None, :], ", ".join((_budget(limits), *said)))
    nearest = chooser.closest() if number < 0 and 0 not in problem.skip else None
    if nearest is not None:
        yield Found(0, nearest[None, :], ", ".join(("beyond the bounds", *said)))


def _budget(limits: Budgets) -> str:
    """Budgets, for people."""
    if not np.isfinite(limits).any():
        return "no budget but the bounds"
    return "budget " + " and ".join(f"{limit:.4g}" if np.isfinite(limit) else "any" for limit in limits)


GRADIENT = no_descent(all_costs(blockwise))
