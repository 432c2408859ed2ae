"""Run by the converter `executorch`: an ONNX file becomes a `.pte`, and its kernels are written beside it, as JSON.

XNNPACK's nodes are taken where ExecuTorch writes them, with the exported node that each was made of; so kernels have
names, shapes in ONNX's order and attributes. What XNNPACK makes of them when it loads them, only the device can say.
"""

from __future__ import annotations

import contextlib
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack import xnnpack_preprocess
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import ExecutorchBackendConfig, memory, to_edge_transform_and_lower
from executorch.exir.passes import MemoryPlanningPass
from torch.fx.traceback import NodeSource, annotate, preserve_node_meta

from profiler.compilers._converters import _executorch_int8
from profiler.compilers._onnx_module import module_of
from profiler.compilers.converters import serve

# Each pass copies what is noted of all passes before it, which nobody reads here: a fifth of the time.
NodeSource.__deepcopy__ = lambda source, memo: source  # type: ignore[attr-defined]

SCHEMA = "hwnas.executorch/1"
_NONE = 2**32 - 1
#: How far outputs may be from those of the exported module, as a share of the largest; steps of int8 add up.
_FAR = {"fp32": 1e-3, "int8": 0.1}
#: Where an exported node says, in `meta["custom"]`, of which ONNX node it is.
NODE, OPERATOR = MARKS = ("onnx_node", "onnx_operator")
#: ONNX operators by XNNPACK's, where the names differ.
_TYPES = {
    "FullyConnected": "Gemm", "StaticTranspose": "Transpose", "Conv2d": "Conv", "DepthwiseConv2d": "Conv",
    "ConvTranspose2d": "ConvTranspose", "StaticResizeBilinear2D": "Resize", "StaticConstantPad": "Pad",
    "AvgPooling2d": "AveragePool", "Minimum": "Min", "Maximum": "Max", "MaxPooling2d": "MaxPool", "Multiply": "Mul",
    "Subtract": "Sub", "GlobalAvgPooling2d": "GlobalAveragePool", "StaticReshape": "Reshape", "SquareRoot": "Sqrt",
    "Ceiling": "Ceil", "Hardswish": "HardSwish", "LeakyReLU": "LeakyRelu", "Negate": "Neg", "ELU": "Elu",
    "PReLU": "PRelu", **{f"Concatenate{count}": "Concat" for count in range(2, 6)}, "StaticSlice": "Slice",
    "ScaledDotProductAttention": "Attention", "BatchMatrixMultiply": "MatMul",
}  # fmt: skip
_DTYPES = {
    "fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "qint8": "int8", "qcint8": "int8", "qdint8": "int8",
    "quint8": "uint8", "qint32": "int32", "qcint32": "int32", "int32": "int32",
}  # fmt: skip


def convert(model: Path, made: Path, options: Mapping[str, Any]) -> None:
    """Write the program, and its kernels beside it.

    Args:
        model: an ONNX file.
        made: where the program goes.
        options: `precision`, and for `int8` the `calibration`: an `.npz` of inputs by name, stacked.
    """
    nodes: list[tuple[str, str]] = []
    module, inputs = module_of(model, mark=lambda number: annotate(dict(zip(MARKS, nodes[number], strict=True))))
    nodes += module.nodes
    exported = _export(module, inputs)
    if options["precision"] == "int8":
        quantised = _executorch_int8.quantised(exported, module.input_names, Path(options["calibration"]))
        exported = _export(quantised, inputs)
    with torch.no_grad():  # before lowering takes the exported program apart
        wanted = exported.module()(*inputs)
    with _watched() as delegates:
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    # Inputs in memory of the caller: in planned memory, others may lie over them when the first run is over.
    planning = MemoryPlanningPass(alloc_graph_input=False)
    program = edge.to_executorch(ExecutorchBackendConfig(memory_planning_pass=planning))
    _require_same(program, inputs, wanted, _FAR[options["precision"]])
    made.with_suffix(".json").write_text(json.dumps(_kernels(program, delegates, module.input_names)))
    made.write_bytes(program.buffer)


