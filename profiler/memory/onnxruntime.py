"""ONNX Runtime on the CPU, sequential execution, one thread, as its arena would report it.

Three steps of the runtime are followed, from its own sources (`onnxruntime/core/framework/`): the plan that gives
values buffers (`allocation_planner.cc`), the arena that the buffers come from (`bfc_arena.cc`), and the one block that
replaces them from the second inference on (`mem_pattern_planner.h`, `execution_frame.cc`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from profiler.memory.allocation import Allocation
from profiler.memory.arena import Arena, OffsetPlan
from profiler.memory.liveness import weights
from profiler.memory.onnxruntime_needs import CONV, REORDER_INPUT, REORDER_OUTPUT, Needs, needs
from profiler.memory.onnxruntime_rules import BLOCKS
from profiler.operators import Node, OperatorGraph, Tensor

#: Shape and bytes: buffers are taken over by values of the same.
_Form = tuple[tuple[int, ...], int]


def allocate(graph: OperatorGraph) -> Allocation:
    """Simulate a session's arena: loading, the first inference, and a second one.

    The network's inputs are the caller's and no part of it; its outputs are.
    """
    wanted = [needs(node.operator) for node in graph.nodes]
    reads = [[node.inputs[i] for i in want.reads] for node, want in zip(graph.nodes, wanted, strict=True)]
    forms: dict[str, _Form] = {name: (tensor.shape, tensor.bytes) for name, tensor in stored_tensors(graph).items()}
    sizes = {name: form[1] for name, form in forms.items()}
    buffers = _assign_buffers(graph, forms, wanted, reads)
    owned, outputs, freed = _lifetimes(graph, buffers, reads)
    workspaces = [want.workspace for want in wanted]

    arena, pattern = Arena(), OffsetPlan()
    replaced_bytes = _load_weights(graph, wanted, arena)
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
        _notes(graph, workspaces, reads),
        touched_bytes=touched,
        replaced_bytes=replaced_bytes,
    )


def stored_tensors(graph: OperatorGraph) -> dict[str, Tensor]:
    """The tensors that nodes write, as they are stored: channels of blocked layouts are filled up to whole blocks."""
    block = _block(graph)
    stored: dict[str, Tensor] = {}
    widened: dict[str, int] = {}
    for node in graph.nodes:
        written = node.operator.outputs
        stored |= zip(node.outputs, written, strict=True)
        kind = node.operator.kind
        if kind == REORDER_INPUT and len(written[0].shape) > 1:
            full = -(-written[0].shape[1] // block) * block
        elif kind not in (CONV, REORDER_OUTPUT) and node.inputs and node.inputs[0] in widened:
            full = widened[node.inputs[0]]  # what else reads a blocked tensor keeps its channels
        else:
            continue
        for name, tensor in zip(node.outputs, written, strict=True):
            if full != tensor.shape[1]:
                widened[name] = full
                stored[name] = replace(tensor, shape=(tensor.shape[0], full, *tensor.shape[2:]))
    return stored


def _block(graph: OperatorGraph) -> int:
    """Channels of a block, as the weights of blocked convolutions show.

    All have whole blocks of filters, and whole blocks of channels where they read a blocked tensor; a few channels can
    be read as they are.
    """
    reordered = {name for node in graph.nodes if node.operator.kind == REORDER_INPUT for name in node.outputs}
    channels: list[int] = []
    for node in graph.nodes:
        weight = node.operator.inputs[1] if node.operator.kind == CONV else None
        if weight is not None:
            channels.append(weight.shape[0])
            if node.inputs[0] in reordered and int(node.operator.attribute("group", 1)) == 1:
                channels.append(weight.shape[1])
    return next((block for block in BLOCKS if all(count % block == 0 for count in channels)), BLOCKS[-1])


def _assign_buffers(
    graph: OperatorGraph, forms: dict[str, _Form], wanted: Sequence[Needs], reads: Sequence[list[str]]
) -> dict[str, str]:
    """The value whose buffer each value is written to: itself, or one that came before.

    A value takes the buffer of an input where its operator aliases that input, or may write into it and nobody else
    still needs it; else the buffer of equal type and shape that was freed last; else a new one. Outputs of the network
    always get their own.

    Args:
        graph: the nodes.
        forms: of the values that nodes write.
        wanted: of each node.
        reads: of each node the values, repeats included.
    """
    outputs = set(graph.outputs)
    uses = dict.fromkeys(forms, 1)  # that of the node that writes it
    for name in itertools.chain((name for name, _ in graph.inputs), graph.outputs, *reads):  # the caller keeps its own
        uses[name] = uses.get(name, 0) + 1
    buffer = {name: name for name in itertools.chain((name for name, _ in graph.inputs), forms)}
    free: dict[_Form, list[str]] = {}  # freed last at the end
    for node, want, read in zip(graph.nodes, wanted, reads, strict=True):
        for position, name in enumerate(node.outputs):
            if name in outputs:
                continue
            form = forms[name]
            owner = None if position else _reused_input(node, want, form, forms, buffer, uses)
            if owner is None and form[0] and free.get(form):
                owner = free[form].pop()
            if owner is not None:
                buffer[name] = owner
                uses[owner] += uses[name]
        for name in (*read, *node.outputs):
            owner = buffer[name]
            uses[owner] -= 1
            if uses[owner] == 0 and owner in forms:
                free.setdefault(forms[owner], []).append(owner)
    return buffer


def _reused_input(
    node: Node, want: Needs, wanted: _Form, forms: dict[str, _Form], buffer: dict[str, str], uses: dict[str, int]
) -> str | None:
    """The buffer of the input that the first output takes over, if it does."""
    if want.alias:
        return buffer.get(node.inputs[0]) if node.inputs else None
    for candidate in want.in_place:
        name = node.inputs[candidate] if candidate < len(node.inputs) else ""
        if name in buffer and uses[buffer[name]] == 1 and forms.get(name) == wanted:
            return buffer[name]
    return None


def _lifetimes(
    graph: OperatorGraph, buffer: dict[str, str], reads: Sequence[list[str]]
) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """For each node the buffers that it opens, the outputs that it writes, and the buffers that are freed after it."""
    results = set(graph.outputs)
    owned: list[list[str]] = []
    outputs: list[list[str]] = []
    last: dict[str, int] = {}
    opened: set[str] = set()
    for index, (node, read) in enumerate(zip(graph.nodes, reads, strict=True)):
        owned.append([name for name in node.outputs if buffer[name] == name and name not in results])
        outputs.append([name for name in node.outputs if name in results])
        opened.update(owned[-1])
        for name in (*read, *node.outputs):
            last[buffer[name]] = index
    freed: list[list[str]] = [[] for _ in graph.nodes]
    for name, index in last.items():
        if name in opened:
            freed[index].append(name)
    return owned, outputs, freed


def _load_weights(graph: OperatorGraph, wanted: Sequence[Needs], arena: Arena) -> int:
    """Put small constants and packed copies into the arena; the bytes of the constants that the copies replace.

    A constant that several nodes pack in the same way is packed once.
    """
    packed: dict[tuple[str, int], tuple[int, bool]] = {}
    unpacked: set[str] = set()
    small: dict[str, int] = {}
    for node, want in zip(graph.nodes, wanted, strict=True):
        for position, size in want.packed:
            packed[node.inputs[position], want.transposed] = size, want.regions
        unpacked.update([node.inputs[position] for position in want.unpacked])
        for position, size in want.small:
            small[node.inputs[position]] = size
    for size, regions in packed.values():
        if regions:
            arena.allocate(size)
        else:
            arena.reserve(size)
    replaced = {name for name, _ in packed} - unpacked
    for name, size in small.items():
        if name not in replaced:
            arena.reserve(size)
    if not replaced:
        return 0
    constants = weights(graph)
    return sum(constants[name].bytes for name in replaced)


def _borrow(arena: Arena, sizes: tuple[int, ...] | None) -> None:
    """Hand out a kernel's workspace and take it back."""
    if sizes:
        for place in [arena.allocate(size) for size in sizes]:
            arena.free(place)


def _notes(
    graph: OperatorGraph, workspaces: Sequence[tuple[int, ...] | None], reads: Sequence[list[str]]
) -> tuple[str, ...]:
    notes = []
    unknown = sorted({n.operator.kind for n, sizes in zip(graph.nodes, workspaces, strict=True) if sizes is None})
    if unknown:
        notes.append(f"the workspace of {', '.join(unknown)} is not known and counted as 0")
    reordered = {node.inputs[0] for node in graph.nodes if node.operator.kind == REORDER_OUTPUT}
    readers = Counter(name for read in reads for name in set(read) & reordered)
    if any(count > 1 for count in readers.values()):
        notes.append(
            "ONNX Runtime orders ReorderOutput and the other readers of its input anew each time it loads the model; "
            "this is the peak of the order given"
        )
    return tuple(notes)
