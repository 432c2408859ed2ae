"""Calls of an exported program as operators: in ONNX's words where an ONNX operator is the core, else in aten's."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device_profiles.errors import UsageError
from profiler.operators import AttributeValue, Node, Operator, OperatorGraph, Tensor

#: ONNX operators by aten's names.
TYPES = {
    "conv1d": "Conv", "conv2d": "Conv", "conv3d": "Conv", "convolution": "Conv", "linear": "Gemm", "addmm": "Gemm",
    "mm": "MatMul", "bmm": "MatMul", "matmul": "MatMul", "relu": "Relu", "relu_": "Relu", "hardswish": "HardSwish",
    "hardswish_": "HardSwish", "hardsigmoid": "HardSigmoid", "silu": "Swish", "silu_": "Swish", "gelu": "Gelu",
    "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax", "_softmax": "Softmax",
    "batch_norm": "BatchNormalization",
    "_native_batch_norm_legit_no_training": "BatchNormalization", "layer_norm": "LayerNormalization",
    "group_norm": "GroupNormalization", "add": "Add", "add_": "Add", "sub": "Sub", "mul": "Mul", "mul_": "Mul",
    "div": "Div", "max_pool2d": "MaxPool", "avg_pool2d": "AveragePool", "adaptive_avg_pool2d": "GlobalAveragePool",
    "mean": "ReduceMean", "sum": "ReduceSum", "view": "Reshape", "reshape": "Reshape", "flatten": "Flatten",
    "permute": "Transpose", "transpose": "Transpose", "cat": "Concat", "split": "Split", "chunk": "Split",
    "scaled_dot_product_attention": "Attention", "embedding": "Gather", "clone": "Identity", "dropout": "Identity",
    "unsqueeze": "Unsqueeze", "squeeze": "Squeeze", "pow": "Pow", "exp": "Exp", "clamp": "Clip", "slice": "Slice",
}  # fmt: skip


def graph_of(program: Any) -> OperatorGraph:
    """The calls of a program, in order, as a captured graph."""
    signature = program.graph_signature
    given = set(signature.user_inputs)
    constants = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.name not in given}
    nodes, inputs, outputs = [], [], []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in given:
            inputs.append((node.name, _tensor(node.meta["val"], constant=False)))
        elif node.op == "output":
            outputs = [one.name for one in node.all_input_nodes]
        elif node.op == "call_function":
            nodes.append(_node(node, constants))
    return OperatorGraph(tuple(nodes), tuple(inputs), tuple(outputs))


def folder_of(factory: str) -> str:
    """The folder that `package.module:function` is imported from.

    Raises:
        UsageError: it cannot be imported here.
    """
    home, colon, name = factory.partition(":")
    try:
        module = importlib.import_module(home)
        found = callable(getattr(module, name, None))
    except ImportError:
        found = False
    if not colon or not found:
        raise UsageError(
            f"the factory {factory[:80]!r} cannot be imported",
            hint="Give 'package.module:function', of a file that Python finds; it takes no arguments.",
        )
    parents = home.count(".") + (Path(str(module.__file__)).name == "__init__.py")
    return str(Path(str(module.__file__)).resolve().parents[parents])


def _node(node: Any, constants: set[str]) -> Node:
    name = str(node.target._schema.name).partition("::")[2]
    read = [one for one in node.all_input_nodes if isinstance(one.meta.get("val"), _tensor_type())]
    kind = TYPES.get(name, name)
    tensors: list[Tensor] = [_tensor(one.meta["val"], constant=one.name in constants) for one in read]
    if name == "addmm":  # ONNX has the product's operands first
        read, tensors = [*read[1:], read[0]], [*tensors[1:], tensors[0]]
    if name == "linear" and len(tensors[0].shape) != 2:  # a product of matrices, with the weight the other way round
        kind = "MatMul"
        tensors[1] = Tensor(tensors[1].shape[::-1], tensors[1].dtype, tensors[1].constant)
    values = node.meta["val"] if isinstance(node.meta["val"], (tuple, list)) else [node.meta["val"]]
    made = [one for one in values if isinstance(one, _tensor_type())]
    outputs = [node.name if i == 0 else f"{node.name}:{i}" for i in range(len(made))]
    operator = Operator(
        "" if name in TYPES else "aten",
        kind,
        tuple(sorted(_attributes(node, name, kind, tensors).items())),
        tuple(tensors),
        tuple(_tensor(one, constant=False) for one in made),
    )
    return Node(operator, tuple(one.name for one in read), tuple(outputs), node.name)


def _attributes(node: Any, name: str, kind: str, tensors: Sequence[Tensor]) -> dict[str, AttributeValue]:
    """Those of ONNX that tell what a kernel costs."""
    if name == "linear" and kind == "Gemm":
        return {"transB": 1}
    if kind == "Conv" and len(tensors) > 1:
        found = _arguments(node)
        window = len(tensors[1].shape) - 2
        pads = _numbers(found.get("padding", 0), window)
        return {
            "kernel_shape": tuple(tensors[1].shape[2:]),
            "strides": _numbers(found.get("stride", 1), window),
            "pads": (*pads, *pads),
            "dilations": _numbers(found.get("dilation", 1), window),
            "group": int(found.get("groups", 1)),
        }
    if kind in ("MaxPool", "AveragePool"):
        found = _arguments(node)
        kernel = _numbers(found["kernel_size"], 2)
        return {"kernel_shape": kernel, "strides": _numbers(found.get("stride") or kernel, 2)}
    return {}


def _arguments(node: Any) -> dict[str, Any]:
    """Arguments of a call by name."""
    names = [one.name for one in node.target._schema.arguments]
    defaults = {one.name: one.default_value for one in node.target._schema.arguments if one.has_default_value()}
    return {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def _numbers(value: Any, count: int) -> tuple[int, ...]:
    if isinstance(value, str):  # `same` and `valid`
        return (0,) * count
    values = [value] * count if isinstance(value, int) else list(value)
    return tuple(int(one) for one in (values * count if len(values) == 1 else values))


def _tensor(value: Any, *, constant: bool) -> Tensor:
    return Tensor(tuple(int(extent) for extent in value.shape), str(value.dtype).removeprefix("torch."), constant)


def _tensor_type() -> Any:
    import torch

    return torch.Tensor
