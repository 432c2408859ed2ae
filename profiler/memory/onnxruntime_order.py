"""The order in which ONNX Runtime runs the nodes of a model that it left as it was."""

from __future__ import annotations

from dataclasses import replace

from profiler.operators import OperatorGraph


def in_execution_order(graph: OperatorGraph) -> OperatorGraph:
    """The same nodes in the order in which ONNX Runtime runs them, if their order is that of a file as it was loaded.

    Only for models in which there was nothing to optimise, or that are loaded without optimisation: the runtime then
    saves the file's order and not its own. The fused graph of any other model is in the runtime's order already.

    Source: a depth-first search from the last nodes towards the inputs, later nodes first (`Graph::ReverseDFSFrom`,
    called by `GraphViewer`, `onnxruntime/core/graph/`).
    """
    writer = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs}
    sources = [sorted({writer[name] for name in node.inputs if name in writer}) for node in graph.nodes]
    read = {source for found in sources for source in found}
    stack = [(index, False) for index in range(len(graph.nodes)) if index not in read]
    order: list[int] = []
    visited: set[int] = set()
    while stack:
        index, leaving = stack.pop()
        if leaving:
            order.append(index)
        elif index not in visited:
            visited.add(index)
            stack.append((index, True))
            stack += [(source, False) for source in sources[index] if source not in visited]
    return replace(graph, nodes=tuple(graph.nodes[index] for index in order))
