"""A gated graph network that walks over a network's operators, from the input on and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from nas.weights.hyper.graphs import Graph, Order, Slot
from nas.weights.hyper.tracing import OPERATORS

#: Kernels that are larger are as large as this.
LARGEST_KERNEL = 15
#: Steps of the scale of channels: four for each doubling, up to 2^15.
_CHANNELS, _EACH = 64, 4


class NodeFeatures(nn.Module):
    """What a node is: an embedding of its operator, and of the shape of its largest parameter.

    Source: Knyazev et al., "Parameter prediction for unseen deep architectures", NeurIPS 2021, section 4.3 (shapes);
        Zhang, Ren & Urtasun, "Graph hypernetworks for neural architecture search", ICLR 2019, section 4.1.

    Args:
        width: of an embedding, a multiple of 4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.operator = nn.Embedding(len(OPERATORS), width)
        self.channels = nn.Embedding(_CHANNELS, width // 4)
        self.kernel = nn.Embedding(LARGEST_KERNEL + 1, width // 4)

    def forward(self, graph: Graph) -> Tensor:
        """`(n, width)`."""
        place = self.operator.weight.device
        channels, kernels = (torch.from_numpy(one).to(place) for one in _shapes(graph))
        shape = torch.cat([self.channels(channels), self.kernel(kernels)], dim=1).flatten(1)
        found: Tensor = self.operator(torch.from_numpy(graph.operators).to(place)) + shape
        return found


def _shapes(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Steps of channels out and in, and sides of kernels, each `(n, 2)`; 0 where there is no parameter."""
    largest: dict[int, Slot] = {}
    for slot in graph.slots:
        if slot.node not in largest or math.prod(slot.shape) > math.prod(largest[slot.node].shape):
            largest[slot.node] = slot
    channels, kernels = (np.zeros((len(graph.operators), 2), dtype=np.int64) for _ in range(2))
    for node, slot in largest.items():
        out, read, height, width = slot.sides
        channels[node] = [min(1 + round(_EACH * math.log2(side)), _CHANNELS - 1) for side in (out, read)]
        kernels[node] = min(height, LARGEST_KERNEL), min(width, LARGEST_KERNEL)
    return channels, kernels


class GatedGraphNetwork(nn.Module):
    """States of nodes that have heard of those before them, and then of those behind them.

    Nodes of one level do not hear of each other, and are taken at once; that gives what one by one gives.

    Source: Zhang, Ren & Urtasun, ICLR 2019, section 4.2, equations 3 and 4 (forward-backward propagation through a
        gated recurrent unit); Knyazev et al., NeurIPS 2021, section 4.2, equation 4 (virtual edges, weighed by one over
        the distance, with messages of their own). One round, as in both.

    Args:
        width: of a state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = _messages(width)
        self.far = _messages(width)
        self.gate = nn.GRUCell(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor, graph: Graph) -> Tensor:
        """`(n, width)`, from features `(n, width)`."""
        for order in (graph.forward, graph.backward):
            states = self._walk(states, order)
        found: Tensor = self.norm(states)
        return found

    def _walk(self, states: Tensor, order: Order) -> Tensor:
        place = states.device
        nodes = torch.from_numpy(order.nodes).to(place)
        near, far = (torch.from_numpy(one).to(states) for one in weighed(order))
        old = states[nodes]
        new, said, told, start = list[Tensor](), list[Tensor](), list[Tensor](), 0
        for end in order.ends:
            heard = torch.zeros_like(old[start:end])
            if start:
                heard = near[start:end, :start] @ torch.cat(said) + far[start:end, :start] @ torch.cat(told)
            new.append(self.gate(heard, old[start:end]))
            said.append(self.near(new[-1]))
            told.append(self.far(new[-1]))
            start = end
        back = torch.empty_like(nodes)
        back[nodes] = torch.arange(len(nodes), device=place)
        return torch.cat(new)[back]


def weighed(order: Order) -> Sequence[np.ndarray]:
    """Weights of edges, and of virtual edges, each `(n, n)`, from the node of the column to that of the row."""
    distances = order.distances
    far = np.where(distances > 1, 1.0 / np.maximum(distances, 1), 0.0)
    return (distances == 1).astype(np.float32), far.astype(np.float32)


def _messages(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width), nn.ReLU())
