"""Networks whose genes of one kind move together: a coarse grid over a space."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np

from nas.arrays import Archs
from nas.spaces.protocol import Space
from nas.weights import extremes, kin

#: Most levels of a kind of genes at first, and fewest.
_MOST, _FEWEST = 5, 2


def skeletons(space: Space, count: int, rng: np.random.Generator) -> Archs:
    """About `count` networks `(n, d)`: the largest and the smallest, then those of the grid.

    Genes of one name without its numbers (`kernel1_1`, `kernel1_2`) are of one kind, and are all at one level: even
    steps through the options of ordered ones, the options themselves of others. Where the grid of all kinds has more
    than `count` networks, the kind with the most levels gets fewer, down to two; where it still has, some are drawn.

    Source: Yu et al., "BigNAS: scaling up neural architecture search with big single-stage models", ECCV 2020, section
        3.4: resolutions, depths, channels and kernels that are those of the whole network.

    Args:
        space: which.
        count: of networks, at least 1; beside the two ends.
        rng: draws.
    """
    stems = kin.stems(space)
    kinds = list(dict.fromkeys(stems))
    members = [[gene for gene, stem in enumerate(stems) if stem == kind] for kind in kinds]
    most = [max(space.choices[gene] for gene in group) for group in members]
    levels = [
        min(options, _MOST) if all(space.ordered[gene] for gene in group) else options
        for options, group in zip(most, members, strict=True)
    ]
    while prod(levels) > count and max(levels) > _FEWEST:
        levels[levels.index(max(levels))] -= 1
    if prod(levels) <= count:
        grid = np.array(list(itertools.product(*map(range, levels))), dtype=np.int64)
    else:
        grid = np.stack([rng.integers(level, size=count) for level in levels], axis=1)
    found = np.zeros((len(grid), len(space.choices)), dtype=np.int64)
    for kind, group in enumerate(members):
        share = grid[:, kind] / max(levels[kind] - 1, 1)
        for gene in group:
            found[:, gene] = np.rint(share * (space.choices[gene] - 1))
    ends = extremes.of(space)
    return np.concatenate([ends.largest[None], ends.smallest[None], found])
