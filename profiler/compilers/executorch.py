"""ExecuTorch's host half: ONNX is exported again, lowered to XNNPACK and written as `.pte`, by a converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device_profiles.errors import WrongPrecision
from profiler.compilers.converters import Converter
from profiler.compilers.plain import Plain
from profiler.compilers.protocol import Calibration
from profiler.runtimes.executorch import OPTIONS, ExecuTorch
from profiler.runtimes.protocol import RuntimeOptions, require_options, require_precision

#: What is the same on both sides: a newer runtime reads other `.pte`, and lowers to other kernels.
CONVERTER = Converter("executorch", ("executorch==1.5.1", "torch==2.13.0", "onnx>=1.18"))

#: ONNX operators that multiply what two of their inputs hold, and those that multiply what they computed themselves.
_PRODUCTS, _OF_THEIR_OWN = ("MatMul", "Gemm", "Einsum"), ("Attention", "MultiHeadAttention", "LSTM", "GRU", "RNN")
#: Operators whose outputs are constants, since shapes are fixed.
_OF_SHAPES = ("Shape", "Size")
#: ONNX's numbers of fp16, fp64 and bf16.
_OTHER_FLOATS = (10, 11, 16)


class ExecuTorchCompiler(Plain):
    """What travels is a `.pte`, and beside it the kernels that XNNPACK is asked for, as JSON."""

    converter = CONVERTER

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """A program in fp32, or quantised with the quantiser of ExecuTorch's XNNPACK."""
        require_precision("executorch", ExecuTorch.traits, options.precision)
        require_options("executorch", options.options, OPTIONS)
        asked: dict[str, Any] = {"precision": options.precision}
        if options.precision == "int8":
            from profiler.compilers import _quantised

            with _quantised.stacked(model, calibration) as sets:
                _require_products_with_weights(model)
                return CONVERTER.convert(model, model.with_suffix(".pte"), {**asked, "calibration": sets})
        return CONVERTER.convert(model, model.with_suffix(".pte"), asked)


def _require_products_with_weights(model: Path) -> None:
    """Refuse what stays in fp32 before minutes are spent on it: the quantiser knows products with weights alone.

    Raises:
        WrongPrecision: activations in fp32 are multiplied with each other, or by a recurrence.
    """
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    computed = {value.name for value in graph.input} - {value.name for value in graph.initializer}
    others = {value.name for value in graph.input if value.type.tensor_type.elem_type in _OTHER_FLOATS}
    others |= {value.name for value in graph.initializer if value.data_type in _OTHER_FLOATS}
    for node in graph.node:
        read = [name in computed for name in node.input]
        other = not others.isdisjoint(node.input)  # such products keep their precision
        both = node.op_type in _PRODUCTS and read[:2] == [True, True]
        if (both or (node.op_type in _OF_THEIR_OWN and any(read))) and not other:
            raise WrongPrecision(
                f"{node.op_type} {node.name} multiplies activations, which ExecuTorch leaves in fp32, not in int8",
                hint="Measure it in fp32, or with another runtime.",
            )
        if any(read) and node.op_type not in _OF_SHAPES:
            computed.update(node.output)
        if node.op_type == "Cast":
            other = any(one.i in _OTHER_FLOATS for one in node.attribute if one.name == "to")
        if other:
            others.update(node.output)


COMPILER = ExecuTorchCompiler
