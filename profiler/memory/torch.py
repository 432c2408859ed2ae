"""PyTorch's eager mode on the CPU, as the runtime `torch` runs a graph: node by node, freed by reference count.

A node's inputs are alive until its result is written. Results of Transpose, Reshape, Split and the like are views: they
keep the memory of what they look at, so strides are followed to tell where PyTorch must copy. The outputs of the last
inference are alive until this one writes them. Sizes are those that are asked for: PyTorch keeps no arena on the CPU,
and `torch.profiler` reports them without the system's rounding to 64 bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from profiler.memory.allocation import Allocation
from profiler.memory.liveness import last_readers
from profiler.memory.torch_rules import UNARY, extra_bytes
from profiler.operators import Node, OperatorGraph, Tensor

Strides = tuple[int, ...]

#: Operators whose result is their first input itself.
_SAME = frozenset({"Identity", "Dropout"})
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
#: Functions that first make a contiguous copy of an input that is not.
_CONTIGUOUS = frozenset(
    {"Conv", "Softmax", "LogSoftmax", "LayerNormalization", "AveragePool", "MaxPool", "InstanceNormalization"}
)
#: Functions whose result is laid out as their input is.
_LAID_OUT_ALIKE = frozenset(
    {
        "Abs", "Add", "And", "Clip", "Div", "Elu", "Equal", "Erf", "Exp", "Gelu", "Greater", "GreaterOrEqual",
        "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not",
        "Or", "Pow", "Reciprocal", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Where", "Xor",
        *UNARY,
    }
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """A value as torch holds it.

    Attributes:
        storage: name of the value whose memory it looks at; `""` for memory of the caller, which is not counted.
        strides: in elements, one for each axis.
    """

    storage: str
    strides: Strides


def allocate(graph: OperatorGraph) -> Allocation:
    """Simulate the second of two inferences; inputs and weights are loaded before and not part of it."""
    seen = {name: View("", contiguous(tensor.shape)) for name, tensor in graph.inputs}
    sizes: dict[str, int] = {}
    holders: Counter[str] = Counter()
    dead, results = last_readers(graph), set(graph.outputs)
    before = _last_results(graph)
    resident = live = peak = sum(before.values())
    timeline, unknown = [], set()
    for node, drops in zip(graph.nodes, dead, strict=True):
        extra = extra_bytes(node.operator)
        if extra is None:
            unknown.add(node.operator.kind)
        copies = _copied_inputs(node, seen)
        written = 0
        # The runtime leaves out what nobody reads behind the last output that somebody does.
        read = [position for position, name in enumerate(node.outputs) if name not in drops]
        for position, name in enumerate(node.outputs[: max(read, default=0) + 1]):
            view = _result(node, position, name, seen)
            seen[name] = view
            if view.storage == name:
                sizes[name] = node.operator.outputs[position].bytes
                written += sizes[name]
            holders[view.storage] += 1
        needed, beside = (extra.before, extra.beside) if extra is not None else (0, 0)
        peak = max(peak, live + copies + needed, live + copies + written + beside)
        live += written
        timeline.append(live)
        for name in node.outputs:
            live -= before.pop(name, 0) if name in results else 0
        for name in drops:
            view = seen[name] if name in seen else View("", ())
            if view.storage:
                holders[view.storage] -= 1
                if not holders[view.storage]:
                    live -= sizes[view.storage]
    kinds = tuple(sorted(unknown))
    notes = tuple(f"what {kind} needs beside its result is not known and counted as 0" for kind in kinds)
    return Allocation(peak, resident, None, tuple(timeline), notes, unknown=kinds)


def contiguous(shape: tuple[int, ...]) -> Strides:
    """Strides of a tensor in row-major order, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def view_strides(shape: tuple[int, ...], strides: Strides, wanted: tuple[int, ...]) -> Strides | None:
    """Strides of a reshaped view; None if the elements do not lie so that one exists and torch has to copy.

    Runs of axes that are contiguous among themselves can be split and joined at will; nothing else can.

    Args:
        shape: of the tensor.
        strides: of the tensor, in elements.
        wanted: the new shape, of as many elements.
    """
    if 0 in shape:
        return contiguous(wanted)
    runs: list[list[int]] = []  # elements, stride of the last axis
    axes = [(extent, step) for extent, step in zip(shape, strides, strict=True) if extent != 1]
    for extent, step in axes:
        if runs and runs[-1][1] == extent * step:
            runs[-1] = [runs[-1][0] * extent, step]
        else:
            runs.append([extent, step])
    found: list[int] = []
    inside = 1  # elements of the run that the axes so far have used up, from its end
    for extent in reversed(wanted):
        if extent == 1:
            found.append(inside * runs[-1][1] if runs else 1)
            continue
        if runs and inside == runs[-1][0]:
            runs.pop()
            inside = 1
        if not runs or runs[-1][0] % (inside * extent):
            return None
        found.append(inside * runs[-1][1])
        inside *= extent
    return tuple(reversed(found))


