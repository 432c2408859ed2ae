"""ONNX files, of networks and of what a runtime made of them, as operator graphs.

What cannot be measured is refused with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.errors import ConstantNetwork, InvalidModel
from profiler import onnx_check
from profiler.agent.trial import MOST_VALUES
from profiler.node_shapes import OfNodes
from profiler.operators import UNKNOWN, AttributeValue, Node, Operator, OperatorGraph, Tensor, Values
from profiler.ort_shapes import LIKE_FIRST, output_dtype, output_shape

if TYPE_CHECKING:
    import onnx

#: `AttributeProto.GRAPH` and `GRAPHS`.
_GRAPHS = (5, 10)
#: What is read from the bytes of nodes and types is remembered: networks of a space have few that differ. Longer ones
#: are read each time.
_MOST_REMEMBERED = 1 << 13
_LONGEST_REMEMBERED = 1 << 12
#: Before the names of operator sets of which ONNX knows nothing.
_OF_RUNTIME = "com.microsoft"


def read_graph(
    model: Path | bytes | onnx.ModelProto,
    *,
    runtime: str = "",
    name: str = "",
    shapes: Mapping[str, Tensor] | None = None,
    unknown: list[str] | None = None,
    values: Mapping[str, Sequence[int | float]] | None = None,
) -> OperatorGraph:
    """Read a model.

    A node with graphs of its own (`If`, `Loop`, `Scan`) is one operator; what those graphs read from outside and their
    weights are further inputs of it. Functions of the model itself are put in place of their calls.

    Args:
        model: a file, its content, or a parsed model.
        runtime: name of the runtime if the model is one that it optimised.
        name: of the model, for messages; that of the file if empty.
        shapes: of values that the file does not have and ONNX cannot infer, such as a run recorded.
        unknown: filled with the names of values whose shape is not known; such a value becomes `UNKNOWN`. None: they
            are an error. Where a run can tell them, nothing but the kernels of a runtime is inferred by our own rules.
        values: numbers of small values that a run recorded, for `Node.values`; None: nodes have none.

    Returns:
        The operators that the outputs depend on, in order. Constants are tensors, not nodes.

    Raises:
        InvalidModel: the file is missing, not ONNX, has dynamic or missing shapes, or keeps weights outside of its
            folder.
        ConstantNetwork: the output does not depend on the input.
    """
    proto = inlined(_parsed(model, own=bool(runtime)))
    name = name or (model.name if isinstance(model, Path) else "the model")
    inputs = _inputs(proto, name)
    tensors = known_shapes(proto) | dict(shapes or {})
    tensors |= dict(inputs)
    for weight in proto.graph.initializer:
        tensors[weight.name] = _weight(tuple(weight.dims), weight.data_type)
    nodes: list[Node] = []
    live = {tensor_name for tensor_name, _ in inputs}
    missing: list[str] = []
    by_onnx = OfNodes(proto) if runtime else None  # on damaged nodes of strangers ONNX may end the process
    for proto_node in proto.graph.node:
        node = _node(proto_node, tensors, name, missing, rules=bool(runtime) or unknown is None, by_onnx=by_onnx)
        if any(tensor in live for tensor in node.inputs if tensor):
            live |= set(node.outputs)
            nodes.append(node)
        else:
            # Nothing here depends on the input: a constant, whatever computes it.
            for output in node.outputs:
                tensors[output] = Tensor(tensors[output].shape, tensors[output].dtype, constant=True)
    outputs = tuple(output.name for output in proto.graph.output)
    kept = _needed(nodes, outputs)
    if not inputs or not outputs or not any(output in live for output in outputs):
        raise ConstantNetwork(
            f"{name}: the output does not depend on the input, so a runtime deletes the network",
            hint="Its latency means nothing; give a network that uses its input.",
        )
    if missing and unknown is None:
        writer = next(node for node in proto.graph.node if missing[0] in node.output)
        kind = f"{writer.domain}:{writer.op_type}" if writer.domain else writer.op_type
        raise InvalidModel(
            f"{name}: the shape of output {missing[0]!r} of {kind} is not in the file and cannot be inferred",
            hint="`hwnas profile` finds it in a run; or export with static shapes.",
        )
    if unknown is not None:
        unknown.extend(missing)
    if values is not None:
        known = _small_constants(proto) | {name: tuple(numbers) for name, numbers in values.items()}
        kept = [replace(node, values=_valued(node, known)) for node in kept]
    return OperatorGraph(tuple(kept), tuple(inputs), outputs, runtime)


def deciding(tensor: Tensor) -> bool:
    """Whether the numbers of a value may decide what its reader does: whole ones, few of them; a scale or a bound."""
    whole = "int" in tensor.dtype or tensor.dtype == "bool"
    return tensor.elements <= (MOST_VALUES if whole else 1) and tensor.dtype != "unknown"


def _small_constants(proto: Any) -> dict[str, tuple[int | float, ...]]:
    from onnx import numpy_helper

    return {
        weight.name: tuple(numpy_helper.to_array(weight).ravel().tolist())
        for weight in proto.graph.initializer
        if deciding(Tensor(tuple(weight.dims), _dtype(weight.data_type)))
    }


def _valued(node: Node, known: Mapping[str, tuple[int | float, ...]]) -> Values:
    return tuple(
        (position, known[name])
        for position, (name, tensor) in enumerate(zip(node.inputs, node.operator.inputs, strict=True))
        if name in known and tensor is not None and len(known[name]) == tensor.elements
    )


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its own functions in place of their calls, as a runtime does it; the same one if it has none."""
    if not proto.functions:
        return proto
    import onnx.inliner

    try:
        return onnx.inliner.inline_local_functions(proto)
    except (RuntimeError, ValueError) as error:
        raise InvalidModel(
            f"the functions of the model cannot be put in place: {error}", hint="Export it again."
        ) from error


