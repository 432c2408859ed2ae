"""A compiled network cut apart into the blocks that it was stitched from: which kernels are whose, and what crosses.

Runtimes name a fused kernel after the first node that went into it, and stitched nodes are named after their blocks. A
kernel that the runtime adds has a made-up name, but it writes a value that a block named, or feeds a kernel that is
known; so it belongs to the block of its output, of its reader, or of what it reads, in this order.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from profiler.assembly import Assembly
from profiler.operators import Node, OperatorGraph

#: Kernels that only change the layout of a tensor: what crosses between blocks is what is before and behind them.
CONVERSIONS = frozenset({"ReorderInput", "ReorderOutput", "Reorder"})
#: How finely a crossing value may be told by the kernel that writes or reads it: not at all, by the set of operators
#: that it is of (a layout has one of its own), by its operator, by its operator with its attributes.
LEVELS = 4


@dataclass(frozen=True)
class Use:
    """One block in one compiled network.

    Attributes:
        block: its name in the assembly.
        kernels: numbers of the graph's nodes that are its own, in order; none where the runtime deleted it.
        given: by level, what the kernels of other blocks are that write what it reads.
        wanted: by level, what the kernels of other blocks are that read what it writes.
    """

    block: str
    kernels: tuple[int, ...]
    given: tuple[str, ...]
    wanted: tuple[str, ...]


def cut(graph: OperatorGraph, assembly: Assembly) -> tuple[Use, ...] | None:
    """The blocks of a network, in the order of the assembly.

    Args:
        graph: what a runtime made of the stitched network.
        assembly: what it was stitched from.

    Returns:
        None where a kernel belongs to no block.
    """
    writers = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs if name}
    readers: dict[str, list[int]] = defaultdict(list)
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name:
                readers[name].append(i)
    owners = _owners(graph, {block.name for block in assembly.blocks}, writers, readers)
    if owners is None:
        return None
    own: dict[str, list[int]] = defaultdict(list)
    given: dict[str, set[int]] = defaultdict(set)
    wanted: dict[str, list[int]] = defaultdict(list)
    for i, node in enumerate(graph.nodes):
        own[owners[i]].append(i)
        if node.operator.op_type in CONVERSIONS:
            continue
        for j in _reached(i, graph, readers):
            if owners[j] != owners[i]:
                given[owners[j]].add(i)
                wanted[owners[i]].append(j)
    return tuple(
        Use(
            block.name,
            tuple(own[block.name]),
            tuple(_label(graph, given[block.name], level) for level in range(LEVELS)),
            tuple(_label(graph, wanted[block.name], level) for level in range(LEVELS)),
        )
        for block in assembly.blocks
    )


def _owners(
    graph: OperatorGraph, blocks: set[str], writers: dict[str, int], readers: dict[str, list[int]]
) -> list[str] | None:
    owners = [_named(node, blocks) for node in graph.nodes]
    for i in reversed(range(len(owners))):
        if owners[i] is None:
            after = (owners[j] for name in graph.nodes[i].outputs for j in readers.get(name, ()))
            owners[i] = next((owner for owner in after if owner is not None), None)
    for i, node in enumerate(graph.nodes):
        if owners[i] is None:
            before = (owners[writers[name]] for name in node.inputs if name in writers)
            owners[i] = next((owner for owner in before if owner is not None), None)
    found = [owner for owner in owners if owner is not None]
    return found if len(found) == len(owners) else None


def _named(node: Node, blocks: set[str]) -> str | None:
    """The block that the node's name speaks of, or what it writes."""
    for text in (node.name, *node.outputs):
        block, slash, _ = text.partition("/")
        if slash and block in blocks:
            return block
    return None


def _reached(i: int, graph: OperatorGraph, readers: dict[str, list[int]]) -> list[int]:
    """Readers of what a node writes, through conversions."""
    found: list[int] = []
    waiting = list(graph.nodes[i].outputs)
    while waiting:
        for j in readers.get(waiting.pop(), ()):
            if graph.nodes[j].operator.op_type in CONVERSIONS:
                waiting += graph.nodes[j].outputs
            else:
                found.append(j)
    return found


def _label(graph: OperatorGraph, nodes: set[int] | list[int], level: int) -> str:
    """What some kernels are, as told at a level."""
    operators = [graph.nodes[i].operator for i in nodes]
    if level == 0:
        return ""
    if level == 1:
        return " ".join(sorted({operator.domain or "onnx" for operator in operators}))
    kinds = sorted({operator.kind if level == 2 else operator.key.partition("(")[0] for operator in operators})
    return " ".join(kinds)
