"""Shapes by ONNX's own inference, node by node: a runtime's private operators stop that of a whole model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from profiler.operators import Tensor

#: Constants of more elements tell no shape.
_MOST_ELEMENTS = 1024


class OfNodes:
    """Inference for the nodes of a model.

    Args:
        proto: the model; what its small constants hold may decide shapes.
    """

    def __init__(self, proto: Any) -> None:
        self._proto = proto

    def outputs(self, node: Any, operands: Sequence[Tensor | None]) -> tuple[Tensor, ...] | None:
        """What a node writes, by what it reads; None where ONNX does not know the operator or cannot tell.

        Args:
            node: a `NodeProto`.
            operands: what it reads; None where an optional input is left out.
        """
        import onnx

        unknown = (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, onnx.checker.ValidationError)
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opsets.get(node.domain, 1), node.domain)
            types = {
                name: _type(operand)
                for name, operand in zip(node.input, operands, strict=True)
                if name and operand is not None
            }
            data = {name: self._constants[name] for name in node.input if name in self._constants}
            found = onnx.shape_inference.infer_node_outputs(schema, node, types, data)
            return tuple(_tensor(found[name]) for name in node.output if name)
        except (*unknown, RuntimeError, ValueError, KeyError, TypeError):
            return None

    @cached_property
    def _opsets(self) -> dict[str, int]:
        return {entry.domain: entry.version for entry in self._proto.opset_import}

    @cached_property
    def _constants(self) -> dict[str, Any]:
        return {w.name: w for w in self._proto.graph.initializer if int(np.prod(w.dims)) <= _MOST_ELEMENTS}


def _type(tensor: Tensor) -> Any:
    from onnx import helper

    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), tensor.shape)


def _tensor(found: Any) -> Tensor:
    """A type with a shape of numbers.

    Raises:
        ValueError: it has none.
    """
    from onnx import helper

    dims = found.tensor_type.shape.dim
    if not found.tensor_type.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
        raise ValueError("its shape is not known")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(found.tensor_type.elem_type)).name
    return Tensor(tuple(int(dim.dim_value) for dim in dims), dtype)