def _parsed(model: Any, *, own: bool) -> Any:
    """A protobuf; what a runtime of ours wrote a moment ago is not checked again."""
    import onnx

    if isinstance(model, bytes) and own:
        return onnx.ModelProto.FromString(model)
    return onnx_check.parse(model) if isinstance(model, (Path, bytes)) else model


def _inputs(proto: Any, name: str) -> list[tuple[str, Tensor]]:
    weights = {weight.name for weight in proto.graph.initializer}
    found = []
    for value in proto.graph.input:
        if value.name in weights:
            continue
        tensor_type = value.type.tensor_type
        dims = list(tensor_type.shape.dim)
        if not tensor_type.HasField("shape") or any(not dim.HasField("dim_value") or dim.dim_value < 1 for dim in dims):
            shown = [dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else "?") for dim in dims]
            raise InvalidModel(
                f"{name}: input {value.name!r} has the shape {shown}; every dimension must be a number",
                hint="Export the model with fixed shapes, batch included; latency is that of one shape.",
            )
        found.append((value.name, Tensor(tuple(dim.dim_value for dim in dims), _dtype(tensor_type.elem_type))))
    return found


def known_shapes(proto: Any) -> dict[str, Tensor]:
    """Shapes that the file has or that ONNX can infer. Weights are not copied for the inference."""
    known = _value_infos(proto.graph)
    if not _inferable(proto, known):
        return known
    light = proto if proto.ByteSize() < 1 << 20 else _without_weights(proto)
    inferred = onnx_check.infer_shapes(light)
    if inferred is None:
        return known
    return _value_infos(inferred.graph) | known


def _inferable(proto: Any, known: Mapping[str, Tensor]) -> bool:
    """Whether ONNX may know the shape of a value that has none in the file.

    It does not where a runtime's own operator writes it, nor where an operator makes its first output of the shape of
    such a value.
    """
    hopeless: set[str] = set()
    for node in proto.graph.node:
        missing = [output for output in node.output if output and output not in known]
        if not missing:
            continue
        like_first = node.domain in ("", "ai.onnx") and node.op_type in LIKE_FIRST and missing == [node.output[0]]
        if not node.domain.startswith(_OF_RUNTIME) and not (like_first and next(iter(node.input), "") in hopeless):
            return True
        hopeless.update(missing)
    return False