def _require_same(program: Any, inputs: tuple[Any, ...], wanted: Any, far: float) -> None:
    """Refuse a program that computes something else: behind a convolution, 1.5.1 takes a softmax over the channels.

    Raises:
        RuntimeError: it does.
    """
    from executorch.extension.pybindings import portable_lib

    got = portable_lib._load_for_executorch_from_buffer(program.buffer).forward(list(inputs))
    for one, other in zip(wanted, got, strict=True):
        most = float(one.abs().max()) if one.numel() else 0.0
        if not torch.allclose(other.double(), one.double(), rtol=far, atol=far * most, equal_nan=True):
            raise RuntimeError("ExecuTorch's program computes something else than the model")


def _export(module: Any, inputs: tuple[Any, ...]) -> Any:
    with torch.no_grad(), preserve_node_meta():
        return torch.export.export(module, inputs, strict=False)


@contextlib.contextmanager
def _watched() -> Iterator[list[dict[str, Any]]]:
    """What ExecuTorch tells XNNPACK of each delegate: its graph, and which exported node each of its nodes is of."""
    delegates: list[dict[str, Any]] = []
    visitors, serialise = xnnpack_preprocess.get_node_visitors, xnnpack_preprocess.serialize_xnnpack_binary

    def watched(*given: Any) -> Any:
        found = visitors(*given)
        delegate: dict[str, Any] = {"steps": []}
        delegates.append(delegate)
        for visitor in found.values():
            visitor.define_node = _noting(visitor.define_node, delegate)
        return found

    def serialised(graph: Any, constants: Any) -> bytes:
        content: bytes = serialise(graph, constants)
        delegates[-1].update(graph=graph, content=content)
        return content

    xnnpack_preprocess.get_node_visitors, xnnpack_preprocess.serialize_xnnpack_binary = watched, serialised
    try:
        yield delegates
    finally:
        xnnpack_preprocess.get_node_visitors, xnnpack_preprocess.serialize_xnnpack_binary = visitors, serialise


def _noting(define: Callable[..., None], delegate: dict[str, Any]) -> Callable[..., None]:
    def defined(node: Any, graph: Any, ids: dict[Any, int], handle: int) -> None:
        before = len(graph.xnodes)
        define(node, graph, ids, handle)
        delegate["ids"] = ids
        delegate["steps"] += [(node, one) for one in graph.xnodes[before:]]

    return defined


