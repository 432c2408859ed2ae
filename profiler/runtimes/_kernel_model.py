"""One fused kernel as a model of its own, so that it can be timed alone with warm activations and rotated weights."""

from __future__ import annotations

from typing import Any

import numpy as np


def build(operator: list[Any], copies: int) -> bytes:
    """An ONNX model of `copies` equal nodes that read the same activations and weights of their own.

    Args:
        operator: domain, op_type, attributes, inputs and outputs, as `profiler.operators.operator_to_plain` writes
            them.
        copies: number of nodes, at least 1.

    Returns:
        The model, serialised. Kernels of private domains load where optimised models of the same runtime do.
    """
    import onnx
    from onnx import helper, numpy_helper

    domain, op_type, attributes, inputs, outputs = operator
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
                values = rng.standard_normal(tensor[0]) * 0.1 if tensor[1].startswith("float") else np.zeros(tensor[0])
                initializers.append(numpy_helper.from_array(values.astype(tensor[1]), names[-1]))
            else:
                names.append(f"in{position}")
        results = [f"out{i}_{copy}" for i in range(len(outputs))]
        nodes.append(helper.make_node(op_type, names, results, domain=domain, **{k: _value(v) for k, v in attributes}))
        for name, tensor in zip(results, outputs, strict=True):
            graph_outputs.append(helper.make_tensor_value_info(name, _element_type(tensor[1]), tensor[0]))
    opsets = [helper.make_opsetid("", 20)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph(nodes, "kernel", graph_inputs, graph_outputs, initializers)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    serialised: bytes = onnx.ModelProto.SerializeToString(model)
    return serialised


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
