"""What OpenVINO made of a model, from its runtime model: layers, and the ONNX operators that are their cores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Layers of a runtime model that are no work.
_NO_WORK = frozenset({"Const", "Input", "Output"})
_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8", "f64": "fp64"}
_DTYPES = {
    "f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "i64": "int64", "i32": "int32",
    "i16": "int16", "i8": "int8", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "boolean": "bool",
}  # fmt: skip
#: ONNX operators by those of OpenVINO, where the names differ.
_TYPES = {
    "Convolution": "Conv", "GroupConvolution": "Conv", "ConvolutionBackpropData": "ConvTranspose",
    "GroupConvolutionBackpropData": "ConvTranspose", "ReLU": "Relu", "AvgPool": "AveragePool", "Multiply": "Mul",
    "Subtract": "Sub", "Divide": "Div", "HSwish": "HardSwish", "HSigmoid": "HardSigmoid", "SoftMax": "Softmax",
    "Maximum": "Max", "Minimum": "Min", "Power": "Pow", "Convert": "Cast", "VariadicSplit": "Split",
    "StridedSlice": "Slice", "SoftPlus": "Softplus", "Interpolate": "Resize", "Logistic": "Sigmoid",
    "BatchNormInference": "BatchNormalization", "MVN": "MeanVarianceNormalization", "FakeQuantize": "QuantizeLinear",
}  # fmt: skip
#: Operators that say best what a kernel is, where others run with it.
_CORES = frozenset({"Conv", "ConvTranspose", "MatMul", "AveragePool", "MaxPool", "Softmax", "Resize"})
#: What layers of a type are made of: OpenVINO gives an operator that it changed another name, or none.
_MADE_OF = {
    "Convolution": ("Conv",), "Deconvolution": ("ConvTranspose",), "FullyConnected": ("MatMul",), "MatMul": ("MatMul",),
    "Pooling": ("AveragePool", "MaxPool"), "Concatenation": ("Concat",), "Softmax": ("Softmax",),
    "Interpolate": ("Resize",), "MVN": ("MeanVarianceNormalization",),
}  # fmt: skip
#: Operators between a layer's own and the one that it is made of.
_MOST_BETWEEN = 3
#: Layers that repeat over steps, which are given states, lengths, and last their weights; by how many gates these have.
_RECURRENT, _BY_GATES = frozenset({"RNNSeq", "RNNCell"}), {4: "LSTM", 3: "GRU", 1: "RNN"}


def operators(read: Any) -> dict[str, Any]:
    """The operators of a model by name."""
    return {operator.get_friendly_name(): operator for operator in read.get_ordered_ops()}


def layers(compiled: Any) -> Iterator[Any]:
    """The layers of the runtime model that work, in the order in which they run."""
    for layer in compiled.get_runtime_model().get_ordered_ops():
        if _info(layer, "layerType") not in _NO_WORK and not _is_constant(layer):
            yield layer


def _info(layer: Any, key: str) -> str:
    return str(layer.get_rt_info()[key].astype(str))


def _is_constant(layer: Any) -> bool:
    """Whether a layer was computed when the model was compiled."""
    sources = [value.get_source_output().get_node() for value in layer.inputs()]
    return _info(layer, "layerType") == "Const" or (bool(sources) and all(map(_is_constant, sources)))


def kernel(layer: Any, known: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The name of a layer, the ONNX operator that is its core, and its attributes.

    Args:
        layer: of the runtime model.
        known: operators of the model that was compiled, by name.
    """
    own = _info(layer, "layerType")
    origins = [name for name in _info(layer, "originalLayersNames").split(",") if name in known]
    operators = [known[name] for name in origins]
    types = [_onnx_type(one) for one in operators]
    attributes: dict[str, Any] = {
        "layout": _info(layer, "outputLayouts"),
        "precision": _precision(layer),
        "primitive": _info(layer, "primitiveType"),
    }
    name = origins[0] if origins else layer.get_friendly_name()
    if own in _RECURRENT:
        return name, _BY_GATES.get(_gates(layer), own), attributes
    if own == "Subgraph" and {"MatMul", "Softmax"} <= set(types) and len(layer.inputs()) > 2:
        return name, "Attention", attributes | {"fused": types}
    kinds = _MADE_OF.get(own, tuple(_CORES))
    core = next((one for one, kind in zip(operators, types, strict=True) if kind in kinds), None)
    if core is None and own in _MADE_OF:
        core = _behind(operators, kinds)
    if core is None and (own in _MADE_OF or not operators):
        return name, _MADE_OF.get(own, (_TYPES.get(own, own),))[0], attributes
    core = core or operators[0]
    fused = [kind for one, kind in zip(operators, types, strict=True) if one is not core]
    if fused:
        attributes["fused"] = fused
    return name, _onnx_type(core), attributes | _attributes(core)