def _without_weights(source: Any) -> Any:
    """A copy in which large weights are inputs of their shape; small ones, which may hold shapes, stay."""
    import onnx
    from onnx import helper

    target = onnx.ModelProto(ir_version=source.ir_version)
    target.opset_import.extend(source.opset_import)
    target.graph.name = source.graph.name
    target.graph.node.extend(source.graph.node)
    target.graph.input.extend(source.graph.input)
    target.graph.output.extend(source.graph.output)
    target.graph.value_info.extend(source.graph.value_info)
    known = {value.name for value in source.graph.input}
    for weight in source.graph.initializer:
        if weight.ByteSize() < 1024:
            target.graph.initializer.append(weight)
        elif weight.name not in known:
            target.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
    return target


def _value_infos(graph: Any) -> dict[str, Tensor]:
    found = {}
    for value in (*graph.value_info, *graph.output, *graph.input):
        content = value.type.SerializeToString()
        tensor = _tensor(content) if len(content) <= _LONGEST_REMEMBERED else _tensor.__wrapped__(content)
        if tensor is not None:
            found[value.name] = tensor
    return found


@lru_cache(maxsize=_MOST_REMEMBERED)
def _tensor(content: bytes) -> Tensor | None:
    """A `TypeProto`, if it is a tensor of a known shape."""
    import onnx

    tensor_type = onnx.TypeProto.FromString(content).tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor_type.shape.dim]
    if tensor_type.elem_type and tensor_type.HasField("shape") and all(dim >= 0 for dim in dims):
        return Tensor(tuple(dims), _dtype(tensor_type.elem_type))
    return None


@lru_cache(maxsize=_MOST_REMEMBERED)
def _weight(shape: tuple[int, ...], element_type: int) -> Tensor:
    return Tensor(shape, _dtype(element_type), constant=True)


def _node(
    proto_node: Any, tensors: dict[str, Tensor], name: str, missing: list[str], *, rules: bool, by_onnx: OfNodes | None
) -> Node:
    inputs = tuple(proto_node.input)
    operands = tuple([tensors.get(tensor) if tensor else None for tensor in inputs])
    for tensor, operand in zip(inputs, operands, strict=True):
        if tensor and operand is None:
            raise InvalidModel(
                f"{name}: node {proto_node.name!r} reads {tensor!r}, which nothing writes", hint="Export it again."
            )
    encoded, holds_graphs = [], False
    for attribute in proto_node.attribute:
        encoded.append(attribute.SerializeToString())
        holds_graphs = holds_graphs or attribute.type in _GRAPHS
    if holds_graphs:
        outside, weights = _of_inner_graphs(proto_node)
        further = [value for value in outside if value in tensors and value not in inputs]
        inputs += (*further, *(f"{proto_node.output[0]}/{weight}" for weight, _ in weights))
        operands += (*(tensors[value] for value in further), *(tensor for _, tensor in weights))
    outputs = tuple([output for output in proto_node.output if output])
    short = sum(map(len, encoded)) <= _LONGEST_REMEMBERED
    guessed = _has_unknown(operands)
    operator = (_operator if short else _operator.__wrapped__)(
        proto_node.domain,
        proto_node.op_type,
        tuple(encoded),
        operands,
        tuple([tensors.get(output) for output in outputs]),
        rules and not guessed,
    )
    if by_onnx is not None and not guessed and _has_unknown(operator.outputs):
        operator = replace(operator, outputs=by_onnx.outputs(proto_node, operands) or operator.outputs)
    for output, tensor in zip(outputs, operator.outputs, strict=True):
        if output not in tensors:
            tensors[output] = tensor
            if tensor is UNKNOWN:
                missing.append(output)
    return Node(operator, inputs, outputs, proto_node.name)


