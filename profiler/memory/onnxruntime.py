"""ONNX Runtime on the CPU, sequential execution, one thread, as its arena would report it.

Three steps of the runtime are followed, from its own sources (`onnxruntime/core/framework/`): the plan that gives
values buffers (`allocation_planner.cc`), the arena that the buffers come from (`bfc_arena.cc`), and the one block that
replaces them from the second inference on (`mem_pattern_planner.h`, `execution_frame.cc`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from profiler.memory.allocation import Allocation
from profiler.memory.arena import Arena, OffsetPlan
from profiler.memory.liveness import weights
from profiler.memory.onnxruntime_rules import (
    ALIASES,
    BLOCKS,
    IN_PLACE,
    SMALL_CONSTANT_BYTES,
    in_regions,
    packed_bytes,
    workspace_bytes,
)
from profiler.operators import Node, OperatorGraph, Tensor

_CONV = "com.microsoft.nchwc:Conv"
_REORDER_INPUT = "com.microsoft.nchwc:ReorderInput"
_REORDER_OUTPUT = "com.microsoft.nchwc:ReorderOutput"


def allocate(graph: OperatorGraph) -> Allocation:
    """Simulate a session's arena: loading, the first inference, and a second one.

    The network's inputs are the caller's and no part of it; its outputs are.
    """
    shapes = stored_tensors(graph)
    buffers = assign_buffers(graph, shapes)
    owned, outputs, freed = _lifetimes(graph, buffers)
    sizes = {name: tensor.bytes for name, tensor in shapes.items()}
    workspaces = [workspace_bytes(node.operator) for node in graph.nodes]

    arena, pattern = Arena(), OffsetPlan()
    replaced_bytes = _load_weights(graph, arena)
    resident = arena.in_use_bytes
    places: dict[str, int | None] = {}
    timeline = []
    for index, _ in enumerate(graph.nodes):
        for name in (*owned[index], *outputs[index]):
            places[name] = arena.allocate(sizes[name])
        for name in owned[index]:
            pattern.allocate(name, sizes[name])
        _borrow(arena, workspaces[index])
        timeline.append(arena.in_use_bytes)
        for name in freed[index]:
            arena.free(places.pop(name))
            pattern.free(name)
    for place in places.values():  # the caller drops the outputs
        arena.free(place)
    touched = arena.touched_bytes

    arena.allocate(pattern.block_bytes)
    for index, _ in enumerate(graph.nodes):
        for name in outputs[index]:
            arena.allocate(sizes[name])
        _borrow(arena, workspaces[index])
    return Allocation(
        arena.peak_bytes,
        resident,
        arena.held_bytes,
        tuple(timeline),
        _notes(graph, workspaces),
        touched_bytes=touched,
        replaced_bytes=replaced_bytes,
    )


def stored_tensors(graph: OperatorGraph) -> dict[str, Tensor]:
    """The tensors that nodes write, as they are stored: channels of blocked layouts are filled up to whole blocks."""
    block = _block(graph)
    stored: dict[str, Tensor] = {}
    widened: dict[str, int] = {}
    for node in graph.nodes:
        kind = node.operator.kind
        for name, tensor in zip(node.outputs, node.operator.outputs, strict=True):
            stored[name] = tensor
            full = 0
            if kind == _REORDER_INPUT and len(tensor.shape) > 1:
                full = -(-tensor.shape[1] // block) * block
            elif kind not in (_CONV, _REORDER_OUTPUT) and node.inputs and node.inputs[0] in widened:
                full = widened[node.inputs[0]]  # what else reads a blocked tensor keeps its channels
            if full and full != tensor.shape[1]:
                widened[name] = full
                stored[name] = replace(tensor, shape=(tensor.shape[0], full, *tensor.shape[2:]))
    return stored


def _block(graph: OperatorGraph) -> int:
    """Channels of a block, as the weights of blocked convolutions show.

    All have whole blocks of filters, and whole blocks of channels where they read a blocked tensor; a few channels can
    be read as they are.
    """
    reordered = {name for node in graph.nodes if node.operator.kind == _REORDER_INPUT for name in node.outputs}
    channels: list[int] = []
    for node in graph.nodes:
        weight = node.operator.inputs[1] if node.operator.kind == _CONV else None
        if weight is not None:
            channels.append(weight.shape[0])
            if node.inputs[0] in reordered and int(node.operator.attribute("group", 1)) == 1:
                channels.append(weight.shape[1])
    return next((block for block in BLOCKS if all(count % block == 0 for count in channels)), BLOCKS[-1])


def assign_buffers(graph: OperatorGraph, stored: dict[str, Tensor]) -> dict[str, str]:
    """The value whose buffer each value is written to: itself, or one that came before.

    A value takes the buffer of an input where its operator aliases that input, or may write into it and nobody else
    still needs it; else the buffer of equal type and shape that was freed last; else a new one. Outputs of the network
    always get their own.

    Args:
        graph: the nodes.
        stored: tensors by name, from `stored_tensors`.
    """
    outputs = set(graph.outputs)
    inputs = {name for name, _ in graph.inputs}
    uses = Counter(name for node in graph.nodes for name in _reads(node))
    uses.update(inputs)  # the caller keeps its inputs
    uses.update(graph.outputs)
    uses.update(name for node in graph.nodes for name in node.outputs)
    buffer = {name: name for name in (*inputs, *stored)}
    form = {name: (tensor.shape, tensor.bytes) for name, tensor in stored.items()}
    free: dict[tuple[tuple[int, ...], int], list[str]] = {}  # by form, freed last at the end

    def take(owner: str, name: str) -> None:
        buffer[name] = owner
        uses[owner] += uses[name]

    def drop(owner: str) -> None:
        uses[owner] -= 1
        if uses[owner] == 0 and owner in form:
            free.setdefault(form[owner], []).append(owner)

    for node in graph.nodes:
        for position, name in enumerate(node.outputs):
            if name in outputs:
                continue
            source = _reused_input(node, position, form.get(name), form, buffer, uses)
            waiting = free.get(form[name])
            if source is not None:
                take(source, name)
            elif waiting and form[name][0]:
                take(waiting.pop(), name)
        for name in (*_reads(node), *node.outputs):
            drop(buffer[name])
    return buffer


def _reused_input(
    node: Node,
    position: int,
    wanted: tuple[tuple[int, ...], int] | None,
    form: dict[str, tuple[tuple[int, ...], int]],
    buffer: dict[str, str],
    uses: Counter[str],
) -> str | None:
    """The buffer of the input that an output takes over, if it does."""
    kind = node.operator.kind
    if position or not node.inputs:
        return None
    if kind in ALIASES:
        return buffer.get(node.inputs[0])
    for candidate in IN_PLACE.get(kind, ()):
        name = node.inputs[candidate] if candidate < len(node.inputs) else ""
        if name in buffer and uses[buffer[name]] == 1 and form.get(name) == wanted:
            return buffer[name]
    return None


def _reads(node: Node) -> list[str]:
    """Names of the values that a node reads, repeats included, constants not."""
    pairs = zip(node.inputs, node.operator.inputs, strict=True)
    return [name for name, tensor in pairs if tensor is not None and not tensor.constant]


def _lifetimes(
    graph: OperatorGraph, buffer: dict[str, str]
) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """For each node the buffers that it opens, the outputs that it writes, and the buffers that are freed after it."""
    results = set(graph.outputs)
    owned: list[list[str]] = []
    outputs: list[list[str]] = []
    last: dict[str, int] = {}
    opened: set[str] = set()
    for index, node in enumerate(graph.nodes):
        owned.append([name for name in node.outputs if buffer[name] == name and name not in results])
        outputs.append([name for name in node.outputs if name in results])
        opened |= set(owned[-1])
        for name in (*_reads(node), *node.outputs):
            last[buffer[name]] = index
    freed: list[list[str]] = [[] for _ in graph.nodes]
    for name, index in last.items():
        if name in opened:
            freed[index].append(name)
    return owned, outputs, freed


def _load_weights(graph: OperatorGraph, arena: Arena) -> int:
    """Put small constants and packed copies into the arena; the bytes of the constants that the copies replace.

    A constant that several nodes pack in the same way is packed once.
    """
    packed: dict[tuple[str, int], tuple[int, bool]] = {}
    unpacked: set[str] = set()
    for node in graph.nodes:
        copies = packed_bytes(node.operator)
        for position, name in enumerate(node.inputs):
            if position in copies:
                packed[name, int(node.operator.attribute("transB", 0))] = copies[position], in_regions(node.operator)
            else:
                unpacked.add(name)
    for size, regions in packed.values():
        if regions:
            arena.allocate(size)
        else:
            arena.reserve(size)
    replaced = {name for name, _ in packed} - unpacked
    constants = weights(graph)
    for name, tensor in constants.items():
        if tensor.bytes <= SMALL_CONSTANT_BYTES and name not in replaced:
            arena.reserve(tensor.bytes)
    return sum(constants[name].bytes for name in replaced)


def _borrow(arena: Arena, sizes: tuple[int, ...] | None) -> None:
    """Hand out a kernel's workspace and take it back."""
    for place in [arena.allocate(size) for size in sizes or ()]:
        arena.free(place)


def _notes(graph: OperatorGraph, workspaces: list[tuple[int, ...] | None]) -> tuple[str, ...]:
    notes = []
    unknown = sorted({n.operator.kind for n, sizes in zip(graph.nodes, workspaces, strict=True) if sizes is None})
    if unknown:
        notes.append(f"the workspace of {', '.join(unknown)} is not known and counted as 0")
    readers = Counter(name for node in graph.nodes for name in set(_reads(node)))
    if any(n.operator.kind == _REORDER_OUTPUT and readers[n.inputs[0]] > 1 for n in graph.nodes):
        notes.append(
            "ONNX Runtime orders ReorderOutput and the other readers of its input anew each time it loads the model; "
            "this is the peak of the order given"
        )
    return tuple(notes)
