"""Which event is of which kernel: XNNPACK runs its nodes in their order, and names the operator of each.

Some it runs as one when it loads a program: a clamp as the bounds of what writes its input, a function of one value
between two changes of type as a table of 256 entries, and two changes of shape. That shows in the events, and nothing
else does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profiler.runtimes._executorch.etdump import Event

#: What XNNPACK calls the operators of its nodes, where the names differ.
_OPERATORS = {
    "Div": ("Divide",), "FullyConnected": ("Fully Connected", "Dynamic Fully Connected"),
    "StaticTranspose": ("Transpose",),
    "Conv2d": ("Convolution", "Fully Connected"), "DepthwiseConv2d": ("Convolution", "Fully Connected"),
    "ConvTranspose2d": ("Deconvolution",), "StaticResizeBilinear2D": ("Resize Bilinear",),
    "StaticConstantPad": ("Constant Pad",), "AvgPooling2d": ("Average Pooling",), "MaxPooling2d": ("Max Pooling",),
    "GlobalAvgPooling2d": ("Mean", "Global Average Pooling"), "StaticReshape": ("Static Reshape", "Copy"),
    "SquareRoot": ("Square Root",), "Hardswish": ("HardSwish",), "LeakyReLU": ("LeakyReLU",), "Gelu": ("GELU",),
    "Tanh": ("TanH",), "Sin": ("Sine",), "Cos": ("Cosine",), "StaticSlice": ("Slice",), "ELU": ("ELU",),
    "PReLU": ("PReLU",), "BatchMatrixMultiply": ("Batch Matrix Multiply",), "ArgMaxPooling2d": ("ArgMax Pooling",),
    "ReciprocalSquareRoot": ("Reciprocal Square Root",), "Concatenate2": ("Copy",), "Concatenate3": ("Copy",),
    "Concatenate4": ("Copy",), "Concatenate5": ("Copy",),
}  # fmt: skip
_TABLE = "Invalid Unary Op"
#: Events around what runs: of the whole, and of calls.
_AROUND = frozenset({"Method::execute", "DELEGATE_CALL", "OPERATOR_CALL"})
_PREFIX = "native_call_"
_FLOATS = {"F32": "fp32", "PF32": "fp32", "F16": "fp16", "PF16": "fp16", "BF16": "bf16", "BF16_F32": "bf16"}
_DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}


class NoMatch(ValueError):
    """What ran is not what was asked for."""


@dataclass(frozen=True)
class Kernel:
    """Something that ran.

    Attributes:
        name: of the ONNX node that is its core.
        op_type: ONNX's operator.
        attributes: those of ONNX, `primitive`, `precision` and `fused`.
        inputs: pairs of a value's name and its plain tensor.
        outputs: likewise.
        kind: of XNNPACK's node; empty outside of XNNPACK.
        ns: that it took.
        within: whether XNNPACK ran it.
    """

    name: str
    op_type: str
    attributes: Mapping[str, Any]
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    kind: str
    ns: int = 0
    within: bool = False


def matched(asked: Sequence[Mapping[str, Any]], events: Sequence[Event]) -> list[Kernel]:
    """The kernels that ran, in order, each with its events.

    Args:
        asked: what the converter wrote.
        events: of one run.

    Raises:
        NoMatch: something else ran.
    """
    ran: dict[int, list[Event]] = {}
    for event in events:
        if event.instruction >= 0 and event.name not in _AROUND:
            ran.setdefault(event.instruction, []).append(event)
    wanted: dict[int, list[Kernel]] = {}
    for one in asked:
        wanted.setdefault(one["instruction"], []).append(_kernel(one))
    if ran.keys() - wanted.keys():
        raise NoMatch(f"{next(iter(ran.values()))[0].name} ran, and nobody asked for it")
    found = []
    for instruction, kernels in wanted.items():
        own = ran.get(instruction, [])
        found += _delegate(kernels, own) if kernels[0].kind else [_own(kernels[0], own)]
    return found


def _kernel(one: Mapping[str, Any]) -> Kernel:
    return Kernel(
        one["name"], one["op_type"], one["attributes"], tuple(one["inputs"]), tuple(one["outputs"]), one["xnnpack"]
    )


def _own(kernel: Kernel, events: Sequence[Event]) -> Kernel:
    """One of ExecuTorch's own kernels: a call has one."""
    if len(events) != 1 or events[0].within:
        raise NoMatch(f"{[event.name for event in events]} ran for {kernel.name}")
    return _ran(kernel, events[0])


