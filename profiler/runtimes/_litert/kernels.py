"""The operators of a `.tflite` file, each a kernel of XNNPACK or of LiteRT's own, as an operator graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from profiler.runtimes._litert import words


def read(content: bytes) -> Any:
    """The parsed file."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # behind the rest
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def operators_of(model: Any) -> list[tuple[str, Any]]:
    """Name and message of each operator."""
    names = words.names_of("BuiltinOperator")
    found = []
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        found.append((names[max(code.builtinCode, code.deprecatedBuiltinCode)], operator))
    return found


def graph(model: Any, delegated: Collection[int], floating: str) -> dict[str, Any]:
    """The kernels of a model.

    Args:
        model: what `read` gave.
        delegated: numbers of the operators that XNNPACK runs.
        floating: the precision in which it computes with floats.
    """
    whole = model.subgraphs[0]
    shapes = [[] if tensor.shape is None else list(map(int, tensor.shape)) for tensor in whole.tensors]
    found = operators_of(model)
    last = words.channels_last(found, shapes)
    tensors = [_tensor(model, tensor) for tensor in whole.tensors]
    operators, nodes = [], []
    for number, (name, operator) in enumerate(found):
        order = _order(name, operator)
        attributes = words.attributes_of(name, operator, shapes) | words.options_of(operator)
        layouts = [words.layout_of(name, position, i, last) for position, i in order]
        inputs = [_laid(tensors, i, layout) for (_, i), layout in zip(order, layouts, strict=True)]
        written = ["NHWC" if int(i) in last else "" for i in operator.outputs]
        outputs = [_laid(tensors, int(i), layout) for i, layout in zip(operator.outputs, written, strict=True)]
        kind = words.TYPES.get(name, name)
        if name == "FULLY_CONNECTED":
            kind = _product(inputs, attributes, layouts)
        attributes |= _constants(model, operator)
        attributes |= {
            "builtin": name,
            "version": int(model.operatorCodes[operator.opcodeIndex].version),
            "primitive": "xnnpack" if number in delegated else "litert",
            "precision": _precision(tensors, order, outputs, floating if number in delegated else "fp32"),
        }
        if any(layouts) or any(written):
            attributes["layout"] = [*layouts, *written]
        attributes |= _quantisation(whole.tensors, order, operator)
        operators.append(["litert", kind, sorted(map(list, attributes.items())), inputs, outputs])
        reads = ["" if i < 0 else f"t{i}" for _, i in order]
        nodes.append([number, reads, [f"t{i}" for i in operator.outputs], _origin(whole.tensors[operator.outputs[0]])])
    return {
        "schema": "hwnas.graph/1",
        "runtime": "litert",
        "inputs": [[f"t{i}", _laid(tensors, int(i), "NHWC" if int(i) in last else "")] for i in whole.inputs],
        "outputs": [f"t{i}" for i in whole.outputs],
        "operators": operators,
        "nodes": nodes,
    }


def _order(name: str, operator: Any) -> list[tuple[int, int]]:
    """Position and number of the inputs, in ONNX's order: of a transposed convolution, the image is first."""
    inputs = list(enumerate(map(int, operator.inputs)))
    return [inputs[2], inputs[1], *inputs[3:]] if name == "TRANSPOSE_CONV" else inputs


def _tensor(model: Any, tensor: Any) -> list[Any]:
    kind = words.names_of("TensorType")[tensor.type]
    shape = [] if tensor.shape is None else list(map(int, tensor.shape))
    return [shape, words.DTYPES.get(kind, "unknown"), model.buffers[tensor.buffer].data is not None]


def _laid(tensors: Sequence[list[Any]], number: int, layout: str) -> list[Any] | None:
    if number < 0:
        return None
    shape, dtype, constant = tensors[number]
    return [words.logical(shape, layout), dtype, constant]


def _product(inputs: list[Any], attributes: dict[str, Any], layouts: list[str]) -> str:
    """A fully connected layer: weights are outputs x inputs."""
    if len(inputs[0][0]) == 2:
        attributes["transB"] = 1
        return "Gemm"
    inputs[1] = [inputs[1][0][::-1], *inputs[1][1:]]
    layouts[1] = "OI"
    return "MatMul"


def _constants(model: Any, operator: Any) -> dict[str, Any]:
    """Small whole constants, which decide what an operator does: `const1`."""
    found = {}
    for position, number in enumerate(map(int, operator.inputs)):
        if number < 0:
            continue
        tensor = model.subgraphs[0].tensors[number]
        data, kind = model.buffers[tensor.buffer].data, words.names_of("TensorType")[tensor.type]
        if data is not None and kind in ("INT32", "INT64") and not _scales(tensor):
            numbers = np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype=words.DTYPES[kind])
            if numbers.size <= words.MOST_VALUES:
                found[f"const{position}"] = [int(one) for one in numbers]
    return found


def _precision(tensors: Sequence[list[Any]], order: Sequence[tuple[int, int]], outputs: Any, floating: str) -> str:
    """In which an operator computes: the type of what it reads first."""
    first = next((tensors[i][1] for _, i in order if i >= 0), outputs[0][1])
    known = {"float32": floating, "float16": "fp16", "float64": "fp64", "int8": "int8", "uint8": "int8"}
    return known.get(first, str(first))


def _quantisation(tensors: Sequence[Any], order: Sequence[tuple[int, int]], operator: Any) -> dict[str, Any]:
    """Whether weights have scales by channel, and whether what is read and written has one scale."""
    scales = [_scales(tensors[i]) for _, i in order if i >= 0] + [_scales(tensors[i]) for i in operator.outputs]
    known = [one for one in scales if one]
    if not known:
        return {}
    single = {one for one in known if len(one) == 1}
    return {"by_channel": int(any(len(one) > 1 for one in known)), "same_scale": int(len(single) < 2)}


def _scales(tensor: Any) -> tuple[tuple[float, int], ...]:
    own = tensor.quantization
    if own is None or own.scale is None or not len(own.scale):
        return ()
    return tuple(zip(map(float, own.scale), map(int, own.zeroPoint), strict=False))


def _origin(tensor: Any) -> str:
    """Name of the ONNX node that a tensor comes from: the first one, where several were fused."""
    return str((tensor.name or b"").decode(errors="replace").partition(";")[0])


def delegated(details: Sequence[Mapping[str, Any]]) -> set[int]:
    """Numbers of the operators that a delegate took.

    Args:
        details: `Interpreter._get_ops_details()` after delegation: what was there, and a `DELEGATE` for each part.
    """
    own = [one for one in details if one["op_name"] != "DELEGATE"]
    writers = {int(i): one["index"] for one in own for i in one["outputs"]}
    reads = {one["index"]: [int(i) for i in one["inputs"]] for one in own}
    found: set[int] = set()
    for part in details:
        if part["op_name"] != "DELEGATE":
            continue
        given, waiting = {int(i) for i in part["inputs"]}, [int(i) for i in part["outputs"]]
        while waiting:
            number = writers.get(waiting.pop())
            if number is not None and number not in found:
                found.add(number)
                waiting += [i for i in reads[number] if i not in given]
    return found
