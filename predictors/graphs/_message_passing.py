"""The network behind `graph-network`: messages along the edges of a fused graph, in plain torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from profiler.operators import OperatorGraph

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WIDTH = 32
ROUNDS = 2
#: A kernel's cost is corrected by at most this factor's log, up or down.
REACH = 0.7


@dataclass(frozen=True)
class Batch:
    """Graphs laid side by side.

    Attributes:
        kernel: `(nodes,)`, index of each node's kernel.
        graph: `(nodes,)`, index of each node's graph, ascending.
        edges: `(2, e)`, producing and consuming node.
        graphs: number of graphs.
    """

    kernel: Integers
    graph: Integers
    edges: Integers
    graphs: int


def lay_out(graphs: Sequence[OperatorGraph], number: Mapping[str, int]) -> Batch:
    """Graphs side by side; `number` gives a kernel's index by its key."""
    kernel: list[int] = []
    size: list[int] = []
    source: list[int] = []
    sink: list[int] = []
    for graph in graphs:
        made: dict[str, int] = {}
        start = len(kernel)
        for position, node in enumerate(graph.nodes, start=start):
            kernel.append(number[node.operator.key])
            for name in node.inputs:
                producer = made.get(name)
                if producer is not None:
                    source.append(producer)
                    sink.append(position)
            for name in node.outputs:
                made[name] = position
        size.append(len(kernel) - start)
    return Batch(
        np.array(kernel, dtype=np.int64),
        np.repeat(np.arange(len(size)), size),
        np.array([source, sink], dtype=np.int64).reshape(2, -1),
        len(size),
    )


def initial(inputs: int, seed: int) -> dict[str, Tensor]:
    """Weights before training; the last layer is 0, so that nothing is corrected."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def dense(into: int, out: int) -> Tensor:
        drawn: Tensor = torch.randn(into, out, generator=generator) / into**0.5
        return drawn

    weights = {"enter": dense(inputs, WIDTH), "enter_bias": torch.zeros(WIDTH)}
    for i in range(ROUNDS):
        for part in ("own", "before", "after"):
            weights[f"{part}{i}"] = dense(WIDTH, WIDTH) * 0.5
        weights[f"bias{i}"] = torch.zeros(WIDTH)
    weights["leave"] = torch.zeros(WIDTH, 1)
    return weights


def corrections(weights: Mapping[str, Tensor], features: Tensor, batch: Batch) -> Tensor:
    """Log of the factor on each node's cost, `(nodes,)`, within `REACH`.

    Messages are means over the nodes before and after, as in Hamilton et al., "Inductive representation learning on
    large graphs" (GraphSAGE), NeurIPS 2017, section 3.1, here with separate weights for each direction and residual
    connections.

    Args:
        weights: as `initial` makes them.
        features: `(kernels, inputs)`, of distinct kernels, standardised.
        batch: the graphs.
    """
    import torch
    from torch.nn.functional import gelu

    # Equal kernels start alike: the first layer runs once for each of them.
    state = gelu(features @ weights["enter"] + weights["enter_bias"])[torch.as_tensor(batch.kernel)]
    ways = [_Means.over(batch.edges, len(batch.kernel)), _Means.over(batch.edges[::-1], len(batch.kernel))]
    for i in range(ROUNDS):
        heard = sum(way(state @ weights[f"{part}{i}"]) for way, part in zip(ways, ("before", "after"), strict=True))
        state = state + gelu(state @ weights[f"own{i}"] + heard + weights[f"bias{i}"])
    found: Tensor = REACH * torch.tanh((state @ weights["leave"])[:, 0] / REACH)
    return found


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread for a while: sums then come in one order, whatever the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Means:
    """Takes means over the nodes at the other ends of edges."""

    source: Tensor
    sink: Tensor
    weight: Tensor

    @staticmethod
    def over(edges: Integers, nodes: int) -> _Means:
        import torch

        source, sink = edges
        weight = 1.0 / np.maximum(np.bincount(sink, minlength=nodes), 1)[sink]
        return _Means(
            torch.as_tensor(source.copy()), torch.as_tensor(sink.copy()), torch.as_tensor(weight, dtype=torch.float32)
        )

    def __call__(self, values: Tensor) -> Tensor:
        import torch

        return torch.zeros_like(values).index_add(0, self.sink, values[self.source] * self.weight[:, None])
