"""What inductor made of a program: its kernels, in the order in which they are called, with what went into them.

Inductor has no public list of its kernels. Two of its methods see each of them: the one that names a generated C++
function, and the one that writes the call of a library. Both are watched while a program is compiled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from device_profiles.errors import DeviceError

#: The mark of a call, as `profiler.compilers` writes it.
_MARK = "hwnas"
#: What the body of a loop does that only moves values.
_MOVES = frozenset({"load", "store", "output", "get_index"})
#: Name, shape, element type by torch's name, and whether it is alike in all runs.
Buffer = tuple[str, list[int], str, bool]


@dataclass
class Kernel:
    """One kernel.

    Attributes:
        event: its name under torch's profiler; generated functions have a prefix there.
        primitive: `cpp`, or the function of a library.
        numbers: of the operators that it computes.
        moved: of those whose values it only copies into another layout.
        reads: buffers from outside.
        writes: buffers that others read.
        fused: what a library does with the results, in its own words.
        names: of all that it writes, also where that holds several outputs and has no shape.
    """

    event: str
    primitive: str
    numbers: list[int]
    moved: list[int]
    reads: list[Buffer]
    writes: list[Buffer]
    fused: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@dataclass
class Recording:
    """A compilation that was watched.

    Attributes:
        kernels: in order.
        inputs: what the program is given.
        outputs: names of what it gives.
        watched: whether there was one: what comes out of a cache is not compiled.
    """

    kernels: list[Kernel] = field(default_factory=list)
    inputs: list[Buffer] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    watched: bool = False
    constants: set[str] = field(default_factory=set)


@contextlib.contextmanager
def watching() -> Iterator[Recording]:
    """Record what is compiled inside.

    Raises:
        DeviceError: this version of torch has other methods.
    """
    try:
        from torch._inductor.codegen.cpp import CppScheduling
        from torch._inductor.graph import GraphLowering
        from torch._inductor.scheduler import Scheduler

        named, called, lowered = CppScheduling.define_kernel, Scheduler.codegen_extern_call, GraphLowering.codegen
    except (ImportError, AttributeError) as error:
        raise DeviceError(
            f"this version of torch hides its kernels: {error}", hint="pip install 'torch>=2.11'"
        ) from error
    found = Recording()

    def define_kernel(self: Any, source: str, nodes: Sequence[Any], kernel_args: Any = None) -> Any:
        name: Any = named(self, source, nodes, kernel_args)  # type: ignore[no-untyped-call]
        template = any("Template" in type(node.node).__name__ for node in nodes)
        _add(found, str(name), "cpp_template" if template else "cpp", nodes)
        return name

    def codegen_extern_call(self: Any, node: Any) -> Any:
        kind = type(node.node).__name__
        if kind == "MultiOutput":
            _rename(found, node)
        elif "Nop" not in kind:
            _add(found, _event(node.node), _primitive(node.node), [node], _fused(node.node))
        return called(self, node)

    def codegen(self: Any) -> Any:
        static = _static()
        found.constants.update(self.constants)
        found.constants.update(name for i, name in enumerate(self.graph_input_names) if i in static)
        found.inputs += [_buffer(name, found) for name in self.graph_input_names if name not in found.constants]
        result = lowered(self)
        found.outputs += [str(name) for name in self.get_output_names()]
        found.watched = True
        return result

    CppScheduling.define_kernel = define_kernel  # type: ignore[method-assign]
    Scheduler.codegen_extern_call = codegen_extern_call  # type: ignore[method-assign,assignment]
    GraphLowering.codegen = codegen  # type: ignore[method-assign]
    try:
        yield found
    finally:
        CppScheduling.define_kernel = named  # type: ignore[method-assign]
        Scheduler.codegen_extern_call = called  # type: ignore[method-assign]
        GraphLowering.codegen = lowered  # type: ignore[method-assign]


def _static() -> set[int]:
    """Positions of weights among the inputs of the graph that is compiled now."""
    from torch._guards import TracingContext

    context = TracingContext.try_get()
    return set(context.fw_metadata.static_input_indices) if context and context.fw_metadata else set()


def _add(found: Recording, event: str, primitive: str, nodes: Sequence[Any], fused: Sequence[str] = ()) -> None:
    """One kernel of some scheduled nodes; intermediate values that never leave it are not listed."""
    from torch._inductor.virtualized import V

    numbers: dict[int, None] = {}
    moved: dict[int, None] = {}
    reads: dict[str, bool] = {}  # and whether they are computed with, not only brought into another layout
    writes: dict[str, None] = {}
    for node in (part for whole in nodes for part in whole.get_nodes()):
        own = [dep.name for dep in node.read_writes.reads]
        made = [dep.name for dep in node.read_writes.writes]
        moves = _moves(node)
        (moved if moves else numbers).update(dict.fromkeys(_marks(node.node)))
        if all(name in found.constants for name in own):
            found.constants.update(made)
        reads.update({name: reads.get(name, False) or not moves for name in own if name not in writes})
        writes.update(dict.fromkeys(made))
    found.kernels.append(
        Kernel(
            event,
            primitive,
            sorted(numbers),
            sorted(moved.keys() - numbers.keys()),
            [(*_buffer(name, found)[:3], name in found.constants and computed) for name, computed in reads.items()],
            [(*_buffer(name, found)[:3], False) for name in writes if name not in V.graph.removed_buffers],
            list(fused),
            list(writes),
        )
    )


def _marks(node: Any) -> list[int]:
    """Numbers of the operators that went into a node; of a library's function, of the one that it is."""
    own = getattr(node, "origin_node", None)
    if own is not None and not hasattr(node, "data") and (own.meta.get("custom") or {}).get(_MARK) is not None:
        return [own.meta["custom"][_MARK]]
    marks = ((one.meta.get("custom") or {}).get(_MARK) for one in node.origins if one.op == "call_function")
    return [mark for mark in marks if mark is not None]