def _last_results(graph: OperatorGraph) -> dict[str, int]:
    """Bytes of the outputs that the session still holds of the inference before."""
    results = set(graph.outputs)
    return {
        name: tensor.bytes
        for node in graph.nodes
        for name, tensor in zip(node.outputs, node.operator.outputs, strict=True)
        if name in results
    }


def _first(node: Node, seen: dict[str, View]) -> tuple[View, Tensor] | None:
    """The first input, unless it is a constant."""
    tensor = node.operator.inputs[0] if node.operator.inputs else None
    return None if tensor is None or node.inputs[0] not in seen else (seen[node.inputs[0]], tensor)


def _result(node: Node, position: int, name: str, seen: dict[str, View]) -> View:
    """How the result lies in memory, and in whose."""
    out, kind, first = node.operator.outputs[position], node.operator.kind, _first(node, seen)
    own = View(name, contiguous(out.shape))
    if first is None:
        return own
    view, tensor = first
    bounds = [bound for bound in node.operator.inputs[1:] if bound is not None]
    if kind in _SAME or (kind == "Cast" and tensor.dtype == out.dtype) or (kind == "Clip" and not bounds):
        return view
    if kind in _RESHAPES:
        strides = view_strides(tensor.shape, view.strides, out.shape)
        return own if strides is None else View(view.storage, strides)
    if kind == "Transpose":
        order = node.operator.attribute("perm", tuple(reversed(range(len(tensor.shape)))))
        return View(view.storage, tuple(view.strides[axis] for axis in order))
    if kind in ("Split", "Slice"):
        return View(view.storage, view.strides)
    if kind == "Expand":
        missing = len(out.shape) - len(tensor.shape)
        kept = zip(tensor.shape, view.strides, out.shape[missing:], strict=True)
        return View(view.storage, (0,) * missing + tuple(0 if old != new else step for old, step, new in kept))
    if kind in _LAID_OUT_ALIKE and tensor.shape == out.shape and _dense(tensor.shape, view.strides):
        return View(name, view.strides)
    return own


def _dense(shape: tuple[int, ...], strides: Strides) -> bool:
    """Whether the elements fill their memory without gaps or overlaps, in whatever order of the axes."""
    axes = sorted((step, extent) for extent, step in zip(shape, strides, strict=True) if extent != 1)
    return not axes or (axes[0][0] == 1 and all(a[0] * a[1] == b[0] for a, b in pairwise(axes)))


def _copied_inputs(node: Node, seen: dict[str, View]) -> int:
    """Bytes of the contiguous copies that a function makes of its inputs."""
    kind = node.operator.kind
    if kind in _CONTIGUOUS:
        first = _first(node, seen)
        return first[1].bytes if first and not _in_order(first[1].shape, first[0].strides) else 0
    if kind != "MatMul":
        return 0
    copied = 0
    for name, tensor in zip(node.inputs, node.operator.inputs, strict=True):
        if tensor is None or name not in seen or len(tensor.shape) < 3:
            continue
        joined = (-1, *tensor.shape[-2:])
        rows = tensor.elements // max(tensor.shape[-2] * tensor.shape[-1], 1)
        if view_strides(tensor.shape, seen[name].strides, (rows, *joined[1:])) is None:
            copied += tensor.bytes
    return copied


def _in_order(shape: tuple[int, ...], strides: Strides) -> bool:
    """Whether a tensor is contiguous; strides of axes of one element do not matter."""
    pairs = zip(shape, strides, contiguous(shape), strict=True)
    return all(extent == 1 or step == plain for extent, step, plain in pairs)
