"""Operator graphs as rows of integers, for keeping many of them: which kernel each node is, and what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import SchemaMismatch
from profiler.operators import Node, Operator, OperatorGraph, Tensor

Wires = NDArray[np.int32]


def to_wires(graph: OperatorGraph, number: dict[Operator, int], *, own_constants: bool = False) -> Wires:
    """A graph as integers; operators that are new are given the next number.

    Values are numbered as they come, first the graph's inputs; -1 is an input that is left out, -2 and below are
    constants. The row is: outputs (their count, then each), then for each node its operator, the count of its inputs,
    and each of them.

    Args:
        graph: the graph.
        number: of operators; new ones are added.
        own_constants: each use of a constant is a constant of its own, whatever its name: for networks that were put
            together from blocks which share their weights.
    """
    values = {name: i for i, (name, _) in enumerate(graph.inputs)}
    constants: dict[str, int] = {}
    row: list[int] = []
    for node in graph.nodes:
        reads = []
        for name in node.inputs:
            if not name:
                reads.append(-1)
            elif name in values:
                reads.append(values[name])
            else:
                key = f"{name} {len(constants)}" if own_constants else name
                reads.append(constants.setdefault(key, -2 - len(constants)))
        row += [number.setdefault(node.operator, len(number)), len(reads), *reads]
        for name in node.outputs:
            values[name] = len(values)
    outputs = [values[name] for name in graph.outputs if name in values]
    return np.array([len(outputs), *outputs, *row], dtype=np.int32)


def places_of_kernels(wires: Wires) -> list[int]:
    """Where in a row `to_wires` put the numbers of operators."""
    row: list[int] = wires.tolist()
    found, position = [], 1 + row[0]
    while position < len(row):
        found.append(position)
        position += 2 + row[position + 1]
    return found


def from_wires(wires: Wires, kernels: Sequence[Operator], inputs: Sequence[Tensor], runtime: str = "") -> OperatorGraph:
    """The graph of a row; values have names of their own (`v0` ...), constants too (`w0` ...).

    Raises:
        SchemaMismatch: the row is none.
    """
    row = [int(value) for value in wires]
    try:
        outputs, position = row[1 : 1 + row[0]], 1 + row[0]
        count = len(inputs)
        nodes: list[Node] = []
        while position < len(row):
            operator, size = kernels[row[position]], row[position + 1]
            reads = row[position + 2 : position + 2 + size]
            if len(reads) != size or size != len(operator.inputs) or max(reads, default=-1) >= count:
                raise SchemaMismatch(f"node {len(nodes)} of a graph's wiring reads {reads} of {size} values")
            position += 2 + size
            names = tuple(f"v{i}" if i >= 0 else "" if i == -1 else f"w{-2 - i}" for i in reads)
            written = tuple(f"v{count + i}" for i in range(len(operator.outputs)))
            count += len(written)
            nodes.append(Node(operator, names, written))
        if not nodes or len(outputs) != row[0] or not all(0 <= i < count for i in outputs):
            raise SchemaMismatch(f"a graph's wiring has outputs {outputs}, and {count} values")
    except IndexError as error:
        raise SchemaMismatch(f"a graph's wiring is cut short: {error}") from error
    named = tuple((f"v{i}", tensor) for i, tensor in enumerate(inputs))
    return OperatorGraph(tuple(nodes), named, tuple(f"v{i}" for i in outputs), runtime)
