"""Phases of Genetic-CNN networks: graphs of a few nodes, as numbers; one number for isomorphic graphs.

A phase has nodes 1 to `n`, and a bit for each pair of them: whether the later one reads the earlier one. The bits are
ordered by the later node, then by the earlier: 1-2, 1-3, 2-3, 1-4, ... A phase's code is the number that they write,
the first bit leading.

Source: Xie & Yuille, "Genetic CNN", ICCV 2017, section 3.1.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats

Ints = NDArray[np.int64]

#: All phases of this many nodes, 2^21, are tabulated in about a second; of one more it would be 2^28.
MOST_NODES = 7
#: Numbers that `structure` gives of a phase.
STRUCTURE = 8


def pairs(nodes: int) -> list[tuple[int, int]]:
    """Earlier and later node of each bit, counted from 0."""
    return [(source, target) for target in range(nodes) for source in range(target)]


def codes(bits: Ints) -> Ints:
    """`(...)`: the codes of phases given as bits `(..., n (n - 1) / 2)`."""
    return np.asarray(bits @ (1 << np.arange(bits.shape[-1] - 1, -1, -1)), dtype=np.int64)


def bits(phases: Ints, nodes: int) -> Ints:
    """`(..., n (n - 1) / 2)`: the bits of phases given as codes."""
    return np.asarray(phases[..., None] >> np.arange(len(pairs(nodes)) - 1, -1, -1) & 1, dtype=np.int64)


def edges(phases: Ints, nodes: int) -> NDArray[np.bool_]:
    """`(m, nodes, nodes)`: whether the second node reads the first, of codes `(m,)`."""
    found = np.zeros((len(phases), nodes, nodes), dtype=np.bool_)
    sources, targets = np.array(pairs(nodes)).T
    found[:, sources, targets] = bits(phases, nodes)
    return found


@cache
def representatives(nodes: int) -> NDArray[np.int32]:
    """Of each code the greatest code of an isomorphic phase, `(2^(n (n - 1) / 2),)`.

    The orders of the nodes of one graph in which each node reads earlier ones are all reached from one another by
    exchanges of neighbours that are not joined by an edge; so codes are joined by those until nothing changes, which is
    exact. Nodes without edges come last in the greatest code.
    """
    place = {pair: number for number, pair in enumerate(reversed(pairs(nodes)))}
    every = np.arange(1 << len(place), dtype=np.int32)
    exchanges = []
    for node in range(nodes - 1):
        free = every[every >> place[node, node + 1] & 1 == 0]
        swapped = np.zeros_like(free)
        for (source, target), old in place.items():
            moved = sorted({node: node + 1, node + 1: node}.get(end, end) for end in (source, target))
            swapped |= (free >> old & 1) << place[moved[0], moved[1]]
        exchanges.append((free, swapped))
    found = every.copy()
    while True:
        before = found.copy()
        for free, swapped in exchanges:
            found[free] = np.maximum(found[free], found[swapped])
        if np.array_equal(found, before):
            return found


def structure(phases: Ints, nodes: int) -> Floats:
    """Counts of phases given as codes `(m,)`, `(m, 8)`, equal for isomorphic ones.

    Nodes with an edge; edges; nodes that read the phase's input; nodes that its output reads; nodes that read several
    others; edges into those; nodes on the longest path; paths from the input to the output. A phase without an edge is
    a single node.
    """
    on = edges(phases, nodes)
    reading, read = on.sum(axis=1), on.sum(axis=2)
    first, last = (reading == 0) & (read > 0), (read == 0) & (reading > 0)
    depth, paths = np.zeros(reading.shape), first.astype(np.float64)
    for node in range(nodes):
        depth[:, node] = 1 + np.where(on[:, :, node], depth, 0).max(axis=1)
        paths[:, node] += np.where(on[:, :, node], paths, 0).sum(axis=1)
    several = reading > 1
    found = np.stack(
        [
            ((reading > 0) | (read > 0)).sum(axis=1),
            reading.sum(axis=1),
            first.sum(axis=1),
            last.sum(axis=1),
            several.sum(axis=1),
            (reading * several).sum(axis=1),
            depth.max(axis=1, initial=0),
            (paths * last).sum(axis=1),
        ],
        axis=1,
    ).astype(np.float64)
    found[phases == 0] = (1, 0, 1, 1, 0, 0, 1, 1)
    return found