def _moves(node: Any) -> bool:
    body = getattr(node, "_body", None)
    return body is not None and not set(body.op_counts) - _MOVES


def _buffer(name: str, found: Recording) -> Buffer:
    from torch._inductor.virtualized import V

    constant = name in found.constants
    if name in V.graph.constants:
        value = V.graph.constants[name]
        return name, list(value.shape), _dtype(value.dtype), True
    try:
        buffer: Any = V.graph.try_get_buffer(name)
        return name, [int(extent) for extent in buffer.get_size()], _dtype(buffer.get_dtype()), constant
    except (NotImplementedError, AttributeError, TypeError):  # several outputs in one, or none
        return name, [], "unknown", constant


def _dtype(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _rename(found: Recording, node: Any) -> None:
    """One of several outputs of a library's function: it is that kernel's."""
    sources = {dep.name for dep in node.read_writes.reads}
    made = [_buffer(dep.name, found) for dep in node.read_writes.writes]
    for kernel in reversed(found.kernels):
        if any(name in sources for name in kernel.names):
            kernel.writes = [one for one in kernel.writes if one[2] != "unknown"] + made
            return


def _primitive(node: Any) -> str:
    overload = getattr(node, "op_overload", None)
    return str(getattr(node, "python_kernel_name", None) or overload or type(node).__name__)


def _event(node: Any) -> str:
    overload = getattr(node, "op_overload", None)
    if overload is not None and hasattr(overload, "_schema"):
        return str(overload._schema.name)
    return f"aten::{_primitive(node).rpartition('.')[2]}"


def _fused(node: Any) -> list[str]:
    """What oneDNN does behind its own operator: words among the constant arguments."""
    if "mkldnn" not in _primitive(node):
        return []
    return [word for word in getattr(node, "constant_args", ()) if isinstance(word, str) and word not in ("", "none")]
