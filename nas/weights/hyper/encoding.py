"""A network as one binary image: rows and columns are groups of channels that its weights write and read.

Source: Brock, Lim, Ritchie & Weston, "SMASH: one-shot model architecture search through hypernetworks", ICLR 2018,
    section 3.2: the place of a number in the encoding is the place of the weights that it is for, and the encoding has
    a plane for each choice of an operator, and for each memory bank that is read or written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.weights.hyper.graphs import Graph, Slot
from nas.weights.hyper.tracing import OPERATORS, ROLES

#: Channels of a group: a place of the image stands for so many by so many weights.
GROUP = 16
#: Bits of numbers of blocks, of slots in a block, and of groups; steps of a scale of channels, each a doubling.
_BLOCKS, _SLOTS, _GROUPS, _SCALE = 10, 8, 8, 12
#: Kernels have a plane for each side up to this; larger ones have the last.
_KERNELS = 7
#: Blocks that are read have a plane by how far back they stand; farther ones the last, the network's input its own.
_BACK = 8
#: Planes of an image.
PLANES = (
    len(ROLES) + 2 * len(OPERATORS) + 2 * _KERNELS + 2 * _SCALE + _BLOCKS + _SLOTS + 1 + _BACK + 1 + 2 * _GROUPS + 2
)


@dataclass(frozen=True)
class Place:
    """Where the weights of a slot stand in the image.

    Attributes:
        row: the first one.
        rows: groups of channels that are written.
        columns: groups of channels that are read.
        matrix: whether a place holds `GROUP` by `GROUP` weights. Where each channel reads one, a place holds `GROUP`
            weights, and the channels lie along the columns.
    """

    row: int
    rows: int
    columns: int
    matrix: bool


def places(graph: Graph) -> tuple[Place, ...]:
    """Where each slot stands, one below the other, in the order of the network."""
    found, row = [], 0
    for slot in graph.slots:
        out, read = (math.ceil(side / GROUP) for side in slot.sides[:2])
        matrix = slot.sides[1] > 1
        found.append(Place(row, out, read, True) if matrix else Place(row, 1, out, False))
        row += found[-1].rows
    return tuple(found)


def image(graph: Graph, where: tuple[Place, ...]) -> NDArray[np.float32]:
    """The network as zeros and ones, `(PLANES, rows, columns)`."""
    rows, columns = sum(place.rows for place in where), max(place.columns for place in where)
    found = np.zeros((PLANES, rows, columns), dtype=np.float32)
    numbers = _bits(np.arange(1, max(rows, columns) + 1), _GROUPS)
    of_block: dict[int, int] = {}
    for slot, place in zip(graph.slots, where, strict=True):
        of_block[slot.block] = of_block.get(slot.block, 0) + 1
        code = _code(graph, slot, of_block[slot.block])
        part = found[:, place.row : place.row + place.rows, : place.columns]
        part[: len(code)] = code[:, None, None]
        written, read = numbers[: place.rows], numbers[: place.columns]
        part[len(code) : len(code) + _GROUPS] = written.T[:, :, None]
        part[len(code) + _GROUPS : len(code) + 2 * _GROUPS] = read.T[:, None, :]
        part[-2], part[-1] = 1.0, float(place.matrix)
    return found


def _code(graph: Graph, slot: Slot, number: int) -> NDArray[np.float32]:
    """What is said of a slot at all its places: its operator, its block and the blocks that it reads."""
    out, read, height, width = slot.sides
    inside = np.zeros(len(OPERATORS), dtype=np.float32)
    inside[list(graph.blocks[slot.block])] = 1.0
    back = np.zeros(_BACK + 1, dtype=np.float32)
    for source in graph.reads[slot.block]:
        back[-1 if source < 0 else min(slot.block - source, _BACK) - 1] = 1.0
    return np.concatenate(
        [
            _one_of(len(ROLES), ROLES.index(slot.role)),
            _one_of(len(OPERATORS), int(graph.operators[slot.node])),
            inside,
            *(_one_of(_KERNELS, min(side, _KERNELS) - 1) for side in (height, width)),
            *(_up_to(side) for side in (out, read)),
            _bits(np.array([slot.block + 1]), _BLOCKS)[0],
            _bits(np.array([number]), _SLOTS)[0],
            np.array([slot.gain - 1.0], dtype=np.float32),
            back,
        ]
    )


def _one_of(count: int, chosen: int) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (np.arange(count) == chosen).astype(np.float32)
    return found


def _up_to(channels: int) -> NDArray[np.float32]:
    """A thermometer: 1 for each power of two that there are as many channels as."""
    found: NDArray[np.float32] = (2 ** np.arange(_SCALE) <= channels).astype(np.float32)
    return found


def _bits(numbers: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Binary digits, `(n, count)`, the lowest first."""
    digits = numbers[:, None] >> np.arange(count)
    found: NDArray[np.float32] = np.asarray(digits & 1, dtype=np.float32)
    return found
