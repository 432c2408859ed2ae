"""Batches of NASNet-like cells: one row for isomorphic cells, and what is counted of them.

A cell reads two states, 0 (the output of the cell before the last) and 1 (of the last one). Each of its nodes is the
sum of two edges, and an edge is an operator on an earlier state: node `k` is state `k + 2` and reads states 0 to
`k + 1`. The output of a cell is the concatenation of its nodes: of all, or of those that no other node reads.

A batch of cells is two arrays `(n, nodes, 2)`: the state that each edge reads, and its operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: More than any key of a cell (at most 54 edges, 54^10 = 2e17), and five of it are less than 2^63.
_NEVER = 10**18
#: Rows at a time, so that the columns fit into a processor's cache.
_CHUNK = 8192
#: Cells up to which all orders of one at once are quicker than all cells in one order.
_FEW = 8


@dataclass(frozen=True)
class Cells:
    """Cells of one kind.

    Attributes:
        sources: `(n, nodes, 2)`, the state that each edge reads.
        operators: `(n, nodes, 2)`, indices of operators.
        gives_all: whether the output has all nodes, and not only those that no other reads.
    """

    sources: Ints
    operators: Ints
    gives_all: bool

    @property
    def nodes(self) -> int:
        """Nodes of each cell."""
        return int(self.sources.shape[1])


def ordered(cells: Cells, operators: int) -> Cells:
    """The cells with edges and nodes in the one order in which isomorphic cells are equal.

    Two cells are isomorphic if another order of nodes, and of the two edges of each, makes them equal; the network then
    computes the same with the channels of its weights in another order. The two edges of a node are sorted by state and
    operator, and of all orders of nodes in which a node reads earlier ones that with the least edges, node by node, is
    taken. All orders are tried (24 of four nodes, 120 of five), so this is exact.

    Args:
        cells: in any order.
        operators: number of operators.
    """
    kinds = (cells.nodes + 1) * operators
    edges = cells.sources * operators + cells.operators
    codes = edges[:, :, 0] * kinds + edges[:, :, 1]
    keys = np.empty(len(codes), dtype=np.int64)
    for start in range(0, len(codes), _CHUNK):
        keys[start : start + _CHUNK] = _least(codes[start : start + _CHUNK], operators)
    place = (kinds * kinds) ** np.arange(cells.nodes - 1, -1, -1, dtype=np.int64)
    codes = keys[:, None] // place % (kinds * kinds)
    edges = np.stack([codes // kinds, codes % kinds], axis=2)
    return Cells(edges // operators, edges % operators, cells.gives_all)


def outputs(cells: Cells) -> Bools:
    """`(n, nodes)`: nodes of which the output is made."""
    if cells.gives_all:
        return np.ones(cells.sources.shape[:2], dtype=np.bool_)
    states = np.arange(2, cells.nodes + 2)
    return np.asarray((cells.sources[:, :, :, None] != states).all(axis=(1, 2)))


def reads(cells: Cells) -> Bools:
    """`(n, 2)`: whether a cell reads each of its two inputs."""
    return np.asarray((cells.sources[:, :, :, None] == np.arange(2)).any(axis=(1, 2)))


def counts(cells: Cells, operators: int) -> Ints:
    """`(n, 2, operators)`: edges with each operator that read another node, and that read one of the inputs."""
    outside = (cells.sources < 2).astype(np.int64)
    found = np.zeros((len(cells.sources), 2, operators), dtype=np.int64)
    rows = np.arange(len(cells.sources))
    for node in range(cells.nodes):
        for edge in range(2):
            found[rows, outside[:, node, edge], cells.operators[:, node, edge]] += 1
    return found


def structure(cells: Cells, sights: tuple[int, ...]) -> Floats:
    """Shape of cells, `(n, 8)`, the same in any order of nodes and edges.

    Edges that read input 0, edges that read input 1, nodes in the output; the longest path in nodes, its mean over the
    nodes in the output; how far the cell sees along a path, in pixels to both sides, and its mean over those nodes; the
    number of paths from the inputs to the output.

    Args:
        cells: `n` cells.
        sights: pixels on a line that each operator's output depends on, 1 for a skip.
    """
    count, nodes = cells.sources.shape[:2]
    rows = np.arange(count)
    reach = np.array(sights, dtype=np.float64) - 1
    depth, sight, paths = (np.zeros((count, nodes + 2)) for _ in range(3))
    paths[:, :2] = 1
    for node in range(nodes):
        first, second = cells.sources[:, node].T
        depth[:, node + 2] = 1 + np.maximum(depth[rows, first], depth[rows, second])
        seen = sight[rows[:, None], cells.sources[:, node]] + reach[cells.operators[:, node]]
        sight[:, node + 2] = seen.max(axis=1)
        paths[:, node + 2] = paths[rows, first] + paths[rows, second]
    last = outputs(cells)
    total = last.sum(axis=1)
    found = [(cells.sources == 0).sum(axis=(1, 2)), (cells.sources == 1).sum(axis=(1, 2)), total]
    for values in (depth[:, 2:], sight[:, 2:]):
        found += [values.max(axis=1), (values * last).sum(axis=1) / total]
    return np.stack([*found, (paths[:, 2:] * last).sum(axis=1)], axis=1).astype(np.float64)


def _least(codes: Ints, operators: int) -> Ints:
    """`(n,)`: the least key among all orders of the nodes, of codes `(n, nodes)`."""
    if len(codes) <= _FEW:
        orders, whole = _tables(codes.shape[1], operators)
        places = np.arange(codes.shape[1])
        keys = [whole[np.arange(len(orders))[:, None], places, row[orders]].sum(axis=1).min() for row in codes]
        return np.array(keys, dtype=np.int64)
    columns = np.ascontiguousarray(codes.T)
    best = np.full(len(codes), np.iinfo(np.int64).max)
    for order, tables in _orders(codes.shape[1], operators):
        key = tables[0][columns[order[0]]]
        for node, table in zip(order[1:], tables[1:], strict=True):
            key += table[columns[node]]
        np.minimum(best, key, out=best)
    return best


@cache
def _tables(nodes: int, operators: int) -> tuple[Ints, Ints]:
    """All orders of the nodes, `(orders, nodes)`, and what codes add in each, `(orders, nodes, codes)`."""
    orders, tables = zip(*_orders(nodes, operators), strict=True)
    return np.array(orders), np.stack(tables)


@cache
def _orders(nodes: int, operators: int) -> tuple[tuple[tuple[int, ...], Ints], ...]:
    """Each order of the nodes, and `(nodes, codes)`: what a node's code adds to the key at each place of that order."""
    kinds = (nodes + 1) * operators
    codes = np.arange(kinds * kinds)
    edges = np.stack([codes // kinds, codes % kinds])
    found = []
    for order in permutations(range(nodes)):
        label = np.concatenate([[0, 1], 2 + np.argsort(order)])
        sources = label[edges // operators]
        relabelled = np.sort(sources * operators + edges % operators, axis=0)
        whole = relabelled[0] * kinds + relabelled[1]
        rows = [
            np.where((sources < place + 2).all(axis=0), whole * (kinds * kinds) ** (nodes - 1 - place), _NEVER)
            for place in range(nodes)
        ]
        found.append((order, np.stack(rows)))
    return tuple(found)
