"""The host's half of torch on a GPU: ONNX as an exported program, and its operators in the precision asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_profiles.errors import InvalidModel, UnsupportedOperator, UsageError
from profiler.compilers import _exported
from profiler.compilers.protocol import Calibration, KernelModel
from profiler.operators import Node, Operator, OperatorGraph, Tensor
from profiler.runtimes.protocol import RuntimeOptions

#: Precisions that values have, by their element type.
_LOWER = {dtype: precision for precision, dtype in _exported.LOWER.items()}


class TorchCudaCompiler:
    """What travels is a `.pt2` archive, whose tensors lie on the CPU until it is loaded."""

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """The nodes of the file as torch functions, exported, all in fp16 or bf16 if asked; modules are exported."""
        if options.optimisation != "all":
            raise UsageError(
                f"the runtime torch-cuda has no optimisation level {options.optimisation!r}; its modes are options",
                hint="Remove optimisation from the target's [runtime].",
            )
        if model.suffix == ".pt2":
            return _exported.lowered(model, options.precision)
        made, inputs = model.with_suffix(".pt2"), calibration[0] if calibration else None
        return _exported.of_onnx(
            model, made, options.precision, inputs, what_runs=lambda graph: in_precision(graph, options.precision)
        )

    def kernel_model(
        self, operator: list[Any], copies: int, values: Mapping[int, Sequence[int | float]] | None = None
    ) -> KernelModel | None:
        """A program of `copies` equal operators side by side, each with weights of its own; the device captures it."""
        from profiler.compilers._kernel_model import build

        domain, op_type, attributes, inputs, outputs = operator
        tensors = [tensor for tensor in (*inputs, *outputs) if tensor is not None]
        precision = next((_LOWER[tensor[1]] for tensor in tensors if tensor[1] in _LOWER), "fp32")
        plain = [[None if one is None else _in_fp32(one) for one in side] for side in (inputs, outputs)]
        own = [[name, value] for name, value in attributes if name != "precision"]
        content = build([domain, op_type, own, *plain], copies, values)
        if content is None:
            return None
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "kernel.onnx"
            path.write_bytes(content)
            try:
                made = _exported.of_onnx(
                    path, path.with_suffix(".pt2"), precision, what_runs=lambda graph: in_precision(graph, precision)
                )
            except (InvalidModel, UnsupportedOperator):  # it ran in its network, with inputs that decide what it does
                return None
            return KernelModel(made.read_bytes(), ".pt2")


COMPILER = TorchCudaCompiler


def in_precision(graph: OperatorGraph, precision: str) -> OperatorGraph:
    """The same operators on values of another precision; in TF32, values stay and operators say so.

    Args:
        graph: in fp32.
        precision: `fp32`, `tf32`, `fp16` or `bf16`.
    """
    dtype = _exported.LOWER.get(precision, "float32")

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


def _in_fp32(tensor: list[Any]) -> list[Any]:
    shape, dtype, *rest = tensor
    return [shape, "float32" if dtype in _LOWER else dtype, *rest]