def _kernels(program: Any, delegates: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """The program's instructions, and XNNPACK's nodes inside of them, with the values that run between them."""
    exported = program.exported_program()
    signature, module = exported.graph_signature, exported.graph_module
    weights = {
        *signature.inputs_to_parameters,
        *signature.inputs_to_buffers,
        *signature.inputs_to_lifted_tensor_constants,
    }
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder" and node.name not in weights]
    aliases: dict[str, str] = {}
    kernels: list[dict[str, Any]] = []
    calls = _calls(program)
    for node in module.graph.nodes:
        target = str(node.target)
        if node.op != "call_function" or node.target is memory.alloc:
            continue
        if node.target is memory.view:
            aliases[node.name] = aliases.get(node.args[0].name, node.args[0].name)
        elif "executorch_call_delegate" in target:
            lowered = getattr(module, node.args[0].target)
            one = next(one for one in delegates if one["content"] == lowered.processed_bytes)
            delegates.remove(one)
            given = [aliases.get(arg.name, arg.name) for arg in node.args[1:]]
            written = {user.args[1]: user.name for user in node.users}
            kernels += _delegate(one, next(calls)[0], given, written)
        elif node.target is not operator.getitem:
            instruction, called = next(calls)
            kernels.append(_outside(node, instruction, called, weights, aliases))
    if next(calls, None) is not None:
        raise RuntimeError("the program has instructions that no exported node tells of")
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    return {
        "schema": SCHEMA,
        "inputs": [[name, node.name, _tensor(node)] for name, node in zip(names, placeholders, strict=True)],
        "outputs": [aliases.get(node.name, node.name) for node in output.args[0]],
        "kernels": kernels,
    }


def _calls(program: Any) -> Iterator[tuple[int, str]]:
    """Numbers of the instructions that run something, with the operator of those that run one of ExecuTorch's own."""
    plan = program.executorch_program.execution_plan[0]
    (chain,) = plan.chains
    for number, instruction in enumerate(chain.instructions):
        call = instruction.instr_args
        if type(call).__name__ == "DelegateCall":
            yield number, ""
        elif type(call).__name__ == "KernelCall":
            called = plan.operators[call.op_index]
            yield number, f"{called.name.removeprefix('aten::')}.{called.overload}".strip(".")


def _delegate(
    delegate: dict[str, Any], instruction: int, given: list[str], written: dict[int, str]
) -> list[dict[str, Any]]:
    graph, values = delegate["graph"], {}
    nodes: dict[int, Any] = {}
    for node, number in delegate["ids"].items():
        nodes.setdefault(number, node)
    for number, defined in enumerate(graph.xvalues):
        value = getattr(defined.xvalue_union, "tensor_value", defined.xvalue_union)
        own = f"{instruction}:{number}"
        if value.external_id != _NONE:
            outward = value.external_id - len(given)
            own = given[value.external_id] if outward < 0 else written.get(outward, own)
        shape = _shape(nodes[number]) if number in nodes else list(value.dims)
        kind = value.datatype.name.removeprefix("xnn_datatype_")
        values[number] = [own, [shape, _DTYPES.get(kind, "unknown"), value.constant_buffer_idx != 0]]
    return [_xnnpack(node, one, instruction, values) for node, one in delegate["steps"]]


def _xnnpack(node: Any, one: Any, instruction: int, values: dict[int, Any]) -> dict[str, Any]:
    """One node of XNNPACK's as a kernel."""
    own = one.xnode_union
    kind = type(own).__name__.removeprefix("XNN")
    fields = vars(own)
    reads = [number for name, number in fields.items() if name.endswith("_id") and not name.startswith("output")]
    writes = [number for name, number in fields.items() if name.endswith("_id") and name.startswith("output")]
    inputs = [values[number] for number in reads if 0 <= number < _NONE]
    outputs = [values[number] for number in writes if 0 <= number < _NONE]
    attributes = _attributes(kind, own, node, values)
    op_type = _TYPES.get(kind, kind)
    if one.output_min_max is not None:
        low, high = one.output_min_max.output_min, one.output_min_max.output_max
        relu = low == 0 and high in ("+inf", float("inf"))
        if kind == "Clamp":
            op_type = "Relu" if relu else "Clip"
        else:
            attributes["fused"] = ["Relu" if relu else "Clip"]
    if kind == "StaticTranspose" and OPERATOR not in _said(node):
        op_type = "Reorder"  # of ExecuTorch's own: no operator of the model's
    if kind == "DepthwiseConv2d" and OPERATOR not in _said(node):
        op_type, attributes = "BatchNormalization", {}  # one that stands alone: XNNPACK multiplies channel by channel
    if kind == "Convert":
        before, after = inputs[0][1][1], outputs[0][1][1]
        op_type = "QuantizeLinear" if before == "float32" else "DequantizeLinear" if after == "float32" else "Cast"
    if kind == "FullyConnected":
        op_type, inputs = _product(own, inputs, attributes)
    return {
        "instruction": instruction, "xnnpack": kind, "name": str(_said(node).get(NODE, node.name)),
        "op_type": op_type, "attributes": attributes, "inputs": inputs, "outputs": outputs,
    }  # fmt: skip


def _product(own: Any, inputs: list[Any], attributes: dict[str, Any]) -> tuple[str, list[Any]]:
    """A product with weights: a Gemm, or a MatMul where more than rows run through it."""
    left, (name, (shape, dtype, constant)), *bias = inputs
    turned = not own.flags & 1  # XNN_FLAG_TRANSPOSE_WEIGHTS
    if len(left[1][0]) == 2:
        attributes["transB"] = int(turned)
        return "Gemm", inputs
    return "MatMul", [left, [name, [shape[::-1] if turned else shape, dtype, constant]], *bias]


def _attributes(kind: str, own: Any, node: Any, values: dict[int, Any]) -> dict[str, Any]:
    """Those of ONNX, as far as they decide how long it runs."""
    if "Conv2d" in kind or kind == "ConvTranspose2d":
        return {
            "kernel_shape": [own.kernel_height, own.kernel_width],
            "strides": [own.subsampling_height, own.subsampling_width],
            "dilations": [own.dilation_height, own.dilation_width], "group": own.groups, "pads": _pads(own),
        }  # fmt: skip
    if kind in ("AvgPooling2d", "MaxPooling2d"):
        return {
            "kernel_shape": [own.pooling_height, own.pooling_width], "strides": [own.stride_height, own.stride_width],
            "pads": _pads(own),
        }  # fmt: skip
    if kind.startswith("Concatenate"):
        axis = node.args[1] if len(node.args) > 1 else 0
        return {"axis": axis % len(_shape(node))}
    if kind == "StaticTranspose":
        return {"perm": list(own.perm)}
    if kind == "StaticSlice":
        return {"starts": list(own.offsets)}
    if kind == "StaticConstantPad":
        return {"pads": [*own.pre_paddings, *own.post_paddings]}
    if kind == "StaticResizeBilinear2D":
        return {"mode": "linear"}
    return {}


def _pads(own: Any) -> list[int]:
    return [own.padding_top, own.padding_left, own.padding_bottom, own.padding_right]


def _outside(node: Any, instruction: int, called: str, weights: set[str], aliases: dict[str, str]) -> dict[str, Any]:
    """A node that XNNPACK does not take: one of ExecuTorch's own kernels runs it."""
    own = node.target._schema.name.split("::")[-1]
    if own not in called:
        raise RuntimeError(f"the program runs {called} where {own} was exported")
    said, attributes, kind = _said(node), {}, own
    reads = [arg for arg in node.all_input_nodes if arg.target is not memory.alloc and _is_tensor(arg)]
    if own == "convolution":
        _, weight, _, strides, pads, dilations, turned, _, group = node.args
        kind = "ConvTranspose" if turned else "Conv"
        attributes = {
            "kernel_shape": _shape(weight)[2:], "strides": list(strides), "pads": [*pads, *pads],
            "dilations": list(dilations), "group": group,
        }  # fmt: skip
    elif OPERATOR in said and _alone(node):
        kind = said[OPERATOR]
    made = node.meta["val"] if isinstance(node.meta["val"], tuple | list) else [node.meta["val"]]
    names = [node.name] if len(made) == 1 else [f"{node.name}:{i}" for i in range(len(made))]
    for user in node.users:
        if user.target is operator.getitem:
            names[user.args[1]] = user.name
    return {
        "instruction": instruction, "xnnpack": "", "name": str(said.get(NODE, node.name)), "op_type": kind,
        "attributes": attributes,
        "inputs": [[aliases.get(arg.name, arg.name), _tensor(arg, constant=arg.name in weights)] for arg in reads],
        "outputs": [[name, _tensor_of(value)] for name, value in zip(names, made, strict=True)],
    }  # fmt: skip


def _alone(node: Any) -> bool:
    """Whether a node is all that became of its ONNX operator outside of delegates."""
    own = _said(node)[NODE]
    same = [one for one in node.graph.nodes if one.op == "call_function" and _said(one).get(NODE) == own]
    return [one for one in same if one.target not in (memory.alloc, memory.view, operator.getitem)] == [node]


def _said(node: Any) -> dict[str, Any]:
    return node.meta.get("custom") or {}


def _is_tensor(node: Any) -> bool:
    return hasattr(node.meta.get("val"), "shape")


def _shape(node: Any) -> list[int]:
    return [int(extent) for extent in node.meta["val"].shape]


def _tensor(node: Any, *, constant: bool = False) -> list[Any]:
    return _tensor_of(node.meta["val"], constant=constant)


def _tensor_of(value: Any, *, constant: bool = False) -> list[Any]:
    return [[int(extent) for extent in value.shape], str(value.dtype).removeprefix("torch."), constant]


if __name__ == "__main__":
    serve(convert)
