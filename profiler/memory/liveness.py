"""Which tensors are alive at each node: exact, and the same for every runtime."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.operators import OperatorGraph, Tensor


@dataclass(frozen=True)
class LiveTensor:
    """A value and its size.

    Attributes:
        name: of the value, in the graph.
        tensor: its type and shape.
    """

    name: str
    tensor: Tensor

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.tensor.bytes

    def __str__(self) -> str:
        return f"{self.name} {self.tensor} ({self.bytes} bytes)"


@dataclass(frozen=True)
class Liveness:
    """Bytes of the values that are alive at each node.

    Attributes:
        timeline: bytes while each node runs, its inputs and outputs included; `(nodes,)`.
        peak_bytes: the largest of them; that of the network's inputs if there are no nodes.
        peak_index: the first node at which it is reached; None if there are no nodes.
    """

    timeline: tuple[int, ...]
    peak_bytes: int
    peak_index: int | None


def weights(graph: OperatorGraph) -> dict[str, Tensor]:
    """The constants that nodes read, each once, by name."""
    return {
        name: tensor
        for node in graph.nodes
        for name, tensor in zip(node.inputs, node.operator.inputs, strict=True)
        if tensor is not None and tensor.constant
    }


def values(graph: OperatorGraph) -> dict[str, Tensor]:
    """The network's inputs and all values that nodes write, by name."""
    found = dict(graph.inputs)
    for node in graph.nodes:
        found |= zip(node.outputs, node.operator.outputs, strict=True)
    return found


def last_readers(graph: OperatorGraph) -> list[list[str]]:
    """For each node the values that nobody needs after it; the network's outputs are never among them.

    A value that nothing reads is not needed after the node that writes it, an input that nothing reads after the first.
    """
    last = {name: 0 for name, _ in graph.inputs}
    for index, node in enumerate(graph.nodes):
        last |= dict.fromkeys(node.outputs, index)
        for name in node.inputs:
            if name in last:
                last[name] = index
    dead: list[list[str]] = [[] for _ in graph.nodes]
    kept = set(graph.outputs)
    for name, index in last.items():
        if name not in kept and dead:
            dead[index].append(name)
    return dead


def liveness(graph: OperatorGraph) -> Liveness:
    """Bytes alive at each node, in time linear in the size of the graph.

    A value lives from the node that writes it to the last that reads it; the network's inputs live from the beginning,
    its outputs to the end.
    """
    sizes = {name: tensor.bytes for name, tensor in values(graph).items()}
    live = sum(tensor.bytes for _, tensor in graph.inputs)
    dead = last_readers(graph)
    timeline, peak, peak_index = [], live, None
    for index, node in enumerate(graph.nodes):
        live += sum(sizes[name] for name in node.outputs)
        timeline.append(live)
        if peak_index is None or live > peak:
            peak, peak_index = live, index
        live -= sum(sizes[name] for name in dead[index])
    return Liveness(tuple(timeline), peak, peak_index)


def alive_at(graph: OperatorGraph, index: int) -> tuple[LiveTensor, ...]:
    """The values that are alive while a node runs, largest first.

    Args:
        graph: the network.
        index: of the node, 0 to nodes - 1.
    """
    tensors = values(graph)
    alive = {name for name, _ in graph.inputs}
    for position, (node, dead) in enumerate(zip(graph.nodes, last_readers(graph), strict=True)):
        alive |= set(node.outputs)
        if position == index:
            break
        alive -= set(dead)
    found = (LiveTensor(name, tensors[name]) for name in alive)
    return tuple(sorted(found, key=lambda live: (-live.bytes, live.name)))


def planned_peak_bytes(graph: OperatorGraph) -> int:
    """Largest sum of live activations over the nodes, and all weights.

    A value lives from the node that writes it to the last that reads it; the network's outputs live to the end.
    In-place reuse and the allocator's rounding are the runtime's own and are not part of this figure.
    """
    return liveness(graph).peak_bytes + sum(tensor.bytes for tensor in weights(graph).values())
