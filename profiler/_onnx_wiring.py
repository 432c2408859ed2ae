"""Who writes what in an ONNX file, and who reads it: each value has one writer, before its readers."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from profiler._onnx_tensors import File, shown

if TYPE_CHECKING:
    import onnx

#: Nodes of a model whose functions are written out. Functions that call each other twice, 30 deep, would be a billion.
MOST_NODES = 10_000_000

Key = tuple[str, str, str]


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs of a branch, a loop or a scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def described(node: onnx.NodeProto) -> str:
    """A node for a message: its operator, and its name if it has one."""
    return f"the node {shown(node.name)} ({shown(node.op_type)})" if node.name else f"a node {shown(node.op_type)}"


def check_functions(proto: onnx.ModelProto, file: File) -> None:
    """Refuse functions of the model itself that are there twice, call themselves, or write out into too many nodes."""
    functions: dict[Key, Any] = {}
    for function in proto.functions:
        key = (_domain(function.domain), function.name, function.overload)
        if key in functions:
            file.refuse(f"the function {_called(key)} is there twice; which of them is meant cannot be told")
        functions[key] = function
    calls = {key: _calls(function.node, functions, file) for key, function in functions.items()}
    outermost = _calls(proto.graph.node, functions, file)
    # A function that nobody calls is never read: what is wrong in it does no harm.
    called, todo = set(outermost), list(outermost)
    while todo:
        fresh = calls[todo.pop()].keys() - called
        called |= fresh
        todo += fresh
    sizes: dict[Key, int] = {}
    callers: dict[Key, list[Key]] = {key: [] for key in called}
    waiting = {}
    for key in called:
        waiting[key] = len(calls[key])
        for callee in calls[key]:
            callers[callee].append(key)
    ready = [key for key in called if not waiting[key]]
    while ready:
        key = ready.pop()
        sizes[key] = len(functions[key].node) + sum(sizes[callee] * n for callee, n in calls[key].items())
        for caller in callers[key]:
            waiting[caller] -= 1
            if not waiting[caller]:
                ready.append(caller)
    circular = sorted(called - sizes.keys())
    if circular:
        file.refuse(f"the function {_called(circular[0])} calls itself, or one that does")
    if sum(sizes[key] * n for key, n in outermost.items()) > MOST_NODES:
        file.refuse(f"its functions call each other so often that they are more than {MOST_NODES} nodes")
    for key in called:
        _check_function(functions[key], f"the function {_called(key)}", file)


def check_graph(graph: onnx.GraphProto, file: File) -> None:
    """Refuse a graph with a value that nothing writes, or two nodes write; nodes are put in an order that can run."""
    free = _check_scope(graph, "the graph", file, in_any_order=True)
    for name, reader in free.items():
        file.refuse(f"{reader} reads {shown(name)}, which nothing writes", hint="Export it again.")


def _check_function(function: onnx.FunctionProto, where: str, file: File) -> None:
    if len(set(function.input)) != len(function.input):
        file.refuse(f"{where} has an input twice")
    written = set(function.input)
    free = _check_order(function.node, written, where, file)[0]
    for name, reader in free.items():
        file.refuse(f"{reader} of {where} reads {shown(name)}, which nothing in it writes")
    for name in function.output:
        if name not in written:
            file.refuse(f"{where} has the output {shown(name)}, which nothing in it writes")


def _check_scope(graph: onnx.GraphProto, where: str, file: File, *, in_any_order: bool = False) -> dict[str, str]:
    """Check a graph and those inside of it; returns what it reads from outside, and who does."""
    given: set[str] = set()
    for value in graph.input:
        if value.name in given:
            file.refuse(f"{where} has the input {shown(value.name)} twice")
        given.add(value.name)
    _once(graph, where, file)
    given |= {weight.name for weight in graph.initializer}
    free, order = _check_order(graph.node, given, where, file, in_any_order=in_any_order)
    if order is not None:
        _reorder(graph, order)
    for output in graph.output:
        if output.name not in given or not output.name:
            file.refuse(f"{where} has the output {shown(output.name)}, which nothing in it writes")
    return free


def _once(graph: onnx.GraphProto, where: str, file: File) -> None:
    """Some exporters write a weight twice. Equal ones are one; others cannot both be meant."""
    names = Counter(weight.name for weight in graph.initializer)
    if not any(count > 1 for name, count in names.items() if name):
        return
    first: dict[str, Any] = {}
    for place in range(len(graph.initializer)):
        weight = graph.initializer[place]
        if names[weight.name] > 1 and first.setdefault(weight.name, weight) != weight:
            file.refuse(f"{where} has two weights {shown(weight.name)}; which of them is meant cannot be told")
    kept: set[str] = set()
    for place in reversed(range(len(graph.initializer))):
        name = graph.initializer[place].name
        if name in kept and names[name] > 1:
            del graph.initializer[place]
        kept.add(name)


def _check_order(
    nodes: Any, written: set[str], where: str, file: File, *, in_any_order: bool = False
) -> tuple[dict[str, str], list[int] | None]:
    """Check the nodes of one graph.

    Args:
        nodes: of it.
        written: what is there before the first; what the nodes write is added.
        where: they are, for messages.
        file: of them.
        in_any_order: whether nodes may stand before those whose values they read.

    Returns:
        What the nodes read that no node of theirs writes, and who does; the order in which they can run, or None if
        that is the order in which they are.
    """
    reads: list[dict[str, str]] = []
    writers: dict[str, int] = {}
    sorted_already = True
    for place, node in enumerate(nodes):
        wants = {name: "" for name in node.input if name}
        for inner in inner_graphs(node):
            wants = {**_check_scope(inner, f"a graph inside of {described(node)}", file), **wants}
        reads.append(wants)
        for name in node.output:
            if not name:
                continue
            if name in writers or name in written:
                file.refuse(f"{described(node)} writes {shown(name)}, which is there already")
            writers[name] = place
    free: dict[str, str] = {}
    for place, (node, wants) in enumerate(zip(nodes, reads, strict=True)):
        for name, reader in wants.items():
            if name in writers:
                if writers[name] >= place:
                    sorted_already = False
                    if not in_any_order:
                        file.refuse(
                            f"{reader or described(node)} in {where} reads {shown(name)} before it is written",
                            hint="ONNX wants nodes in the order in which they run.",
                        )
            elif name not in written and name not in free:
                free[name] = reader or described(node)
    written.update(writers)
    if sorted_already:
        return free, None
    return free, _sorted([{writers[name] for name in wants if name in writers} for wants in reads], nodes, file)


def _sorted(needs: list[set[int]], nodes: Any, file: File) -> list[int]:
    """An order in which nodes can run, as near as can be to the one in which they are."""
    readers: list[list[int]] = [[] for _ in needs]
    for place, sources in enumerate(needs):
        for source in sources:
            readers[source].append(place)
    waiting = [len(sources) for sources in needs]
    ready = [place for place, count in enumerate(waiting) if not count]
    order = []
    while ready:
        place = heapq.heappop(ready)
        order.append(place)
        for reader in readers[place]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(needs):
        # Walking back from any that waits ends in the circle itself.
        left, seen = {place for place, count in enumerate(waiting) if count}, set()
        place = min(left)
        while place not in seen:
            seen.add(place)
            place = min(needs[place] & left)
        file.refuse(f"{described(nodes[place])} reads what depends on its own output: the graph has a circle")
    return order


def _reorder(graph: onnx.GraphProto, order: list[int]) -> None:
    moved = type(graph)()
    moved.node.extend(graph.node[place] for place in order)
    del graph.node[:]
    graph.node.extend(moved.node)


def _calls(nodes: Iterable[onnx.NodeProto], functions: dict[Key, Any], file: File) -> Counter[Key]:
    """How often nodes, and those inside of their graphs, call functions of the model."""
    found: Counter[Key] = Counter()
    if not functions:
        return found
    todo = [nodes]
    while todo:
        for node in todo.pop():
            key = (_domain(node.domain), node.op_type, node.overload)
            function = functions.get(key)
            if function is not None:
                found[key] += 1
                if len(node.input) > len(function.input) or len(node.output) > len(function.output):
                    file.refuse(f"{described(node)} gives or takes more than the function {_called(key)} has")
            todo += [inner.node for inner in inner_graphs(node)]
    return found


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _called(key: Key) -> str:
    return shown(":".join(part for part in key if part))
