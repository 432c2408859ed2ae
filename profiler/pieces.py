"""Blocks as pieces of ONNX files.

Protobuf messages that are written one after the other are one message, merged (Protocol Buffers, "Encoding", "Last One
Wins"). So a network's file is its pieces, joined; and a piece that comes in many networks is made once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidModel

Shape = tuple[int, ...]

OPSET = 20
IR_VERSION = 10
#: Pieces that are remembered; each has some kilobytes.
_MOST_PIECES = 1 << 13


@dataclass(frozen=True, eq=False)
class BlockGraph:
    """A block as ONNX pieces.

    Attributes:
        nodes: in order; values have the block's own names.
        inputs: names, in the order of the forward's arguments.
        output: name of its one output.
        output_shape: and its shape.
        constants: initialisers that are no parameters, by name.
        parameters: parameters and buffers, by their torch names, with their shapes.
        shapes: of all values inside, by name.
    """

    nodes: tuple[Any, ...]
    inputs: tuple[str, ...]
    output: str
    output_shape: Shape
    constants: dict[str, Any]
    parameters: dict[str, Shape]
    shapes: dict[str, tuple[int, Shape]]


def read_block(proto: Any, name: str) -> BlockGraph:
    """The pieces of a block's export.

    Args:
        proto: the export, which says which of its weights are parameters.
        name: of the block, for messages.

    Raises:
        InvalidModel: it has several outputs, or one that is not float32.
    """
    from onnx import helper

    graph = proto.graph
    if len(graph.output) != 1:
        raise InvalidModel(f"block {name} has {len(graph.output)} outputs; a block has one")
    shapes = {
        value.name: (value.type.tensor_type.elem_type, tuple(d.dim_value for d in value.type.tensor_type.shape.dim))
        for value in (*graph.value_info, *graph.output)
    }
    output = graph.output[0].name
    given = str(helper.tensor_dtype_to_np_dtype(shapes[output][0]))
    if given != "float32":
        raise InvalidModel(
            f"block {name} gives {given}; only the input of a network may be anything but float32",
            hint="Let the block give float32.",
        )
    weights = {weight.name for weight in graph.initializer}
    own = set(json.loads(next(entry.value for entry in proto.metadata_props if entry.key == "parameters")))
    parameters = {w.name: tuple(w.dims) for w in graph.initializer if w.name in own}
    nodes, constants = [], {w.name: w for w in graph.initializer if w.name not in parameters}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(node)
        else:
            nodes.append(node)
    inputs = tuple(value.name for value in graph.input if value.name not in weights)
    return BlockGraph(tuple(nodes), inputs, output, shapes[output][1], constants, parameters, shapes)


@lru_cache(maxsize=_MOST_PIECES)
def nodes_piece(graph: BlockGraph, block: str, owner: str, sources: tuple[str, ...], last: bool) -> tuple[bytes, str]:
    """The nodes of a block in a network with the shapes of the values inside, and what its output is called.

    Args:
        graph: the block.
        block: its name in the network.
        owner: the name before those of its weights and constants.
        sources: the values that it reads, in the order of its inputs.
        last: its output is `output`, that of the network.
    """
    import onnx

    names = _names(graph, owner, sources, last)
    model = onnx.ModelProto()
    for node in graph.nodes:
        copy = model.graph.node.add()
        copy.CopyFrom(node)
        copy.name = f"{block}/{node.name}"
        copy.input[:] = [names.get(value, f"{block}/{value}" if value else "") for value in node.input]
        copy.output[:] = [names.get(value, f"{block}/{value}" if value else "") for value in node.output]
    for name, (element, shape) in graph.shapes.items():
        if name not in names:
            value = onnx.helper.make_tensor_value_info(f"{block}/{name}", element, shape)
            model.graph.value_info.append(value)
    return model.SerializeToString(), names.get(graph.output, f"{block}/{graph.output}")


def head_piece() -> bytes:
    """Versions. They come first: OpenVINO tells by the beginning of a file what it is."""
    from onnx import ModelProto, helper

    head = ModelProto(ir_version=IR_VERSION, opset_import=[helper.make_opsetid("", OPSET)])
    content: bytes = head.SerializeToString()
    return content


def frame_piece(shape: Shape, dtype: str, output_shape: Shape) -> bytes:
    """What is around the nodes: the input `input`, and the output `output`.

    Args:
        shape: of the input.
        dtype: of the input.
        output_shape: of the output, which is float32.
    """
    from onnx import ModelProto, TensorProto, helper

    model = ModelProto()
    model.graph.name = "network"
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.input.append(helper.make_tensor_value_info("input", element, shape))
    model.graph.output.append(helper.make_tensor_value_info("output", TensorProto.FLOAT, output_shape))
    content: bytes = model.SerializeToString()
    return content


def handed_on(value: str, node: str) -> bytes:
    """A node that gives the network's output a value of another name."""
    from onnx import GraphProto, ModelProto, helper

    last = helper.make_node("Identity", [value], ["output"], name=node)
    content: bytes = ModelProto(graph=GraphProto(node=[last])).SerializeToString()
    return content


def weight_piece(name: str, values: NDArray[Any]) -> bytes:
    """A weight: float or whole numbers of any shape, in C order."""
    from onnx import GraphProto, ModelProto, numpy_helper

    tensor = numpy_helper.from_array(np.ascontiguousarray(values), name)
    content: bytes = ModelProto(graph=GraphProto(initializer=[tensor])).SerializeToString()
    return content


@lru_cache(maxsize=_MOST_PIECES)
def constant_piece(graph: BlockGraph, owner: str, name: str) -> bytes:
    """One of the constants of a block; see `nodes_piece`."""
    from onnx import ModelProto

    model = ModelProto()
    model.graph.initializer.add().CopyFrom(graph.constants[name])
    model.graph.initializer[-1].name = f"{owner}/{name}"
    content: bytes = model.SerializeToString()
    return content


def _names(graph: BlockGraph, owner: str, sources: tuple[str, ...], last: bool) -> dict[str, str]:
    """What values of a block are called in its network, as far as they are not the block's own."""
    names = dict(zip(graph.inputs, sources, strict=True))
    names |= {name: f"{owner}/{name}" for name in (*graph.constants, *graph.parameters)}
    if last and graph.output not in graph.inputs:
        names[graph.output] = "output"
    return names


def _constant(node: Any) -> Any:
    from onnx import helper, numpy_helper

    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return value
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return numpy_helper.from_array(np.array(value, dtype=dtype))
