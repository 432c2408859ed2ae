"""Graphs of an ONNX file as names, tensors and attributes of Python: read once, compiled as often as they run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from profiler.runtimes._torch.tensors import from_message

#: Names of ONNX's own operator set.
OWN_DOMAINS = ("", "ai.onnx")


class UnknownOperators(Exception):
    """Nodes that nothing can compile.

    Args:
        kinds: their operators.
    """

    def __init__(self, kinds: Collection[str]) -> None:
        super().__init__(", ".join(sorted(kinds)))


@dataclass(frozen=True)
class GraphNode:
    """A node of a graph.

    Attributes:
        op_type: its operator, with the domain if that is not ONNX's own.
        name: of the node, or of its first output.
        attributes: tensors are torch's, graphs are `Graph`, text is `str`.
        reads: names of the inputs, and behind them of what graphs inside of it take from outside.
        inputs: how many of them are inputs.
        outputs: number of its outputs.
        writes: names of the outputs up to the last one that is read; `""` where one is left out between them.
        drops: values of which it is the last to need them, outputs that nobody reads included.
        message: the node as the file has it.
    """

    op_type: str
    name: str
    attributes: Mapping[str, Any]
    reads: tuple[str, ...]
    inputs: int
    outputs: int
    writes: tuple[str, ...]
    drops: tuple[str, ...]
    message: Any


@dataclass(frozen=True)
class Graph:
    """A graph, without the nodes that no output needs.

    Attributes:
        inputs: names of what it is given.
        outputs: names of what it gives.
        weights: the initialisers that are read, by name.
        nodes: in order.
        outer: names that it takes from around it.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: Mapping[str, Tensor]
    nodes: tuple[GraphNode, ...]
    outer: tuple[str, ...]


def read(proto: Any, known: Collection[str]) -> Graph:
    """Read a graph and those inside of it.

    Args:
        proto: the message.
        known: operators that can be compiled.

    Raises:
        UnknownOperators: others are needed.
        NotImplementedError: a weight has a type that torch lacks; the message names it and who reads it.
        ValueError: an attribute or a weight is damaged.
    """
    missing = kinds(proto) - set(known)
    if missing:
        raise UnknownOperators(missing)
    return _graph(proto)


def kinds(proto: Any) -> set[str]:
    """Operators of the nodes that outputs need, of inner graphs too."""
    found = set[str]()
    for node, _ in _needed(proto):
        found.add(kind(node))
        for inner in _inner(node):
            found |= kinds(inner)
    return found


def kind(node: Any) -> str:
    """A node's operator, with the domain if that is not ONNX's own."""
    return str(node.op_type if node.domain in OWN_DOMAINS else f"{node.domain}:{node.op_type}")


def reader(proto: Any, name: str) -> str:
    """The operator of the first node that reads a value; empty if there is none."""
    return next((kind(node) for node in proto.node if name in _reads(node)), "")


def _inner(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _outer(proto: Any) -> dict[str, None]:
    """What a graph takes from around it, in the order of its use."""
    own = {value.name for value in proto.input} | {weight.name for weight in proto.initializer}
    taken: dict[str, None] = {}
    for node in proto.node:
        taken |= dict.fromkeys(name for name in _reads(node) if name and name not in own)
        own.update(node.output)
    return taken | dict.fromkeys(value.name for value in proto.output if value.name not in own)


def _reads(node: Any) -> tuple[str, ...]:
    """Names of the inputs, and behind them of what inner graphs take from outside."""
    taken: dict[str, None] = {}
    for inner in _inner(node):
        taken |= _outer(inner)
    return (*node.input, *taken)


def _needed(proto: Any) -> list[tuple[Any, tuple[str, ...]]]:
    """The nodes that the outputs depend on, each with the values of which it is the last to need them.

    An output that nothing reads is among these values.
    """
    wanted = {value.name for value in proto.output}
    needed = []
    for node in reversed(proto.node):
        if wanted.isdisjoint(name for name in node.output if name):
            continue
        reads = _reads(node)
        drops = tuple(name for name in dict.fromkeys((*node.output, *reads)) if name and name not in wanted)
        wanted.update(reads)
        needed.append((node, drops))
    return needed[::-1]


def _graph(proto: Any) -> Graph:
    nodes = tuple(_node(node, drops) for node, drops in _needed(proto))
    used = {name for node in nodes for name in node.reads} | {value.name for value in proto.output}
    weights = {}
    for weight in proto.initializer:
        if weight.name in used:
            try:
                weights[weight.name] = from_message(weight)
            except NotImplementedError as error:
                raise NotImplementedError(f"{reader(proto, weight.name)}: {weight.name!r} is of {error}") from error
    return Graph(
        tuple(value.name for value in proto.input if value.name not in weights),
        tuple(value.name for value in proto.output),
        weights,
        nodes,
        tuple(_outer(proto)),
    )


def _node(node: Any, drops: tuple[str, ...]) -> GraphNode:
    outputs = list(node.output)
    while len(outputs) > 1 and (not outputs[-1] or outputs[-1] in drops):
        outputs.pop()
    name = node.name or next(name for name in outputs if name)
    try:
        attributes = _attributes(node)
    except NotImplementedError as error:
        raise NotImplementedError(f"{kind(node)}: {error}") from error
    return GraphNode(
        kind(node), name, attributes, _reads(node), len(node.input), len(node.output), tuple(outputs), drops, node
    )


def _attributes(node: Any) -> dict[str, Any]:
    """A node's attributes: tensors as torch's, bytes as text."""
    import onnx

    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = from_message(value)
        elif isinstance(value, onnx.GraphProto):
            value = _graph(value)
        elif isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif attribute.type == onnx.AttributeProto.STRINGS:
            value = [text.decode(errors="replace") for text in value]
        found[attribute.name] = value
    return found