def _delegate(kernels: Sequence[Kernel], events: Sequence[Event]) -> list[Kernel]:
    """XNNPACK's nodes of one call, as they ran."""
    count, shorter = sum(_word(event) == _TABLE for event in events), _reshaped_once(kernels)
    for given in (shorter, kernels) if len(shorter) < len(kernels) else (kernels,):
        for tables in _tables(given, count):
            try:
                return _in_order(tables, events)
            except NoMatch as error:
                why = error
    raise why


def _reshaped_once(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The nodes with two as one that change the shape, where nobody else sees what is between, outside neither."""
    readers = Counter(name for kernel in kernels for name in dict(kernel.inputs))
    found: dict[str, Kernel] = {}  # by what they write
    for kernel in kernels:
        read = kernel.inputs[0][0] if kernel.inputs else ""
        inner = readers[read] == 1 and ":" in read
        joined = inner and read in found and found[read].kind == kernel.kind == "StaticReshape"
        inputs = found.pop(read).inputs if joined else kernel.inputs
        found[kernel.outputs[0][0]] = replace(kernel, inputs=inputs)
    return list(found.values())


def _in_order(kernels: Sequence[Kernel], events: Sequence[Event]) -> list[Kernel]:
    found: list[Kernel] = []
    waiting = list(events)
    for kernel in kernels:
        if waiting and _fits(kernel, waiting[0]):
            found += _bounded(kernel, waiting)
        elif kernel.kind == "Clamp":
            _into_writer(found, kernel, kernels)
        else:
            raise NoMatch(f"{waiting[0].name if waiting else 'nothing'} ran for {kernel.kind} of {kernel.name}")
    if waiting:
        raise NoMatch(f"{waiting[0].name} ran at the end, and nobody asked for it")
    return found


def _bounded(kernel: Kernel, waiting: list[Event]) -> list[Kernel]:
    """A kernel and, where XNNPACK applies its bounds by an operator of their own, that one; their events are taken."""
    own = waiting.pop(0)
    bounds = kernel.attributes.get("fused")
    if not bounds or kernel.kind == _TABLE or not waiting or _word(waiting[0]) != "Clamp":
        return [_ran(kernel, own)]
    attributes = {name: value for name, value in kernel.attributes.items() if name != "fused"}
    between = [[f"{kernel.outputs[0][0]}:unbounded", kernel.outputs[0][1]]]
    return [
        _ran(replace(kernel, attributes=attributes, outputs=between), own),
        _ran(replace(kernel, op_type=bounds[0], kind="Clamp", attributes={}, inputs=between), waiting.pop(0)),
    ]


def _fits(kernel: Kernel, event: Event) -> bool:
    return event.within and _word(event) in _OPERATORS.get(kernel.kind, (kernel.kind,))


def _word(event: Event) -> str:
    """The operator of an event: `Convolution` of `Convolution (NHWC, F32) IGEMM #1`."""
    return event.name.rpartition(" #")[0].partition(" (")[0]


def _into_writer(found: list[Kernel], clamp: Kernel, kernels: Sequence[Kernel]) -> None:
    """A clamp that did not run: bounds of the kernel that writes what it reads, which nobody else reads."""
    read, _ = clamp.inputs[0]
    writer = next((i for i, kernel in enumerate(found) if kernel.outputs[0][0] == read), None)
    if writer is None or sum(read in dict(kernel.inputs) for kernel in kernels) != 1:
        raise NoMatch(f"the clamp of {clamp.name} did not run")
    fused = [*found[writer].attributes.get("fused", ()), clamp.op_type]
    attributes = {**found[writer].attributes, "fused": fused}
    found[writer] = replace(found[writer], attributes=attributes, outputs=clamp.outputs)


def _tables(kernels: Sequence[Kernel], count: int) -> Iterator[list[Kernel]]:
    """The nodes with so many functions between changes of type as one kernel each, at each place where it may stand."""
    groups = [group for group in (_group(kernels, at) for at in range(len(kernels))) if group]
    if not count:
        yield list(kernels)
        return
    if len(groups) != count:
        raise NoMatch(f"{count} tables ran where there are {len(groups)} functions between changes of type")
    for place in (1, -1, 0):
        ordered = list(kernels)
        for group in groups:
            parts = [kernels[i] for i in group]
            fused = [*parts[1].attributes.get("fused", ()), *(one.op_type for one in (parts[0], *parts[2:]))]
            one = replace(
                parts[1],
                kind=_TABLE,
                inputs=parts[0].inputs,
                outputs=parts[-1].outputs,
                attributes={**parts[1].attributes, "fused": fused},
            )
            for i in group:
                ordered[i] = replace(kernels[i], kind="")
            ordered[group[place]] = one
        yield [kernel for kernel in ordered if kernel.kind]


def _group(kernels: Sequence[Kernel], at: int) -> tuple[int, ...] | None:
    """A function of one value, by its number, that alone reads what a change of type writes and is read by another.

    What the function makes may be multiplied by what it is made of (`x * sigmoid(x)`), by a fourth.
    """
    core = kernels[at]
    if core.kind in ("Convert", "StaticTranspose", "StaticReshape") or len(core.inputs) != 1:
        return None
    before = [i for i, one in enumerate(kernels) if one.kind == "Convert" and one.outputs[0][0] == core.inputs[0][0]]
    readers = _readers(kernels, core)
    alone = before and sum(core.inputs[0][0] in dict(one.inputs) for one in kernels) == 1
    if not alone or len(readers) != 1 or kernels[readers[0]].kind != "Convert" or not before[0] < at < readers[0]:
        return None
    group = before[0], at, readers[0]
    entered, left = kernels[group[0]].inputs[0][0], kernels[group[-1]].outputs[0][0]
    further = _readers(kernels, kernels[group[-1]])
    product = further and kernels[further[0]].kind == "Multiply"
    if product and {name for name, _ in kernels[further[0]].inputs} == {entered, left} and len(further) == 1:
        return (*group, further[0])
    return group


def _readers(kernels: Sequence[Kernel], writer: Kernel) -> list[int]:
    return [i for i, one in enumerate(kernels) if writer.outputs[0][0] in dict(one.inputs)]


def _ran(kernel: Kernel, event: Event) -> Kernel:
    name = event.name.rpartition(" #")[0] if event.within else f"ExecuTorch {event.name.removeprefix(_PREFIX)}"
    attributes = {**kernel.attributes, "primitive": name, "precision": _precision(kernel, name)}
    return replace(kernel, attributes=attributes, ns=event.ns, within=event.within)


def _precision(kernel: Kernel, primitive: str) -> str:
    """What XNNPACK says, `Convolution (NHWC, QC8)`; of operators that do not say, the type that they read."""
    said = primitive.partition("(")[2].partition(")")[0].split(", ")[1:]
    if said and said[0] in _FLOATS:
        return _FLOATS[said[0]]
    if said and said[0].startswith("Q"):
        return "int8"
    dtype = str(kernel.inputs[0][1][1]) if kernel.inputs else "float32"
    return _DTYPES.get(dtype, dtype)
