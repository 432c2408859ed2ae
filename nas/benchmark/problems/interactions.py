"""A made-up space of any size: an accuracy of main effects and interactions, and a latency that is a sum and known.

The error is a logistic function of a score: an effect of each option, which is the larger the longer it takes, and an
effect of each pair of options in some pairs of genes. Nobody knows the exact front of a space of 9^22.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats
from nas.benchmark.problems.protocol import Problem

#: Errors of the best and of the worst score, in percent.
BEST, WORST = 5.0, 35.0
#: Architectures that the mean and the spread of a score are taken of.
SAMPLED = 20_000


def interactions(genes: int = 22, options: int = 9, pairs: int = 60, seed: int = 0) -> Problem:
    """The problem.

    Args:
        genes: at least 2.
        options: of each gene, at least 2.
        pairs: of genes that interact, at least 0; a pair may come twice.
        seed: of all effects.

    Raises:
        UsageError: a number is out of its range.
    """
    if not all(isinstance(number, int) for number in (genes, options, pairs, seed)) or not (
        genes >= 2 and options >= 2 and pairs >= 0 and seed >= 0
    ):
        raise UsageError(
            "interactions needs genes >= 2, options >= 2, pairs >= 0 and seed >= 0, whole numbers, "
            f"got {genes!r}, {options!r}, {pairs!r} and {seed!r}"
        )
    rng = np.random.default_rng([seed, genes])
    latency = rng.gamma(2.0, 1.0, size=(genes, options))
    error = made_up_error(latency, pairs, rng, lambda: rng.integers(0, options, size=(SAMPLED, genes)))

    def costs(archs: Archs) -> Floats:
        return np.stack([error(archs), latency[np.arange(genes), archs].sum(axis=1)], axis=1)

    return Problem(
        f"interactions of {options}^{genes}, seed {seed}",
        (options,) * genes,
        ("error", "latency"),
        costs,
        costs,
        ideal=np.array([BEST, latency.min(axis=1).sum()]),
        nadir=np.array([WORST, latency.max(axis=1).sum()]),
        known=(1,),
    )


def made_up_error(
    latency: Floats, pairs: int, rng: np.random.Generator, sample: Callable[[], Archs]
) -> Callable[[Archs], Floats]:
    """An error in percent of architectures `(n, d)`, `(n,)`, between `BEST` and `WORST`.

    Args:
        latency: `(d, options)`, what each option adds to it.
        pairs: of genes that interact.
        rng: of all effects.
        sample: architectures `(n, d)` that its mean and spread are taken of.
    """
    score = _score(latency, pairs, rng)
    scores = score(sample())
    centre, spread = scores.mean(), scores.std()
    return lambda archs: BEST + (WORST - BEST) / (1 + np.exp(0.5 * (score(archs) - centre) / spread))


def _score(latency: Floats, pairs: int, rng: np.random.Generator) -> Callable[[Archs], Floats]:
    """Main effects, in part those of the latency, and effects of pairs."""
    genes, options = latency.shape
    slower = (latency - latency.mean(axis=1, keepdims=True)) / latency.std()
    main = 0.6 * rng.normal(size=(genes, options)) + 0.8 * slower
    places = np.array([rng.choice(genes, 2, replace=False) for _ in range(pairs)]).reshape(pairs, 2)
    tables = 0.5 * rng.normal(size=(pairs, options, options))

    def score(archs: Archs) -> Floats:
        total = main[np.arange(genes), archs].sum(axis=1)
        for (left, right), table in zip(places, tables, strict=True):
            total = total + table[archs[:, left], archs[:, right]]
        return np.asarray(total)

    return score


PROBLEM = interactions
