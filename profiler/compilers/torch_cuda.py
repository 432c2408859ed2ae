"""The host's half of torch on a GPU: ONNX as an exported program, and its operators in the precision asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from profiler.compilers.plain import Plain
from profiler.compilers.protocol import Calibration
from profiler.operators import Node, Operator, OperatorGraph, Tensor
from profiler.runtimes.protocol import RuntimeOptions


class TorchCudaCompiler(Plain):
    """What travels is a `.pt2` archive, whose tensors lie on the CPU until it is loaded."""

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """The nodes of the file as torch functions, exported, all in fp16 or bf16 if asked; modules are exported."""
        from profiler.compilers import _exported

        if model.suffix == ".pt2":
            return _exported.lowered(model, options.precision)
        made, inputs = model.with_suffix(".pt2"), calibration[0] if calibration else None
        return _exported.of_onnx(
            model, made, options.precision, inputs, what_runs=lambda graph: in_precision(graph, options.precision)
        )


COMPILER = TorchCudaCompiler


def in_precision(graph: OperatorGraph, precision: str) -> OperatorGraph:
    """The same operators on values of another precision; in TF32, values stay and operators say so.

    Args:
        graph: in fp32.
        precision: `fp32`, `tf32`, `fp16` or `bf16`.
    """
    dtype = {"fp16": "float16", "bf16": "bfloat16"}.get(precision, "float32")

    def tensor(one: Tensor) -> Tensor:
        return replace(one, dtype=dtype) if one.dtype == "float32" else one

    def operator(one: Operator) -> Operator:
        attributes = one.attributes
        if precision == "tf32":
            attributes = tuple(sorted((*attributes, ("precision", precision))))
        inputs = tuple(None if value is None else tensor(value) for value in one.inputs)
        return Operator(one.domain, one.op_type, attributes, inputs, tuple(map(tensor, one.outputs)))

    nodes = tuple(Node(operator(n.operator), n.inputs, n.outputs, n.name, n.values) for n in graph.nodes)
    inputs = tuple((name, tensor(value)) for name, value in graph.inputs)
    return OperatorGraph(nodes, inputs, graph.outputs, runtime="torch-cuda")
