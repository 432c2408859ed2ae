"""A space with a predictor of its cost: that is known, and an accuracy is made up as for `interactions`.

The error is a function of the network, not of the genome: genes that do not matter have no effect. What an option adds
to it goes in part with what it adds to the cost, so that there is something to trade. Nobody knows the exact front.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import predictors
from device_profiles.errors import UsageError
from nas import spaces
from nas.arrays import Archs, Floats
from nas.benchmark.problems.interactions import BEST, SAMPLED, WORST, made_up_error
from nas.benchmark.problems.protocol import Problem


def predicted(folder: str, pairs: int = 60, seed: int = 0) -> Problem:
    """The problem.

    Args:
        folder: of a predictor that says of which space it speaks.
        pairs: of genes that interact, at least 0; a pair may come twice.
        seed: of all effects.

    Raises:
        UsageError: a number is out of its range, or the predictor speaks of no space.
    """
    if not all(isinstance(number, int) and number >= 0 for number in (pairs, seed)):
        raise UsageError(f"predicted needs pairs >= 0 and seed >= 0, whole numbers, got {pairs!r} and {seed!r}")
    predictor = predictors.load(Path(folder))
    card = predictor.card
    if card.space is None:
        raise UsageError(
            f"the predictor in {folder} does not say of which space it speaks", hint="Fit one with --space NAME."
        )
    space = spaces.load(card.space)
    genes = len(space.choices)
    rng = np.random.default_rng([seed, genes])
    sample = space.sample(SAMPLED, rng)
    costs = predictor.predict(sample).value
    error = made_up_error(_added(sample, costs, space.choices), pairs, rng, lambda: space.canonical(sample))

    def both(archs: Archs) -> Floats:
        return np.stack([error(space.canonical(archs)), predictor.predict(archs).value], axis=1)

    return Problem(
        f"{card.space} with {card.cost} of {Path(folder).name}, seed {seed}",
        space.choices,
        ("error", card.cost),
        both,
        both,
        ideal=np.array([BEST, float(costs.min())]),
        nadir=np.array([WORST, float(costs.max())]),
        known=(1,),
        space=space,
    )


def _added(archs: Archs, costs: Floats, choices: tuple[int, ...]) -> Floats:
    """What each option adds to the cost on the mean of `(n, d)` architectures, `(d, options)`; 0 if it is in none."""
    found = np.zeros((len(choices), max(choices)))
    for gene, options in enumerate(choices):
        for option in range(options):
            rows = archs[:, gene] == option
            found[gene, option] = costs[rows].mean() - costs.mean() if rows.any() else 0.0
    return found


PROBLEM = predicted
