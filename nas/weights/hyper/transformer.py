"""A transformer over a network's operators, in which every node attends to every other by how far it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.weights.hyper.graphs import FARTHEST, Graph

#: Nodes that read, or are read, more often are as this.
MOST_EDGES = 15


class GraphTransformer(nn.Module):
    """States of nodes, by attention with a bias for the distance in either direction.

    Source: Knyazev, Hwang & Lacoste-Julien, "Can we scale transformers to predict parameters of diverse ImageNet
        models?" (GHN-3), ICML 2023, section 3.1; layers with biases of edges, and embeddings of how many edges a node
        has, of Ying et al., "Do transformers really perform bad for graph representation?" (Graphormer), NeurIPS 2021,
        section 3.1. There the first layer alone has a bias; here each has, by one table of two distances.

    Args:
        width: of a state, a multiple of `heads`.
        layers: of attention.
        heads: of each.
    """

    def __init__(self, width: int, layers: int = 3, heads: int = 8) -> None:
        super().__init__()
        self.reads = nn.Embedding(MOST_EDGES + 1, width)
        self.read = nn.Embedding(MOST_EDGES + 1, width)
        self.depth = nn.Embedding(FARTHEST + 1, width)
        self.before = nn.Embedding(FARTHEST + 1, width)
        self.behind = nn.Embedding(FARTHEST + 1, width)
        self.bias = nn.Sequential(nn.ReLU(), nn.Linear(width, layers * heads))
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor, graph: Graph) -> Tensor:
        """`(n, width)`, from features `(n, width)`."""
        place = states.device
        distances = torch.from_numpy(graph.distances).to(place)
        reads, read = ((distances == 1).sum(dim=axis).clamp(max=MOST_EDGES) for axis in (1, 0))
        states = states + self.reads(reads) + self.read(read) + self.depth(distances[:, 0])
        # Of two numbers 0..50 there are few pairs, and of nodes there are many.
        table = self.bias(self.before.weight[:, None, :] + self.behind.weight[None, :, :])
        biases = table[distances, distances.T].permute(2, 0, 1).chunk(len(self.layers))
        for layer, bias in zip(self.layers, biases, strict=True):
            states = layer(states, bias)
        found: Tensor = self.norm(states)
        return found


class _Layer(nn.Module):
    """Attention, then two linear layers over each node; both are added to what they read."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width)
        self.give = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """`(n, width)`, from states and a bias `(heads, n, n)`."""
        parts = self.ask(self.first(states)).reshape(len(states), 3, self.heads, -1).permute(1, 2, 0, 3)
        heard = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=bias)
        states = states + self.give(heard.transpose(0, 1).reshape(len(states), -1))
        found: Tensor = states + self.feed(self.second(states))
        return found
