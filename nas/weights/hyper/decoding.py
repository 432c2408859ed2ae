"""Weights from states of nodes: a tile of a fixed size, of which each parameter takes, or repeats, what it needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.weights.hyper.graph_network import NodeFeatures
from nas.weights.hyper.graphs import Graph, Slot
from nas.weights.hyper.scaling import repeated, scaled, signs
from nas.weights.hyper.tracing import SHIFT

#: Channels and sides of a tile. Source: 64 by 64 by 11 by 11 in Knyazev et al., NeurIPS 2021; spaces here have kernels
#: up to 7, and larger ones repeat it.
TILE, SIDE = 64, 7


class Walks(Protocol):
    """A module that lets nodes hear of each other."""

    def __call__(self, states: Tensor, graph: Graph) -> Tensor:
        """`(n, width)`, from features `(n, width)`, each row about of mean square 1."""


class GraphHypernetwork(nn.Module):
    """All weights of a network from its graph.

    Source: Zhang, Ren & Urtasun, ICLR 2019, section 4; Knyazev et al., NeurIPS 2021, sections 3 and 4. There biases are
        nodes, classifiers have a decoder of their own, and activations are no nodes; here a bias is its operator's, a
        classifier is a linear layer, and activations are nodes.

    Args:
        walk: over the nodes.
        width: of a node's state.
    """

    def __init__(self, walk: nn.Module, width: int) -> None:
        super().__init__()
        self.features = NodeFeatures(width)
        self.walk = walk
        self.tiles = TileDecoder(width)
        self.vectors = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * TILE))
        _start(self.vectors[0], 1.0)
        _start(self.vectors[2], 2.0)

    def forward(self, graph: Graph) -> list[Tensor]:
        """Weights of each slot, in its shape."""
        states = self.walk(self.features(graph), graph)
        found: list[Tensor | None] = [None] * len(graph.slots)
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        vectors = []
        for place, slot in enumerate(graph.slots):
            if len(slot.shape) < 2:
                vectors.append(place)
            else:
                alike[clipped(slot)].append(place)
        if vectors:
            both = self.vectors(states[_nodes(graph, vectors)]).reshape(-1, 2, TILE)
            for row, place in enumerate(vectors):
                found[place] = _vector(graph.slots[place], both[row])
        for sides, places in alike.items():
            tiles = self.tiles(states[_nodes(graph, places)], sides)
            for row, place in enumerate(places):
                slot = graph.slots[place]
                whole = repeated(tiles[row], slot.sides, TILE).reshape(slot.shape)
                found[place] = scaled(slot, whole)
        return [one for one in found if one is not None]


class TileDecoder(nn.Module):
    """A layer to all places of a tile, then two over its channels, which are 1x1 convolutions.

    Only that part of a tile is computed which is taken; it is what would be there in the whole.

    Source: Knyazev et al., NeurIPS 2021, section 4.3, and their code (4 and 8 times as many channels as a state has).
        First weights: what comes out has a mean square of 1, as in Chang, Flokas & Lipson, "Principled weight
        initialization for hypernetworks", ICLR 2020, section 4, so that scaling by fan-in gives what it promises. For
        that features of each place of a kernel have signs of their own, fixed once and for all, which the papers do not
        have: features behind a rectifier are alike at all places, kernels would begin as blurs, and what smooth images
        give would grow at each layer.

    Args:
        width: of a state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = nn.Linear(width, 4 * width * SIDE * SIDE)
        self.middle = nn.Linear(4 * width, 8 * width)
        self.last = nn.Linear(8 * width, TILE * TILE)
        self.turned: Tensor
        self.register_buffer("turned", signs(SIDE * SIDE, 8 * width, 0), persistent=False)
        _start(self.spread, 1.0)
        _start(self.middle, 2.0)
        _start(self.last, 2.0)

    def forward(self, states: Tensor, sides: tuple[int, ...]) -> Tensor:
        """Parts of tiles, `(k, *sides)`, from states `(k, width)`; kernels are the middle of a tile."""
        out, read, height, width = sides
        rows, columns, count = middle(height), middle(width), len(states)
        spread = self.spread.weight.reshape(-1, SIDE, SIDE, states.shape[1])[:, rows, columns].flatten(0, 2)
        shift = self.spread.bias.reshape(-1, SIDE, SIDE)[:, rows, columns].flatten()
        hidden = functional.linear(states, spread, shift).relu().reshape(count, -1, height * width)
        turned = self.turned.reshape(SIDE, SIDE, -1)[rows, columns].flatten(0, 1)
        hidden = self.middle(hidden.transpose(1, 2)).relu() * turned
        last = self.last.weight.reshape(TILE, TILE, -1)[:out, :read].flatten(0, 1)
        shift = self.last.bias.reshape(TILE, TILE)[:out, :read].flatten()
        tiles = functional.linear(hidden, last, shift).transpose(1, 2)
        return tiles.reshape(count, out, read, height, width)


def clipped(slot: Slot) -> tuple[int, int, int, int]:
    """The sides of the part of a tile that a slot takes."""
    out, read, height, width = slot.sides
    return min(out, TILE), min(read, TILE), min(height, SIDE), min(width, SIDE)


def middle(side: int) -> slice:
    """Where a kernel stands in a tile."""
    start = (SIDE - side) // 2
    return slice(start, start + side)


def _nodes(graph: Graph, places: Sequence[int]) -> list[int]:
    return [graph.slots[place].node for place in places]


def _vector(slot: Slot, both: Tensor) -> Tensor:
    """A scale or a shift, from `(2, TILE)`."""
    row = both[int(slot.role == SHIFT)]
    places = torch.arange(slot.sides[0], device=row.device).remainder(TILE)
    return scaled(slot, row[places].reshape(slot.shape))


def _start(layer: nn.Module, gain: float) -> None:
    """First weights of a linear layer: the mean square of what it reads, over `gain`, is that of what it gives."""
    assert isinstance(layer, nn.Linear)
    nn.init.normal_(layer.weight, std=(gain / layer.in_features) ** 0.5)
    nn.init.zeros_(layer.bias)
