"""How often an unfolded cell has each operator, for many genomes at once; what is the same value is counted once.

A runtime computes pools of the same value once, wherever they stand, and so sums; two convolutions have weights of
their own. Each value is a number of 32 bits that follows from what it is made of: equal values have equal numbers, and
of others in one cell two are equal by chance in one of a million cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.spaces.motifs.cell import IDENTITY

Labels = NDArray[np.uint8]
Values = NDArray[np.uint32]

#: Primitives with weights come first, then two pools.
_WEIGHTED = np.arange(1, 4)
#: What is counted: nothing, one of everything, primitives with weights, pools of both kinds, sums.
COUNTED = 2 + len(_WEIGHTED) + 3
#: The lowest bits of a value say what it is, by primitive: a pool of either kind, or else 0; or a sum.
_MARKS, _SUM, _KIND = np.array((0, 0, 0, 0, 1, 2, 0), dtype=np.uint32), np.uint32(3), np.uint32(3)
#: Bits for the edges of a motif.
_ROOM = np.uint32(10)
_SHIFT, _ODD, _ENTRY = np.uint32(15), np.uint32(0x9E3779B1), np.uint32(0x94D049BB)


def tally(motifs: Labels, cell: Labels) -> Floats:
    """One, convolutions of each kind, and distinct max pools, mean pools and sums, `(n, 7)`, in one cell of each row.

    Args:
        motifs: primitives on the edges of motifs, `(pairs, m, n)`, in the order of the upper triangle of a matrix.
        cell: motifs on the edges of cells, from 1, `(pairs, n)`, likewise.
    """
    (pairs, m, n), rows = motifs.shape, np.arange(motifs.shape[2])
    motifs, through = _pruned(motifs)
    none = np.zeros((pairs, 1, n), dtype=np.uint8)
    labels, works = np.concatenate([none, motifs], axis=1), np.concatenate([none[0], through])
    cell, _ = _pruned(cell * works[cell, rows])
    uses = [(cell == number).sum(axis=0) for number in range(1, m + 1)]
    weighted = [((motifs == kind).sum(axis=0) * uses).sum(axis=0) for kind in _WEIGHTED]
    nodes, met = _nodes(len(cell)), list[Values]()
    terms: list[list[tuple[Any, Any]]] = [[] for _ in range(nodes)]
    given: Any = np.full((1, n), _ENTRY)
    for source in range(nodes - 1):
        edges = [_place(source, target, nodes) for target in range(source + 1, nodes)]
        own = (np.arange(source + 1, nodes, dtype=np.uint32)[:, None] << _ROOM) | np.uint32(source + 1)
        made = _motifs(labels[:, cell[edges], rows], given, own << _ROOM, met)
        for value, edge, target in zip(made, edges, range(source + 1, nodes), strict=True):
            terms[target].append((value[None], (cell[edge] != 0)[None]))
        given = _sum(terms[source + 1], met)
    ordered = np.sort(np.concatenate(met).T, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    kinds = ordered & _KIND
    return np.column_stack([np.ones(n), *weighted, *((kinds == kind).sum(axis=1) for kind in (1, 2, 3))])


def _pruned(labels: Labels) -> tuple[Labels, NDArray[np.bool_]]:
    """Labels without those of edges on no path, `(pairs, ...)`, and whether there is a path, `(...)`."""
    nodes = _nodes(len(labels))
    there = labels != 0
    come, go = np.zeros((2, nodes, *labels.shape[1:]), dtype=np.bool_)
    come[0] = go[-1] = True
    for node in range(1, nodes):
        for source in range(node):
            come[node] |= there[_place(source, node, nodes)] & come[source]
    for node in reversed(range(nodes - 1)):
        for target in range(node + 1, nodes):
            go[node] |= there[_place(node, target, nodes)] & go[target]
    sources, targets = np.triu_indices(nodes, 1)
    return labels * (come[sources] & go[targets]), come[-1]


def _nodes(pairs: int) -> int:
    """Nodes of a matrix with so many edges above its diagonal."""
    return int(1 + (1 + 8 * pairs) ** 0.5) // 2


def _place(source: int, target: int, nodes: int) -> int:
    """Of an edge in the order of the upper triangle of a matrix."""
    return source * (2 * nodes - source - 1) // 2 + target - source - 1


def _motifs(labels: Labels, entry: Values, own: Values, met: list[Values]) -> Values:
    """What motifs that read the same give, `(motifs, n)`.

    Args:
        labels: of their edges, pruned, `(pairs, motifs, n)`.
        entry: what they read, `(1, n)`.
        own: `(motifs, 1)`, a number of its own for each, which leaves room for its edges.
        met: values that are counted, which grow.
    """
    given: list[Any] = [entry]
    nodes = _nodes(len(labels))
    for node in range(1, nodes):
        terms = []
        for source in range(node):
            label = labels[_place(source, node, nodes)]
            mark = _MARKS[label]
            pools = mark != 0
            pooled = _marked(given[source] + mark, mark)
            met.append(np.where(pools, pooled, 0))
            weights = own | np.uint32((node << 3 | source) << 2)  # nobody else has them
            terms.append((np.where(pools, pooled, np.where(label == IDENTITY, given[source], weights)), label != 0))
        given.append(_sum(terms, met))
    return np.asarray(given[-1])


def _sum(terms: list[tuple[Any, Any]], met: list[Values]) -> Values:
    """The sum of the terms that are there, values and whether they are, in any order; 0 where none is."""
    (value, some), *more = terms
    value = np.where(some, value, 0)
    added = value * _ODD
    for term, there in more:
        added = np.where(there, added + term * _ODD, added)
        sums = there & some
        total = _marked(added, _SUM)
        met.append(np.where(sums, total, 0))
        value = np.where(sums, total, np.where(there, term, value))
        some = some | there
    return value


def _marked(values: Any, kind: Any) -> Any:
    """Scattered, with a kind in the lowest bits."""
    mixed = (values ^ (values >> _SHIFT)) * _ODD
    return ((mixed ^ (mixed >> _SHIFT)) & ~_KIND) | kind
