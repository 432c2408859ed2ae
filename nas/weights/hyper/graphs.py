"""The graph of a network: operators as nodes, how far each is from those before it, and the parameters to be made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.weights.hyper.tracing import OPERATORS, WEIGHT, Node, Traced
from profiler.assembly import INPUT, Assembly

#: Nodes that are farther apart have no virtual edge. Source: Knyazev et al., NeurIPS 2021, section 4.2.
FARTHEST = 50
#: These give values that are rectified where all that they read is.
_KEEP = ("max pool", "average pool", "mean", "concatenation")


@dataclass(frozen=True)
class Slot:
    """A parameter that weights are made for.

    Attributes:
        block: number of the block in the assembly.
        name: in the block.
        shape: of it.
        role: one of `nas.weights.hyper.tracing.ROLES`.
        node: whose it is.
        gain: square of the gain that its weights need: 2 where all that it reads is rectified, else 1.
    """

    block: int
    name: str
    shape: tuple[int, ...]
    role: str
    node: int
    gain: float

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """As a kernel: channels out, channels in, height, width; of other numbers of axes, what is left is 1."""
        first, second, third, *rest = (*self.shape, 1, 1, 1)[: max(4, len(self.shape))]
        return first, second, third, math.prod(rest)


@dataclass(frozen=True, eq=False)
class Graph:
    """A network.

    Attributes:
        operators: `(n,)`, numbers in `OPERATORS`; the first is the input.
        distances: `(n, n)`, edges of the shortest path from the node of the column to that of the row, at most
            `FARTHEST`; 0 where there is none.
        slots: all parameters, in the order of the blocks.
        reads: for each block the numbers of the blocks that it reads, -1 for the network's input.
        blocks: for each block the operators in it, as numbers in `OPERATORS`.
    """

    operators: NDArray[np.int64]
    distances: NDArray[np.int64]
    slots: tuple[Slot, ...]
    reads: tuple[tuple[int, ...], ...]
    blocks: tuple[tuple[int, ...], ...]

    @cached_property
    def forward(self) -> Order:
        """From the input on."""
        return _ordered(self.distances, range(len(self.distances)))

    @cached_property
    def backward(self) -> Order:
        """From the outputs back."""
        return _ordered(self.distances.T, reversed(range(len(self.distances))))


@dataclass(frozen=True, eq=False)
class Order:
    """Nodes in an order in which each comes after those that it hears of; those of one level do not hear of each other.

    Attributes:
        nodes: `(n,)`, the nodes.
        ends: of levels, places in `nodes`.
        distances: `(n, n)`, as in `Graph`, rows and columns in this order.
    """

    nodes: NDArray[np.int64]
    ends: tuple[int, ...]
    distances: NDArray[np.int64]


def joined(assembly: Assembly, traced: Sequence[Traced]) -> Graph:
    """The graph of a network, from what was traced of its blocks."""
    number = {block.name: place for place, block in enumerate(assembly.blocks)}
    nodes, slots = [Node("input", ())], list[Slot]()
    rectified = [False]
    gives: dict[str, tuple[int, ...]] = {INPUT: (0,)}
    for place, (block, one) in enumerate(zip(assembly.blocks, traced, strict=True)):
        start, inputs = len(nodes), [gives[name] for name in block.inputs]

        def there(reads: tuple[int, ...], start: int = start, inputs: list[tuple[int, ...]] = inputs) -> list[int]:
            """Nodes of the network, from numbers within the block."""
            return sorted({to for read in reads for to in (inputs[-1 - read] if read < 0 else (start + read,))})

        for node in one.nodes:
            reads = there(node.reads)
            curbed = bool(reads) and all(rectified[read] for read in reads)
            for kept in node.parameters:
                gain = 2.0 if curbed and kept.role == WEIGHT else 1.0
                slots.append(Slot(place, kept.name, kept.shape, kept.role, len(nodes), gain))
            rectified.append(node.operator == "rectifier" or (node.operator in _KEEP and curbed))
            nodes.append(Node(node.operator, tuple(reads)))
        gives[block.name] = tuple(there(one.gives))
    return Graph(
        np.array([OPERATORS.index(node.operator) for node in nodes]),
        _distances(nodes),
        tuple(slots),
        tuple(tuple(number.get(name, -1) for name in block.inputs) for block in assembly.blocks),
        tuple(tuple(OPERATORS.index(node.operator) for node in one.nodes) for one in traced),
    )


def _distances(nodes: Sequence[Node]) -> NDArray[np.int64]:
    """Shortest paths along the edges, `(n, n)`, from the node of the column to that of the row; 0 is none."""
    far = np.full((len(nodes), len(nodes)), FARTHEST + 1, dtype=np.int64)
    for place, node in enumerate(nodes):
        if node.reads:
            far[place] = far[list(node.reads)].min(axis=0) + 1
        far[place, place] = 0
    return np.where(far > FARTHEST, 0, far)


def _ordered(distances: NDArray[np.int64], places: Iterable[int]) -> Order:
    """Levels of nodes, of which `places` names each after those that it hears of."""
    level = np.zeros(len(distances), dtype=np.int64)
    for place in places:
        hears = np.flatnonzero(distances[place] == 1)
        level[place] = level[hears].max(initial=-1) + 1
    nodes = np.argsort(level, kind="stable")
    ends = tuple(np.cumsum(np.bincount(level)).tolist())
    return Order(nodes, ends, distances[np.ix_(nodes, nodes)])
