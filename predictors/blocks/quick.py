"""Sums along the one way through each of many networks, a look-up for some places at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.blocks.contexts import LOWEST, Contexts
from predictors.blocks.places import Archs, Place
from predictors.blocks.segments import Segment, joined, segment
from predictors.genes import flat_index, strides

Floats = NDArray[np.float64]

#: Most numbers of the sums of one segment.
_MOST_SUMS = 120_000


@dataclass(frozen=True)
class _Step:
    """A segment as flat tables.

    Attributes:
        genes: that decide it.
        strides: of each gene's option in the tables.
        forward: `(options * sets,)`: the set of edges behind it by the set before it, as numbers of `Quick.sets`.
        back: `(options * edges,)`: edges before it that lead to the one behind it, as bits.
        sums: `(options * edges * edges, q)`.
    """

    genes: tuple[int, ...]
    strides: tuple[int, ...]
    forward: NDArray[np.int64]
    back: NDArray[np.int64]
    sums: Floats


@dataclass(frozen=True)
class Quick:
    """All segments of a space.

    Attributes:
        steps: in order.
        sets: sets of edges that networks can be at, as bits; the first is that before the first block.
        edges: their number.
        end: the edge behind the last block.
    """

    steps: tuple[_Step, ...]
    sets: NDArray[np.int64]
    edges: int
    end: int

    @staticmethod
    def of(places: Sequence[Place], contexts: Contexts, columns: Floats, choices: tuple[int, ...]) -> Quick:
        """Tables of a space's places; `columns` is `(entries, q)`."""
        edges = contexts.entries.shape[1]
        most = max(_MOST_SUMS // (edges * edges * columns.shape[1]), 1)
        groups = joined(places, choices, most=most)
        segments = [segment(group, contexts, columns, choices) for group in groups]
        number = {1 << contexts.start: 0}
        steps = []
        behind = {1 << contexts.start}
        for one in segments:
            forward, behind = _forward(one, behind, number)
            steps.append((one, forward))
        return Quick(
            tuple(_flat(one, forward, number) for one, forward in steps),
            np.array(list(number), dtype=np.int64),
            edges,
            contexts.end,
        )

    def totals(self, archs: Archs) -> tuple[Floats, NDArray[np.bool_]]:
        """Sums of genomes `(n, d)`, `(n, q)`, and whether there is a way through each, `(n,)`."""
        by_gene = np.ascontiguousarray(archs.T)
        at: Any = np.zeros(len(archs), dtype=np.int64)
        before, options = [], []
        for step in self.steps:
            index = flat_index(by_gene, step.genes, step.strides)
            before.append(at)
            options.append(index)
            at = step.forward[index * len(self.sets) + at]
        ways = np.asarray((self.sets[at] >> self.end) & 1, dtype=np.bool_)
        edge: Any = np.full(len(archs), self.end, dtype=np.int64)
        found = np.zeros((len(archs), self.steps[0].sums.shape[1]))
        for step, at, index in zip(reversed(self.steps), reversed(before), reversed(options), strict=True):
            if self.edges > 1:
                bits = step.back[index * self.edges + edge] & self.sets[at]
                chosen = LOWEST[bits]
            else:
                chosen = edge
            found += step.sums[(index * self.edges + chosen) * self.edges + edge]
            edge = chosen
        return found, ways


def _forward(one: Segment, before: set[int], number: dict[int, int]) -> tuple[dict[int, NDArray[np.int64]], set[int]]:
    """Behind a segment, for each set of edges before it and each combination of options; new sets get numbers."""
    edges = one.moves.shape[-1]
    bits = 1 << np.arange(edges)
    reached = ((one.moves > 0) * bits).sum(axis=-1).reshape(-1, edges).astype(np.int64)
    found, behind = {}, set()
    for edge_set in before:
        members = [edge for edge in range(edges) if edge_set >> edge & 1]
        after = np.bitwise_or.reduce(reached[:, members], axis=1) if members else np.zeros(len(reached), dtype=np.int64)
        for value in np.unique(after).tolist():
            number.setdefault(value, len(number))
            behind.add(value)
        found[edge_set] = np.array([number[value] for value in after.tolist()], dtype=np.int64)
    return found, behind


def _flat(one: Segment, forward: dict[int, NDArray[np.int64]], number: dict[int, int]) -> _Step:
    options = one.moves.shape[:-2]
    edges, combinations = one.moves.shape[-1], int(np.prod(options))
    table = np.zeros((combinations, len(number)), dtype=np.int64)
    for edge_set, behind in forward.items():  # others are never before this segment
        table[:, number[edge_set]] = behind
    bits = (1 << np.arange(edges))[:, None]
    back = ((one.moves.reshape(combinations, edges, edges) > 0) * bits).sum(axis=1).astype(np.int64)
    return _Step(
        one.genes, strides(options), table.reshape(-1), back.reshape(-1), one.sums.reshape(-1, one.sums.shape[-1])
    )
