"""The algebra of NAS-Bench-201 cells: what is alive, which cells are one network, what their structure is."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from itertools import product

import numpy as np
from numpy.typing import NDArray

#: Operators in the order of the genes.
OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV1, CONV3, POOL = range(5)

#: Edges `(source, target)` in the order of the cell's string; node 0 is the input, node 3 the output.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NODES = 4
SIZE = len(OPERATORS) ** len(EDGES)

Cell = tuple[int, ...]


def live_edges(cell: Cell) -> tuple[int, ...]:
    """Edges that lie on a path from the input to the output; all others change nothing."""
    from_input = {0}
    for edge, (source, target) in enumerate(EDGES):
        if cell[edge] != NONE and source in from_input:
            from_input.add(target)
    to_output = {NODES - 1}
    for edge in reversed(range(len(EDGES))):
        source, target = EDGES[edge]
        if cell[edge] != NONE and target in to_output:
            to_output.add(source)
    return tuple(e for e, (s, t) in enumerate(EDGES) if cell[e] != NONE and s in from_input and t in to_output)


def signature(cell: Cell) -> tuple[object, ...]:
    """What the output computes: equal signatures are equal functions of the input and the weights; () for a dead cell.

    Dead edges are gone, skips are merged into the sums that read them, and sums are unordered. Two uses of one
    convolution differ from two convolutions of the same input, so operators are coloured by what they read and by what
    reads them until the colours settle (Weisfeiler & Leman, 1968). NATS-Bench's unique string (Dong et al., TPAMI 2021,
    section 3.1) neither flattens sums nor drops what no output reads; it counts 6,466 classes.
    """
    alive = live_edges(cell)
    terms: list[list[int]] = [
        [-1],
        [],
        [],
        [],
    ]  # operators, by edge, whose outputs are summed in each node; -1 is the input
    for edge in alive:
        source, target = EDGES[edge]
        terms[target] += terms[source] if cell[edge] == SKIP else [edge]
    operators = [edge for edge in alive if cell[edge] != SKIP]
    reads = {edge: terms[EDGES[edge][0]] for edge in operators}
    colour: dict[int, object] = {edge: cell[edge] for edge in operators} | {-1: "x"}
    output = terms[NODES - 1]
    for _ in range(NODES):
        users: dict[int, list[str]] = {edge: [] for edge in colour}
        for edge in operators:
            for source in reads[edge]:
                users[source].append(f"{cell[edge]}{_text(colour[edge])}")
        for source in output:
            users[source].append("out")
        colour = {-1: "x"} | {
            # A pool has no weights: two pools of one sum are one pool, whoever reads them.
            edge: (
                cell[edge],
                *sorted(_text(colour[s]) for s in reads[edge]),
                *(() if cell[edge] == POOL else ("|", *sorted(users[edge]))),
            )
            for edge in operators
        }
    everything = sorted(_text(colour[edge]) for edge in operators if cell[edge] != POOL)
    return (*sorted(_text(colour[source]) for source in output), "/", *everything) if output else ()


def _text(colour: object) -> str:
    return str(_digest(repr(colour)))


@cache
def _digest(text: str) -> str:
    """A short stable name for a colour."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


@cache
def tables() -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For every cell by its number, `(15625,)`: its representative's number, and whether its output needs its input.

    The representative of a class is its cell of lowest number. Cells are numbered by their genes, the last fastest.
    """
    first: dict[tuple[object, ...], int] = {}
    representative = np.empty(SIZE, dtype=np.int64)
    valid = np.empty(SIZE, dtype=np.bool_)
    for number, cell in enumerate(product(range(len(OPERATORS)), repeat=len(EDGES))):
        key = signature(cell)
        representative[number] = first.setdefault(key, number)
        valid[number] = key != ()
    return representative, valid


@cache
def structure(cell: Cell) -> tuple[float, ...]:
    """What is known of a cell's accuracy before it is trained: few features, so that few networks teach much.

    Of the live edges skips, 3x3 convolutions and pools, those that leave the input, and pools among these. Over the
    live paths: least number of convolutions, largest number of 3x3 ones, means of convolutions, of 3x3 ones and of
    edges; paths of skips alone, paths with a 1x1 convolution, paths with pools and no convolution; largest and least
    growth of the receptive field. Last, whether the cell is dead; all others are 0 then.
    """
    alive = live_edges(cell)
    if not alive:
        return (*((0.0,) * (FEATURES - 1)), 1.0)
    paths = _paths(cell, set(alive))
    entering = [cell[edge] for edge in alive if EDGES[edge][0] == 0]
    convolutions = [sum(op in (CONV1, CONV3) for op in path) for path in paths]
    threes = [path.count(CONV3) for path in paths]
    fields = [2 * (path.count(CONV3) + path.count(POOL)) for path in paths]
    values = [
        *(sum(cell[edge] == operator for edge in alive) for operator in (SKIP, CONV3, POOL)),
        len(entering), entering.count(POOL),
        min(convolutions), max(threes),
        *(sum(counts) / len(paths) for counts in (convolutions, threes, map(len, paths))),
        sum(all(op == SKIP for op in path) for path in paths),
        sum(CONV1 in path for path in paths),
        sum(POOL in path and count == 0 for path, count in zip(paths, convolutions, strict=True)),
        max(fields), min(fields),
        0.0,
    ]  # fmt: skip
    return tuple(float(value) for value in values)


#: Number of features of `structure`.
FEATURES = 16


def _paths(cell: Cell, alive: set[int]) -> list[tuple[int, ...]]:
    """Operators along every live path from the input to the output."""
    reaching: list[list[tuple[int, ...]]] = [[()], [], [], []]
    for edge, (source, target) in enumerate(EDGES):
        if edge in alive:
            reaching[target] += [(*path, cell[edge]) for path in reaching[source]]
    return reaching[NODES - 1]
