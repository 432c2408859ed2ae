"""The mixed form of spaces of cells whose nodes are all given on: every edge reads all states by all operators.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, sections 2.1 and 2.2. There a node
    sums all edges; here it has the two edges of its genes, whose states and operators have gates of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from nas.arrays import Archs
from nas.spaces._nasnet import blocks, network
from nas.spaces._nasnet.cells import Cells
from nas.spaces._nasnet.network import REDUCTION, Skeleton
from nas.spaces.mixture import Mixture, Place, Term
from profiler.assembly import INPUT, Block

if TYPE_CHECKING:
    from torch import Tensor

    Gates = Sequence[Tensor]
    Read = Callable[[Archs, int], Archs]
    Arranged = Callable[[Archs, Gates], Gates]

#: Genes of an edge: the state that it reads, its operator.
_PER_EDGE = 2
_EDGES = 2


def mixture(skeleton: Skeleton, nodes: int, read: Read, arranged: Arranged) -> Mixture:
    """All networks side by side.

    Args:
        skeleton: of the space.
        nodes: of each cell.
        read: the state that the second edge of a node reads, by genes `(k, 2)` for both edges' states, and the node.
        arranged: see `Mixture`.
    """
    wide = network.STEM * skeleton.channels
    first = partial(blocks.stem, skeleton.image_channels, wide)
    places = [_fixed(Block("stem", f"nasnet stem {skeleton.image_channels}->{wide}", (INPUT,), first))]
    states, widths = ["stem", "stem"], [wide, wide]
    for layer in range(skeleton.layers):
        kind, channels = skeleton.kind(layer), skeleton.channels * skeleton.scale(layer)
        for place in range(2):
            entry = network.entry(skeleton, layer, place, widths[layer + place], channels)
            places.append(_fixed(Block(f"c{layer}p{place}", entry[0], (states[layer + place],), entry[1])))
        places += _cell(skeleton, nodes, read, f"c{layer}", channels, kind)
        states.append(places[-1].name)
        widths.append(nodes * channels)
    head = partial(blocks.head, widths[-1], skeleton.classes)
    places.append(_fixed(Block("head", f"nasnet head {widths[-1]}->{skeleton.classes}", (states[-1],), head)))
    return Mixture(tuple(places), arranged)


def _fixed(block: Block) -> Place:
    return Place(block.name, (Term(block.inputs, block),))


def _cell(skeleton: Skeleton, nodes: int, read: Read, prefix: str, channels: int, kind: int) -> list[Place]:
    places = []
    states = [f"{prefix}p0", f"{prefix}p1"]
    for node in range(nodes):
        genes = [_gene(nodes, kind, node, edge) for edge in range(_EDGES)]
        pairs = _pairs(node)
        second = read(pairs, node)
        for edge in range(_EDGES):
            terms = []
            for source, state in enumerate(states):
                chosen = np.array([[source]]) if edge == 0 else pairs[second == source]
                own = (genes[0],) if edge == 0 else (genes[0], genes[1])
                stride = 1 + (kind == REDUCTION and source < 2)
                for number, name in enumerate(skeleton.operators):
                    options = np.insert(chosen, chosen.shape[1], number, axis=1)
                    block = network.edge(skeleton.operators, name, f"{prefix}n{node}e{edge}", state, channels, stride)
                    terms.append(Term((state,), block, (*own, genes[edge] + 1), options))
            places.append(Place(f"{prefix}n{node}e{edge}", tuple(terms)))
        edges = (f"{prefix}n{node}e0", f"{prefix}n{node}e1")
        places.append(_fixed(Block(f"{prefix}n{node}", "nasnet add", edges, blocks.add)))
        states.append(f"{prefix}n{node}")
    out = Block(f"{prefix}out", f"nasnet concatenate {nodes}", tuple(states[2:]), blocks.concatenate)
    return [*places, _fixed(out)]


def _gene(nodes: int, kind: int, node: int, edge: int) -> int:
    """The gene for the state of an edge; that for its operator is the next."""
    return ((kind * nodes + node) * _EDGES + edge) * _PER_EDGE


def arrange(kinds: Sequence[Cells], ordered: Sequence[Cells], gates: Gates, read: Read) -> Gates:
    """Gates of the canonical genome, which gradients reach through those of the genome itself.

    Args:
        kinds: its cells, batches of one.
        ordered: those of the canonical genome.
        gates: per gene `(options,)`, 0 but for the options of the genome.
        read: see `mixture`.
    """
    found = list(gates)
    for kind, (cells, wanted) in enumerate(zip(kinds, ordered, strict=True)):
        nodes = cells.nodes
        for place, (node, edges) in enumerate(_order(cells, wanted)):
            weights = []
            for at, edge in enumerate(edges):
                old, new = _gene(nodes, kind, node, edge) + 1, _gene(nodes, kind, place, at) + 1
                weights.append(_state(gates, kind, cells, node, edge, read))
                operator = gates[old][int(cells.operators[0, node, edge])]
                found[new] = _unit(gates[new], int(wanted.operators[0, place, at])) * operator
            # The second edge's weight is a product with that of the first; so it is what is left of its own.
            for at, weight in enumerate((weights[0], weights[1] / weights[0])):
                new = _gene(nodes, kind, place, at)
                found[new] = _unit(gates[new], int(wanted.sources[0, place, at])) * weight
    return found


def _state(gates: Gates, kind: int, cells: Cells, node: int, edge: int, read: Read) -> Tensor:
    """The weight of the state that an edge reads: of the second edge by all pairs of states that lead to it."""
    first, second = (gates[_gene(cells.nodes, kind, node, one)] for one in range(_EDGES))
    source = int(cells.sources[0, node, edge])
    if edge == 0:
        return first[source]
    pairs = _pairs(node)
    chosen = pairs[read(pairs, node) == source]
    total: Tensor = (first[chosen[:, 0]] * second[chosen[:, 1]]).sum()
    return total


def _pairs(node: int) -> Archs:
    return np.array(list(np.ndindex(node + 2, node + 2)), dtype=np.int64)


def _unit(like: Tensor, place: int) -> Tensor:
    import torch

    return torch.nn.functional.one_hot(torch.tensor(place, device=like.device), len(like)).to(like.dtype)


def _order(cells: Cells, wanted: Cells) -> list[tuple[int, tuple[int, int]]]:
    """For each node of the ordered cell which node it was, and which edges its two were."""
    for order in permutations(range(cells.nodes)):
        label = [0, 1, *(2 + int(place) for place in np.argsort(order))]
        found = []
        for place, node in enumerate(order):
            edges = [(label[s], int(o)) for s, o in zip(cells.sources[0, node], cells.operators[0, node], strict=True)]
            aim = [(int(s), int(o)) for s, o in zip(wanted.sources[0, place], wanted.operators[0, place], strict=True)]
            if aim not in (edges, edges[::-1]):
                break
            found.append((node, (0, 1) if aim == edges else (1, 0)))
        else:
            return found
    raise AssertionError("an ordered cell is no order of its cell")
