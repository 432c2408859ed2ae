"""ONNX files, of networks and of what a runtime made of them, as operator graphs.

What cannot be measured is refused with the reason.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.errors import ConstantNetwork, InvalidModel
from profiler import onnx_check
from profiler.operators import AttributeValue, Node, Operator, OperatorGraph, Tensor
from profiler.ort_shapes import output_shape

if TYPE_CHECKING:
    import onnx


def read_graph(model: Path | bytes | onnx.ModelProto, *, runtime: str = "") -> OperatorGraph:
    """Read a model.

    Args:
        model: a file, its content, or a parsed model.
        runtime: name of the runtime if the model is one that it optimised.

    Returns:
        The operators that the outputs depend on, in order. Constants are tensors, not nodes.

    Raises:
        InvalidModel: the file is missing, not ONNX, has dynamic or missing shapes, or keeps weights outside of its
            folder.
        ConstantNetwork: the output does not depend on the input.
    """
    proto = onnx_check.parse(model) if isinstance(model, (Path, bytes)) else model
    name = model.name if isinstance(model, Path) else "the model"
    inputs = _inputs(proto, name)
    tensors = _shapes(proto)
    tensors |= dict(inputs)
    for weight in proto.graph.initializer:
        tensors[weight.name] = Tensor(tuple(weight.dims), _dtype(weight.data_type), constant=True)
    nodes: list[Node] = []
    live = {tensor_name for tensor_name, _ in inputs}
    for proto_node in proto.graph.node:
        node = _node(proto_node, tensors, name)
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
    return OperatorGraph(tuple(kept), tuple(inputs), outputs, runtime)


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


def _shapes(proto: Any) -> dict[str, Tensor]:
    """Shapes that the file has or that ONNX can infer. Weights are not copied for the inference."""
    import onnx

    known = _value_infos(proto.graph)
    wanted = {output for node in proto.graph.node for output in node.output if output}
    if wanted <= known.keys():
        return known
    light = onnx.ModelProto()
    light.CopyFrom(proto) if proto.ByteSize() < 1 << 20 else _copy_without_weights(proto, light)
    inferred = onnx_check.infer_shapes(light)
    if inferred is None:
        return known
    return _value_infos(inferred.graph) | known


def _copy_without_weights(source: Any, target: Any) -> None:
    """Large weights become inputs of their shape; small ones, which may hold shapes, stay."""
    from onnx import helper

    target.ir_version = source.ir_version
    target.opset_import.extend(source.opset_import)
    target.graph.name = source.graph.name
    target.graph.node.extend(source.graph.node)
    target.graph.input.extend(source.graph.input)
    target.graph.output.extend(source.graph.output)
    target.graph.value_info.extend(source.graph.value_info)
    for weight in source.graph.initializer:
        if weight.ByteSize() < 1024:
            target.graph.initializer.append(weight)
        else:
            target.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))


def _value_infos(graph: Any) -> dict[str, Tensor]:
    found = {}
    for value in (*graph.value_info, *graph.output, *graph.input):
        tensor_type = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor_type.shape.dim]
        if tensor_type.elem_type and tensor_type.HasField("shape") and all(dim >= 0 for dim in dims):
            found[value.name] = Tensor(tuple(dims), _dtype(tensor_type.elem_type))
    return found


def _node(proto_node: Any, tensors: dict[str, Tensor], name: str) -> Node:
    attributes = tuple(sorted((attribute.name, _attribute(attribute)) for attribute in proto_node.attribute))
    inputs = tuple(proto_node.input)
    operands = tuple(tensors.get(tensor) if tensor else None for tensor in inputs)
    for position, tensor in enumerate(inputs):
        if tensor and operands[position] is None:
            raise InvalidModel(
                f"{name}: node {proto_node.name!r} reads {tensor!r}, which nothing writes", hint="Export it again."
            )
    outputs = tuple(output for output in proto_node.output if output)
    for position, output in enumerate(outputs):
        if output not in tensors:
            shape = _inferred(proto_node.op_type, dict(attributes), operands) if position == 0 else None
            if shape is None:
                kind = f"{proto_node.domain}:{proto_node.op_type}" if proto_node.domain else proto_node.op_type
                raise InvalidModel(
                    f"{name}: the shape of output {output!r} of {kind} is not in the file and cannot be inferred",
                    hint="Export with static shapes; run onnx.shape_inference.infer_shapes on the file.",
                )
            dtype = next((operand.dtype for operand in operands if operand is not None), "float32")
            tensors[output] = Tensor(shape, dtype)
    operator = Operator(
        "" if proto_node.domain == "ai.onnx" else proto_node.domain,
        proto_node.op_type,
        attributes,
        operands,
        tuple(tensors[output] for output in outputs),
    )
    return Node(operator, inputs, outputs, proto_node.name)


def _inferred(
    op_type: str, attributes: dict[str, object], operands: tuple[Tensor | None, ...]
) -> tuple[int, ...] | None:
    if op_type == "Constant":
        return ()
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
