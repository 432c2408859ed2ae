"""One fused kernel as a model of its own, so that it can be timed alone with warm activations and rotated weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Operator sets that kernels are written in, the newest that fits first.
OPSETS = (20, 17, 13, 12, 11, 10, 9, 8, 7)


def build(operator: list[Any], copies: int, values: Mapping[int, Sequence[int | float]] | None = None) -> bytes | None:
    """An ONNX model of `copies` equal nodes that read the same activations and weights of their own.

    Args:
        operator: domain, op_type, attributes, inputs and outputs, as `profiler.operators.operator_to_plain` writes
            them.
        copies: number of nodes, at least 1.
        values: numbers of constant inputs that decide what the operator does, by position.

    Returns:
        The model, serialised, or None where the operator holds graphs or tensors, which a line of text does not tell.
        Kernels of private domains load where optimised models of the same runtime do.
    """
    import onnx
    from onnx import helper, numpy_helper

    domain, op_type, attributes, inputs, outputs = operator
    opset = _opset(domain, op_type, attributes, inputs)
    if opset is None or any(tensor is not None and tensor[1] == "unknown" for tensor in (*inputs, *outputs)):
        return None
    rng = np.random.default_rng(0)
    graph_inputs, nodes, initializers, graph_outputs = [], [], [], []
    for position, tensor in enumerate(inputs):
        if tensor is not None and not tensor[2]:
            graph_inputs.append(helper.make_tensor_value_info(f"in{position}", _element_type(tensor[1]), tensor[0]))
    for copy in range(copies):
        names = []
        for position, tensor in enumerate(inputs):
            if tensor is None:
                names.append("")
            elif tensor[2]:
                names.append(f"w{position}_{copy}")
                array = _constant(tensor, (values or {}).get(position), rng)
                initializers.append(numpy_helper.from_array(array, names[-1]))
            else:
                names.append(f"in{position}")
        results = [f"out{i}_{copy}" for i in range(len(outputs))]
        nodes.append(helper.make_node(op_type, names, results, domain=domain, **{k: _value(v) for k, v in attributes}))
        for name, tensor in zip(results, outputs, strict=True):
            graph_outputs.append(helper.make_tensor_value_info(name, _element_type(tensor[1]), tensor[0]))
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph(nodes, "kernel", graph_inputs, graph_outputs, initializers)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    serialised: bytes = onnx.ModelProto.SerializeToString(model)
    return serialised


def _constant(tensor: list[Any], numbers: Sequence[int | float] | None, rng: np.random.Generator) -> Any:
    """A weight: the real numbers where they are known, small random ones, zeros of whole types."""
    shape, dtype = tensor[0], np.dtype(tensor[1])
    if numbers is not None:
        return np.array(numbers, dtype=dtype).reshape(shape)
    return (rng.standard_normal(shape) * 0.1 if dtype.kind == "f" else np.zeros(shape)).astype(dtype)


def _opset(domain: str, op_type: str, attributes: Sequence[Any], inputs: Sequence[Any]) -> int | None:
    """The newest operator set in which an operator has these attributes and inputs; None if it cannot be written.

    Squeeze had its axes as an attribute once, and has them as an input now.
    """
    import onnx

    if domain:
        return OPSETS[0]
    for opset in OPSETS:
        try:
            known = onnx.defs.get_schema(op_type, opset, domain)
        except onnx.defs.SchemaError:
            continue
        kinds = {name: known.attributes[name].type.name for name, _ in attributes if name in known.attributes}
        if any(kind in ("GRAPH", "GRAPHS", "TENSOR", "TENSORS", "SPARSE_TENSOR") for kind in kinds.values()):
            return None
        if len(kinds) == len(attributes) and known.min_input <= len(inputs) <= known.max_input:
            return opset
    return None


def empty() -> bytes:
    """The smallest model: its time is what a call costs."""
    import onnx
    from onnx import helper

    values = [helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    serialised: bytes = onnx.ModelProto.SerializeToString(model)
    return serialised


def _element_type(dtype: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _value(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
