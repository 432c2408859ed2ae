"""Batches of small directed acyclic graphs: what lies on a path, and one order of nodes for isomorphic graphs.

A batch is a matrix of edges `(n, k, k)`: `edges[r, i, j]` is 0 where graph `r` has no edge from node `i` to node `j`,
and otherwise the label of that edge. Edges lead from lower to higher nodes; node 0 is the source, node `k - 1` the
sink.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Colours = NDArray[np.uint64]

#: Rounds of refinement for all graphs; the few whose nodes are still alike go on one by one.
_ROUNDS = 3
#: Rows at a time.
_CHUNK = 1024
#: Odd constants without meaning, of the generator splitmix64.
_FIRST, _SECOND, _THIRD = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def reached(edges: Ints) -> Bools:
    """`(n, k)`: nodes to which a path leads from the source; the source is one."""
    found = np.zeros(edges.shape[:2], dtype=np.bool_)
    found[:, 0] = True
    for node in range(1, edges.shape[1]):
        found[:, node] = ((edges[:, :node, node] != 0) & found[:, :node]).any(axis=1)
    return found


def reaching(edges: Ints) -> Bools:
    """`(n, k)`: nodes from which a path leads to the sink; the sink is one."""
    found = np.zeros(edges.shape[:2], dtype=np.bool_)
    found[:, -1] = True
    for node in reversed(range(edges.shape[1] - 1)):
        found[:, node] = ((edges[:, node, node + 1 :] != 0) & found[:, node + 1 :]).any(axis=1)
    return found


def live(edges: Ints) -> Bools:
    """`(n, k)`: nodes on a path from the source to the sink."""
    return np.asarray(reached(edges) & reaching(edges))


def pruned(edges: Ints) -> Ints:
    """The edges on a path from the source to the sink, `(n, k, k)`; all others are 0."""
    on = live(edges)
    return np.where(on[:, :, None] & on[:, None, :], edges, 0)


def settable(edges: Ints) -> Bools:
    """`(n, k, k)`: False for edges that may be added and taken away, all of them at once, and no path changes.

    Those are the edges that leave nodes which the source does not reach, and those between nodes that it reaches into
    ones that lead nowhere. An edge from a node that is reached into one that is not is settable: it may open a path.
    """
    come, go = reached(edges), reaching(edges)
    return np.asarray(come[:, :, None] & ~(come & ~go)[:, None, :])


def longest(weights: Floats, edges: Ints) -> Floats:
    """`(n,)`: the largest sum of weights `(n, k, k)` along a path from the source to the sink; 0 without a path."""
    far = _farthest(weights, edges)[:, -1]
    return np.where(np.isfinite(far), far, 0.0)


def paths(weights: Floats) -> Floats:
    """`(n,)`: the sum over all paths from the source to the sink of the product of their weights `(n, k, k)`."""
    count = np.zeros(weights.shape[:2])
    count[:, 0] = 1.0
    for node in range(1, weights.shape[1]):
        count[:, node] = (weights[:, :node, node] * count[:, :node]).sum(axis=1)
    return np.asarray(count[:, -1])


def canonical_order(labels: Ints, edges: Ints) -> Ints:
    """An order of the nodes in which isomorphic graphs are equal, `(n, k)`: place `p` holds node `order[:, p]`.

    Nodes are coloured by what they are, read and feed until few are alike, and ordered by depth and colour (Weisfeiler
    & Leman, 1968). Where nodes stay alike each is tried in turn, and the least of the graphs that result is kept
    (individualisation and refinement: McKay, "Practical graph isomorphism", Congressus Numerantium 30, 1981); so the
    order is exact, whatever the colours. Nodes that read the same and feed the same are not told apart.

    Args:
        labels: `(n, k)`, what the nodes are.
        edges: `(n, k, k)`, pruned: no edge that is on no path.

    Returns:
        An order along the edges: the source, the live nodes, those without edges, the sink.
    """
    groups = _groups(edges)
    colours = _mixed(labels.astype(np.uint64) * _FIRST + groups.astype(np.uint64))
    multipliers = _multipliers(edges)
    for _ in range(_ROUNDS):
        colours = _refined(colours, multipliers)
    order = np.lexsort((colours, groups), axis=-1)
    key = np.take_along_axis(groups, order, axis=1)
    colour = np.take_along_axis(colours, order, axis=1)
    alike = (key[:, 1:] == key[:, :-1]) & (colour[:, 1:] == colour[:, :-1]) & (key[:, 1:] < edges.shape[1])
    for row in np.flatnonzero(alike.any(axis=1)):
        order[row] = _least(colours[row], groups[row], labels[row], edges[row])[1]
    return order


def in_chunks(function: Callable[[Ints], Any], archs: Ints) -> Any:
    """What a function says of rows `(n, d)`, asked for as many at a time as fit into a processor's cache."""
    parts = [function(archs[start : start + _CHUNK]) for start in range(0, max(len(archs), 1), _CHUNK)]
    return np.concatenate(parts)


