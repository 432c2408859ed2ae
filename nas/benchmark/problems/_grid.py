"""Functions of numbers in 0..1 as problems of ordered genes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats
from nas.benchmark.problems.protocol import Problem

#: Most genes of a problem: strategies hold populations of them.
MOST_GENES = 10_000


def on_grid(
    name: str,
    function: Callable[[Floats], Floats],
    front: Floats,
    *,
    genes: int,
    options: int,
    low: float = 0.0,
    high: float = 1.0,
    wide: int | None = None,
) -> Problem:
    """A function on a grid of `options` places for each gene.

    Args:
        name: of the problem.
        function: from points `(n, genes)` to costs `(n, m)`.
        front: sample of the exact front, `(k, m)`.
        genes: number of variables.
        options: places on each axis, at least 2.
        low: of the genes from `wide` on; those before are in 0..1.
        high: likewise.
        wide: first of the genes in `low`..`high`; none if not given.
    """
    if not (isinstance(genes, int) and isinstance(options, int)) or genes < 2 or options < 2:
        raise UsageError(f"{name} needs at least 2 genes and 2 options, whole numbers, got {genes!r} and {options!r}")
    if genes > MOST_GENES:
        raise UsageError(f"{name} has at most {MOST_GENES} genes, got {genes}")

    def costs(archs: Archs) -> Floats:
        points = np.asarray(archs, dtype=np.float64) / (options - 1)
        if wide is not None:
            points[:, wide:] = low + (high - low) * points[:, wide:]
        return function(points)

    ideal, nadir = front.min(axis=0), front.max(axis=0)
    nadir = nadir + 0.1 * (nadir - ideal)
    labels = tuple(f"f{number + 1}" for number in range(front.shape[1]))
    choices, ordered = (options,) * genes, (True,) * genes
    return Problem(name, choices, labels, costs, costs, ideal, nadir, front, sampled=True, ordered=ordered)
