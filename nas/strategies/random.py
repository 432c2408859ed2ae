"""Random search without repeats: the baseline that every strategy must beat at the same budget."""

from __future__ import annotations

import numpy as np

from nas.arrays import Archs, Costs
from nas.operators.protocol import Problem, Shown
from nas.operators.seen import Seen
from nas.streams import stream
from predictors.genes import whole


class RandomSearch(Shown):
    """Uniform over genomes, each network once.

    Source: Bergstra & Bengio, "Random search for hyper-parameter optimization", JMLR 13, 2012; Li & Talwalkar, UAI
        2019.
    """

    def __init__(self, problem: Problem, *, seed: int) -> None:
        self._problem = problem
        self._seed = seed
        self._seen = Seen(problem)

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Up to `n` networks that were not told and are not out."""
        rng = stream(self._seed, "strategies.ask", len(self._seen))
        return self._seen.unseen(n, rng, self._seen.out(pending))

    def tell(
        self, archs: Archs, costs: Costs, violations: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None
    ) -> None:
        """Remember what was seen."""
        self._seen.add(whole(archs))


STRATEGY = RandomSearch