def _gates(layer: Any) -> int:
    """How many gates a recurrent layer has; 0 if that is not known."""
    shapes = [list(value.get_shape()) for value in layer.inputs()]
    state = shapes[-2] if len(shapes) > 3 else []
    return int(state[-2] // state[-1]) if len(state) > 1 and state[-1] else 0


def _behind(operators: Sequence[Any], kinds: Sequence[str]) -> Any | None:
    """The nearest operator of some kinds that others read; None if there is none near."""
    near = list(operators)
    for _ in range(_MOST_BETWEEN):
        near = [value.get_source_output().get_node() for one in near for value in one.inputs()]
        for one in near:
            if _onnx_type(one) in kinds:
                return one
    return None


def _onnx_type(operator: Any) -> str:
    kind = str(operator.get_type_name())
    return _TYPES.get(kind, kind)


def _precision(layer: Any) -> str:
    own = _info(layer, "runtimePrecision")
    return _PRECISIONS.get(own, own)


def _attributes(operator: Any) -> dict[str, Any]:
    """Those attributes of an operator that ONNX has, too, in its words."""
    own = operator.get_attributes()
    found = {name: own[name] for name in ("strides", "dilations", "axis", "mode") if name in own}
    if "pads_begin" in own:
        found["pads"] = [*own["pads_begin"], *own["pads_end"]]
    if "kernel" in own:
        found["kernel_shape"] = own["kernel"]
    if _onnx_type(operator) in ("Conv", "ConvTranspose"):
        weights = list(operator.inputs()[1].get_shape())
        grouped = operator.get_type_name().startswith("Group")
        found["group"] = weights[0] if grouped else 1
        found["kernel_shape"] = weights[3 if grouped else 2 :]
    return {name: list(value) if isinstance(value, list | tuple) else value for name, value in found.items()}


def graph(compiled: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """The layers that work, as an operator graph in plain lists."""
    nodes: list[list[Any]] = []
    operators: list[list[Any]] = []
    for layer in layers(compiled):
        name, kind, attributes = kernel(layer, known)
        reads = _in_order(kind, [value.get_source_output() for value in layer.inputs()])
        inputs = [_tensor(value, constant=_is_constant(value.get_node())) for value in reads]
        outputs = [_tensor(value, constant=False) for value in layer.outputs()]
        _as_in_onnx(kind, attributes, [shape for shape, *_ in inputs], outputs[0][0])
        operators.append(["openvino", kind, sorted(map(list, attributes.items())), inputs, outputs])
        written = [_value(value) for value in layer.outputs()]
        nodes.append([len(nodes), [_value(value) for value in reads], written, name])
    runtime = compiled.get_runtime_model()
    return {
        "schema": "hwnas.graph/1",
        "runtime": "openvino",
        "inputs": [[_value(v.output(0)), _tensor(v.output(0), constant=False)] for v in runtime.get_parameters()],
        "outputs": [_value(result.input_value(0)) for result in runtime.get_results()],
        "operators": operators,
        "nodes": nodes,
    }


def _in_order(kind: str, reads: list[Any]) -> list[Any]:
    """What a layer reads, in the order of the ONNX operator: OpenVINO has weights, and values, last."""
    if kind in _BY_GATES.values():
        return [reads[0], *reads[-3:], *reads[1:-3]]
    return [*reads[:2], reads[-1], *reads[2:-1]] if kind == "Attention" else reads


def _as_in_onnx(kind: str, attributes: dict[str, Any], shapes: list[list[int]], made: Sequence[int]) -> None:
    """Change a layer's attributes and shapes of inputs to those of the ONNX operator, so that work is counted."""
    if attributes.get("group", 1) > 1 and len(shapes[1]) > len(shapes[0]):
        group, first, *rest = shapes[1]
        shapes[1][:] = [group * first, *rest]
    elif kind == "MatMul" and min(len(shapes[0]), len(made)) > 1 and shapes[0][-2] != made[-2] == shapes[0][-1]:
        attributes["transA"] = 1
    elif kind in _BY_GATES.values() and len(shapes[0]) == 3:  # steps before the batch
        shapes[0][:2] = shapes[0][1::-1]
    elif kind == "Attention":
        query, key, value = shapes[:3]
        if len(query) == len(value) == 4 and attributes["fused"][0] == "Transpose":  # heads before the places
            query[1:3], value[1:3] = query[2:0:-1], value[2:0:-1]
        key[:] = [*value[:-1], query[-1]]


def _value(output: Any) -> str:
    return f"{output.get_node().get_friendly_name()}:{output.get_index()}"


def _tensor(output: Any, *, constant: bool) -> list[Any]:
    kind = output.get_element_type().to_string()
    return [list(output.get_shape()), _DTYPES.get(kind, "unknown"), constant]
