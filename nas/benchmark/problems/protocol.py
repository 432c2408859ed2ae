"""What a problem of a benchmark is: architectures with costs, and a front that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas.arrays import Archs, Floats
from nas.spaces.protocol import Space


@dataclass(frozen=True)
class Problem:
    """A problem.

    What a search is told and what is reported may differ: a noisy accuracy after few epochs, and a test accuracy.

    Attributes:
        name: with its options.
        choices: options per gene.
        objectives: their names; all are costs.
        search: costs that a search is told, `(n, d) -> (n, m)`; NaN where an architecture fails.
        report: costs that are scored; NaN where an architecture counts nothing.
        ideal: `(m,)`; with the nadir it normalises what is scored, for all runs alike.
        nadir: `(m,)`; the reference of the hypervolume.
        front: the exact front of `report`, `(k, m)`, or None if nobody knows it.
        sampled: whether `front` is a sample of a front that is continuous, of which no point need be on the grid.
        known: objectives that cost nothing, by column.
        space: whose features and canonical forms a strategy may be given, or None.
        ordered: per gene, whether its options are in an order; None for categories.
    """

    name: str
    choices: tuple[int, ...]
    objectives: tuple[str, ...]
    search: Callable[[Archs], Floats]
    report: Callable[[Archs], Floats]
    ideal: Floats
    nadir: Floats
    front: Floats | None = None
    sampled: bool = False
    known: tuple[int, ...] = ()
    space: Space | None = None
    ordered: tuple[bool, ...] | None = None

    def normalised(self, costs: Floats) -> Floats:
        """Costs in units of the distance from the ideal to the nadir, `(n, m)`."""
        return np.asarray((costs - self.ideal) / np.where(self.nadir > self.ideal, self.nadir - self.ideal, 1.0))


MakeProblem = Callable[..., Problem]
"""`PROBLEM(**options)` of a problem's module."""
