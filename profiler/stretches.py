"""Compiled networks as stretches of kernels, one for each block: cut apart, and joined to others' as one graph again.

A stretch knows values of other blocks by their place among those that cross the edge before it; so stretches of
different networks fit together where the edges between them are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.assembly import INPUT
from profiler.block_catalogue import CutNetwork
from profiler.cuts import CONVERSIONS
from profiler.operators import Node, Operator, OperatorGraph, Tensor

#: What a kernel reads that is no value: an input that is left out, and a constant, each use of which is one of its own.
LEFT_OUT, CONSTANT = -1, -2
#: Values that cross the edge before a stretch are numbered downwards from here.
_CROSSING = -3


@dataclass(frozen=True)
class Stretch:
    """The kernels of one block in one compiled network, in the order in which they run.

    Values are numbered from 0 as its kernels write them; `LEFT_OUT` and `CONSTANT` are none, and -3, -4 ... are those
    that cross the edge before it, in the order in which they were written.

    Attributes:
        kernels: number of each.
        reads: what each reads.
        gives: what crosses the edge behind it: all that is read later; behind the last one, what the network gives.
    """

    kernels: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]
    gives: tuple[int, ...]


def apart(network: CutNetwork, kernels: Sequence[Operator]) -> tuple[Stretch, ...] | None:
    """The stretches of a network, in the order of its blocks; those that the runtime deleted have no kernels.

    Args:
        network: compiled and cut.
        kernels: that its numbers speak of.

    Returns:
        None where kernels belong to no block, or those of a block do not run in a row.
    """
    if network.uses is None:
        return None
    if list(itertools.chain.from_iterable(use.kernels for use in network.uses)) != list(range(len(network.kernels))):
        return None
    last: dict[int, int] = {}
    for i, reads in enumerate(network.reads):
        last |= dict.fromkeys(reads, i)
    last |= dict.fromkeys(network.outputs, len(network.kernels))
    across: Sequence[int] = (0,)  # the network's input
    written, found = 1, []
    for use in network.uses:
        if not use.kernels:
            found.append(Stretch((), (), ()))
            continue
        number = {CONSTANT: CONSTANT, LEFT_OUT: LEFT_OUT}
        number |= {value: _CROSSING - i for i, value in enumerate(across)}
        start, behind = written, use.kernels[-1]
        written += sum(len(kernels[network.kernels[i]].outputs) for i in use.kernels)
        number |= {value: value - start for value in range(start, written)}
        alive = [value for value in (*across, *range(start, written)) if last.get(value, -1) > behind]
        across = network.outputs if behind == len(network.kernels) - 1 else alive
        found.append(
            Stretch(
                tuple(network.kernels[i] for i in use.kernels),
                tuple(tuple(number[value] for value in network.reads[i]) for i in use.kernels),
                tuple(number[value] for value in across),
            )
        )
    return tuple(found)


def crossing(stretch: Stretch) -> int:
    """How many values must cross the edge before a stretch, at least."""
    lowest = min((value for reads in (*stretch.reads, stretch.gives) for value in reads), default=0)
    return max(_CROSSING - lowest + 1, 0)


def crossed(stretches: Sequence[Stretch], kernels: Sequence[Operator]) -> tuple[str, ...]:
    """What crosses the edge behind each stretch of a network: the operator set of each value, or its conversion.

    Args:
        stretches: of a whole network, in order.
        kernels: that their numbers speak of.
    """
    across = [INPUT]
    found = []
    for stretch in stretches:
        own: list[str] = []
        for operator in (kernels[kernel] for kernel in stretch.kernels):
            converted = operator.op_type in CONVERSIONS
            own += [operator.kind if converted else operator.domain or "onnx"] * len(operator.outputs)
        if stretch.kernels:
            across = [own[value] if value >= 0 else across[_CROSSING - value] for value in stretch.gives]
        found.append(" ".join(across))
    return tuple(found)


def joined(stretches: Sequence[Stretch], kernels: Sequence[Operator], runtime: str) -> OperatorGraph:
    """The graph of a network, its stretches one behind the other.

    Args:
        stretches: in order, all with kernels; edges between them must be the same.
        kernels: that their numbers speak of.
        runtime: whose kernels these are.

    Raises:
        LookupError: a stretch reads what does not cross the edge before it.
    """
    nodes: list[Node] = []
    across = [INPUT]
    given: Tensor | None = None
    values = constants = 0
    for stretch in stretches:
        names: dict[int, str] = {_CROSSING - i: name for i, name in enumerate(across)}
        names[LEFT_OUT] = ""
        own = 0
        for kernel, reads in zip(stretch.kernels, stretch.reads, strict=True):
            operator = kernels[kernel]
            read = []
            for position, value in enumerate(reads):
                if value == CONSTANT:
                    read.append(f"w{constants}")
                    constants += 1
                else:
                    read.append(names[value])
                    if given is None and read[-1] == INPUT:
                        given = operator.inputs[position]
            written = []
            for _ in operator.outputs:
                names[own] = f"v{values}"
                written.append(names[own])
                own, values = own + 1, values + 1
            nodes.append(Node(operator, tuple(read), tuple(written)))
        across = [names[value] for value in stretch.gives]
    inputs = () if given is None else ((INPUT, given),)
    return OperatorGraph(tuple(nodes), inputs, tuple(across), runtime)
