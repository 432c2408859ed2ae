"""Non-dominated sorting crisscross: both crossovers of the crisscross optimiser, and survival of the best of all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas import crisscross, directions, niching, selection
from nas.archive import Seen
from nas.history import checked
from nas.strategies.protocol import Archs, Costs, Problem

#: Up to so many objectives survivors are chosen by crowding distance, which says little beyond.
CROWDING_UP_TO = 3


class Nsca:
    """Non-dominated sorting crisscross algorithm.

    Survivors are shuffled and paired; half of the children come from horizontal crossover between the two of a pair,
    half from vertical crossover between the genes of one. Instead of a competition of each child with its parent, all
    parents and children of both kinds are merged, sorted and truncated. As in `nsga2`, generations are not waited for.

    Source: Meng et al., "Crisscross optimization algorithm and its application", Knowledge-Based Systems 67, 2014; for
        architectures Chen, Lan, He & Cai, Mathematics 13(8):1258, 2025, of which the proxy model and the variable
        length are not here; survival by Deb et al., IEEE TEVC 6(2), 2002, section III-C, or Deb & Jain, IEEE TEVC
        18(4), 2014, section IV.

    Args:
        problem: what is searched.
        seed: of all randomness.
        population: survivors, at least 4; until so many were told, networks are random.
        vertical: probability that a pair of genes is crossed in vertical crossover, above 0 and up to 1.
        spill: how readily horizontal crossover resets categories, at least 0; see `nas.crisscross.horizontal`.
        selection: who survives of the last rank: `crowding`, `directions` (about as many as survivors), or None for
            crowding up to three objectives and directions beyond.

    Raises:
        UsageError: a setting is out of its range.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        population: int = 16,
        vertical: float = 0.8,
        spill: float = 1.0,
        selection: str | None = None,
    ) -> None:
        if population < 4 or not 0 < vertical <= 1 or not 0 <= spill < np.inf:
            raise UsageError(
                "nsca needs population >= 4, vertical above 0 and up to 1, and spill >= 0, "
                f"got {population}, {vertical}, {spill}"
            )
        if selection not in (None, "crowding", "directions"):
            raise UsageError(f"nsca has no selection {selection!r}", hint="Selections: crowding, directions.")
        if selection is None:
            selection = "crowding" if problem.objectives <= CROWDING_UP_TO else "directions"
        self._problem = problem
        self._seed = seed
        self._size = population
        self._vertical = vertical
        self._spill = spill
        self._directions = directions.spread(problem.objectives, population) if selection == "directions" else None
        self._frame = niching.start(problem.objectives)
        self._seen = Seen(problem)
        self._tells = 0
        self._archs: Archs = np.empty((0, len(problem.choices)), dtype=np.int64)
        self._costs: Costs = np.empty((0, problem.objectives))
        self._violations: NDArray[np.float64] = np.empty(0)

    def ask(self, n: int) -> Archs:
        """Children of the survivors, or random networks as long as there are too few."""
        rng = np.random.default_rng([self._seed, len(self._seen), self._tells])
        taken: set[bytes] = set()
        first = self._seen.unseen(min(n, max(self._size - len(self._seen), 0)), rng, taken)
        able = self._archs[np.isfinite(self._costs).all(axis=1)]
        make = (lambda count: self._children(count, able, rng)) if len(able) else None
        return np.concatenate([first, self._seen.offspring(n - len(first), rng, taken, make)])

    def tell(self, archs: Archs, costs: Costs, violations: NDArray[np.float64] | None = None) -> None:
        """Survivors of the last ones and these."""
        rows, values, amounts = checked(self._problem, archs, costs, violations)
        self._seen.add(rows)
        self._tells += 1
        everyone = np.concatenate([self._archs, rows])
        values = np.concatenate([self._costs, values])
        amounts = np.concatenate([self._violations, amounts])
        kept = self._survivors(values, amounts)
        self._archs, self._costs, self._violations = everyone[kept], values[kept], amounts[kept]

    def _survivors(self, costs: Costs, violations: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of those that survive, better ranks first."""
        if self._directions is None:
            return selection.survivors(costs, violations, self._size).rows
        rng = np.random.default_rng([self._seed, len(self._seen), self._tells, 1])
        kept = niching.survivors(costs, violations, self._size, self._directions, self._frame, rng)
        self._frame = kept.frame
        return kept.rows

    def _children(self, count: int, able: Archs, rng: np.random.Generator) -> Archs:
        """Children of both crossovers in turn; failures (all but `able`) do not take part."""
        shuffles = -(-2 * count // len(able))
        line = able[np.concatenate([rng.permutation(len(able)) for _ in range(shuffles)])[: 2 * count]]
        first, second = line[0::2], line[1::2]
        found = crisscross.horizontal(first, second, self._problem, rng, spill=self._spill)
        if crisscross.crosses_vertically(self._problem):
            found[::2] = crisscross.vertical(first[::2], self._problem, rng, rate=self._vertical)
        return found


STRATEGY = Nsca
