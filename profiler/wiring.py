"""Operator graphs as rows of integers, for keeping many of them: which kernel each node is, and what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import SchemaMismatch
from profiler.operators import Node, Operator, OperatorGraph, Tensor

Wires = NDArray[np.int32]


def to_wires(graph: OperatorGraph, number: dict[Operator, int]) -> Wires:
    """A graph as integers; operators that are new are given the next number.

    Values are numbered as they come, first the graph's inputs; -1 is an input that is left out, -2 and below are
    constants. The row is: outputs (their count, then each), then for each node its operator, the count of its inputs,
    and each of them.
    """
    values = {name: i for i, (name, _) in enumerate(graph.inputs)}
    constants: dict[str, int] = {}
    row: list[int] = []
    for node in graph.nodes:
        reads = [
            -1 if not name else values.get(name) if name in values else constants.setdefault(name, -2 - len(constants))
            for name in node.inputs
        ]
        row += [number.setdefault(node.operator, len(number)), len(reads), *(int(value or 0) for value in reads)]
        for name in node.outputs:
            values[name] = len(values)
    outputs = [values[name] for name in graph.outputs if name in values]
    return np.array([len(outputs), *outputs, *row], dtype=np.int32)


def from_wires(wires: Wires, kernels: Sequence[Operator], inputs: Sequence[Tensor], runtime: str = "") -> OperatorGraph:
    """The graph of a row; values have names of their own (`v0` ...), constants too (`w0` ...).

    Raises:
        SchemaMismatch: the row is none.
    """
    try:
        row = wires.tolist()
        outputs, position = row[1 : 1 + row[0]], 1 + row[0]
        count = len(inputs)
        nodes = []
        while position < len(row):
            operator, reads = kernels[row[position]], row[position + 2 : position + 2 + row[position + 1]]
            position += 2 + len(reads)
            names = tuple(f"v{i}" if i >= 0 else "" if i == -1 else f"w{-2 - i}" for i in reads)
            written = tuple(f"v{count + i}" for i in range(len(operator.outputs)))
            count += len(written)
            nodes.append(Node(operator, names, written))
        named = tuple((f"v{i}", tensor) for i, tensor in enumerate(inputs))
        return OperatorGraph(tuple(nodes), named, tuple(f"v{i}" for i in outputs), runtime)
    except (IndexError, TypeError) as error:
        raise SchemaMismatch(f"cannot read the wiring of a graph: {error}") from error
