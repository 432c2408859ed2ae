"""Planned memory: the peak of live tensors when a graph runs in its order."""

from __future__ import annotations

from profiler.operators import OperatorGraph


def planned_peak_bytes(graph: OperatorGraph) -> int:
    """Largest sum of live activations over the nodes, and all weights.

    A value lives from the node that writes it to the last that reads it; the network's outputs live to the end.
    In-place reuse and the allocator's rounding are the runtime's own and are not part of this figure.
    """
    weights = {
        (name, tensor)
        for node in graph.nodes
        for name, tensor in zip(node.inputs, node.operator.inputs, strict=True)
        if tensor is not None and tensor.constant
    }
    last_use = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs if name}
    last_use |= dict.fromkeys(graph.outputs, len(graph.nodes))
    live = {name: tensor.bytes for name, tensor in graph.inputs}
    peak = sum(live.values())
    for index, node in enumerate(graph.nodes):
        live |= {name: tensor.bytes for name, tensor in zip(node.outputs, node.operator.outputs, strict=True)}
        peak = max(peak, sum(live.values()))
        live = {name: size for name, size in live.items() if last_use.get(name, -1) > index}
    return peak + sum(tensor.bytes for _, tensor in weights)
