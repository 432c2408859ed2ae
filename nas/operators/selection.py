"""Who survives and who becomes a parent, by rank and crowding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.pareto import dominance

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Survivors:
    """Rows that survive.

    Attributes:
        rows: `(k,)` indices, better ranks first.
        ranks: `(k,)`, 0 for the front.
        crowding: `(k,)`, distance within the rank; 0 for failures.
    """

    rows: Ints
    ranks: Ints
    crowding: Floats


def survivors(costs: Floats, violations: Floats, count: int) -> Survivors:
    """The better of all by rank; the last rank that has no room for all of it gives the least crowded.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEVC 6(2), 2002, III-C.

    Args:
        costs: `(n, m)`; rows that are not finite are failures and come last.
        violations: `(n,)`, 0 where feasible.
        count: how many survive, if there are so many.
    """
    ranks = dominance.ranks(costs, violations)
    crowding = np.zeros(len(ranks))
    kept: list[Ints] = [np.empty(0, dtype=np.int64)]
    room = count
    for level in range(int(ranks.max(initial=-1)) + 1):
        front = np.flatnonzero(ranks == level)
        if len(front) == 0 or room <= 0:
            continue
        if np.isfinite(costs[front]).all():
            crowding[front] = dominance.crowding_distance(costs[front])
        if len(front) > room:
            front = front[np.argsort(-crowding[front], kind="stable")[:room]]
        kept.append(front)
        room -= len(front)
    rows = np.concatenate(kept)
    return Survivors(rows, ranks[rows], crowding[rows])


def tournaments(
    ranks: Ints, crowding: Floats, able: Ints, count: int, rng: np.random.Generator, *, size: int = 2
) -> Ints:
    """Winners of `count` tournaments: the lowest rank, then the largest crowding distance, then chance.

    Source: Deb et al., IEEE TEVC 6(2), 2002, III-B (crowded comparison), there of two.

    Args:
        ranks: `(n,)`.
        crowding: `(n,)`.
        able: `(a,)` indices of those that take part, at least one.
        count: of tournaments.
        rng: randomness.
        size: contestants of each, drawn with replacement.

    Returns:
        `(count,)` indices into `ranks`.
    """
    drawn = able[rng.integers(0, len(able), size=(count, size))]
    order = np.lexsort((rng.random((count, size)), -crowding[drawn], ranks[drawn]), axis=1)
    return np.asarray(drawn[np.arange(count), order[:, 0]])