def _has_unknown(tensors: Sequence[Tensor | None]) -> bool:
    """Whether one is `UNKNOWN`; `in` would compare all fields of each."""
    return any(tensor is not None and tensor.dtype == UNKNOWN.dtype and tensor == UNKNOWN for tensor in tensors)


@lru_cache(maxsize=_MOST_REMEMBERED)
def _operator(
    domain: str,
    op_type: str,
    encoded: tuple[bytes, ...],
    operands: tuple[Tensor | None, ...],
    known: tuple[Tensor | None, ...],
    rules: bool,
) -> Operator:
    """An operator; outputs that are neither known nor have a rule are `UNKNOWN`.

    Args:
        domain: of the node.
        op_type: of the node.
        encoded: its attributes, each an `AttributeProto`. As bytes, since 1 and 1.0 are equal and differ.
        operands: what it reads.
        known: what it writes; None where that is not in the file.
        rules: whether our own rules say what is not known.
    """
    import onnx

    read = [onnx.AttributeProto.FromString(content) for content in encoded]
    attributes = tuple(sorted((attribute.name, _attribute(attribute)) for attribute in read))
    outputs = [UNKNOWN if tensor is None else tensor for tensor in known]
    if rules and known and known[0] is None:
        shape = _inferred(op_type, dict(attributes), operands)
        if shape is not None:
            dtypes = [None if operand is None else operand.dtype for operand in operands]
            outputs[0] = Tensor(shape, output_dtype(op_type, dtypes))
    return Operator("" if domain == "ai.onnx" else domain, op_type, attributes, operands, tuple(outputs))


def _of_inner_graphs(proto_node: Any) -> tuple[list[str], list[tuple[str, Tensor]]]:
    """What the graphs inside of a node read from outside of them, and their weights."""
    outside: dict[str, None] = {}
    weights: list[tuple[str, Tensor]] = []
    inner = [g for a in proto_node.attribute for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]
    for place, graph in enumerate(inner):
        own = {value.name for value in (*graph.input, *graph.initializer)}
        for weight in graph.initializer:
            tensor = _weight(tuple(weight.dims), weight.data_type)
            weights.append((f"{place}/{weight.name}", tensor))
        for node in graph.node:
            deeper, more = _of_inner_graphs(node)
            weights += [(f"{place}/{node.output[0]}/{weight}", tensor) for weight, tensor in more]
            if node.op_type == "Constant":
                weights += [
                    (f"{place}/{node.output[0]}", _weight(tuple(a.t.dims), a.t.data_type))
                    for a in node.attribute
                    if a.name == "value"
                ]
            outside |= dict.fromkeys(value for value in (*node.input, *deeper) if value and value not in own)
            own |= set(node.output)
        outside |= dict.fromkeys(value.name for value in graph.output if value.name not in own)
    return list(outside), weights


def _inferred(
    op_type: str, attributes: dict[str, object], operands: tuple[Tensor | None, ...]
) -> tuple[int, ...] | None:
    return output_shape(op_type, attributes, [None if operand is None else operand.shape for operand in operands])


def _attribute(attribute: Any) -> AttributeValue:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (str,)):
        return value
    if hasattr(value, "SerializeToString"):
        return hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()[:12]
    items = list(value)
    if items and isinstance(items[0], bytes):
        return tuple(item.decode(errors="replace") for item in items)
    if items and isinstance(items[0], float):
        return tuple(float(f"{item:.6g}") for item in items)
    return tuple(int(item) for item in items)


@lru_cache(maxsize=64)
def _dtype(element_type: int) -> str:
    import onnx

    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(element_type))
    except KeyError as error:
        raise InvalidModel(f"a tensor has the unknown element type {element_type}") from error


def _needed(nodes: list[Node], outputs: tuple[str, ...]) -> list[Node]:
    """Nodes that the outputs depend on, in their order."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if any(output in wanted for output in node.outputs):
            wanted |= set(node.inputs)
            kept.append(node)
    return kept[::-1]