def _farthest(weights: Floats, edges: Ints) -> Floats:
    far = np.full(edges.shape[:2], -np.inf)
    far[:, 0] = 0.0
    for node in range(1, edges.shape[1]):
        steps = np.where(edges[:, :node, node] != 0, far[:, :node] + weights[:, :node, node], -np.inf)
        far[:, node] = steps.max(axis=1)
    return far


def _groups(edges: Ints) -> Ints:
    """Depth of live nodes; `k` for those without edges, more for the sink."""
    nodes = edges.shape[1]
    far = _farthest(np.ones(edges.shape), edges)
    groups = np.where(np.isfinite(far), far, nodes).astype(np.int64)
    groups[:, -1] = nodes + 1
    return groups


def _mixed(numbers: Colours) -> Colours:
    """Numbers scattered over 64 bits, equal for equal ones.

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17.
    """
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _SECOND
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _THIRD
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _multipliers(edges: Ints) -> Colours:
    scattered = _mixed(edges.astype(np.uint64) * _FIRST) | np.uint64(1)
    return np.where(edges != 0, scattered, np.uint64(0))


def _refined(colours: Colours, multipliers: Colours) -> Colours:
    """Colours of what nodes are, read and feed."""
    senders = _mixed(colours + _SECOND)
    read = np.einsum("...i,...ij->...j", senders, multipliers)
    fed = np.einsum("...j,...ij->...i", senders, multipliers)
    return _mixed(colours * _FIRST + _mixed(read + _THIRD) + _mixed(fed * _SECOND + _FIRST))


def _least(colours: Colours, groups: Ints, labels: Ints, edges: Ints) -> tuple[bytes, Ints]:
    """The least graph among all orders that the colours leave open, as bytes, and its order `(k,)`."""
    multipliers = _multipliers(edges)
    count = len(np.unique(colours))
    for _ in range(len(colours)):
        colours = _refined(colours, multipliers)
        before, count = count, len(np.unique(colours))
        if count == before:
            break
    open_class = next(_classes(colours, groups, labels, edges), None)
    if open_class is None:
        order = np.lexsort((colours, groups))
        return labels[order].tobytes() + edges[np.ix_(order, order)].tobytes(), order
    found = []
    for node in open_class:
        marked = colours.copy()
        marked[node] = _mixed(marked[node : node + 1] + _THIRD)[0]
        found.append(_least(marked, groups, labels, edges))
    return min(found, key=lambda pair: pair[0])


def _classes(colours: Colours, groups: Ints, labels: Ints, edges: Ints) -> Iterator[list[int]]:
    """Nodes that are alike and yet differ in what they read or feed, one of each kind, by depth and colour."""
    alike: dict[tuple[int, int], dict[bytes, int]] = defaultdict(dict)
    for node in np.flatnonzero(groups < len(groups)):
        kind = labels[node].tobytes() + edges[node].tobytes() + edges[:, node].tobytes()
        alike[int(groups[node]), int(colours[node])].setdefault(kind, int(node))
    return (list(alike[key].values()) for key in sorted(alike) if len(alike[key]) > 1)
