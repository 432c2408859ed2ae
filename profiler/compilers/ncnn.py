"""ncnn's host half: pnnx makes of ONNX the two files that ncnn reads, and a third that says what they do not tell.

pnnx forgets the names, shapes and types of inputs and outputs, and which node became which layer; `MODEL.json` knows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from device_profiles.errors import InvalidModel, UnsupportedOperator, UsageError
from profiler.compilers.converters import Converter
from profiler.compilers.plain import Plain
from profiler.compilers.protocol import Calibration
from profiler.runtimes.protocol import RuntimeOptions, require_options, require_precision

#: Without what these packages depend on: pnnx's program stands alone, its package asks for torch all the same.
REQUIREMENTS = (
    "--no-deps", "pnnx==20261020", "ncnn==1.0.20261020", "numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0",
    "protobuf==7.36.2", "flatbuffers==25.12.19", "ml_dtypes==0.6.0", "packaging==26.4", "typing_extensions==4.15.0",
)  # fmt: skip
#: ncnn computes with these; whole numbers (of tokens) are given to it in 32 bits.
DTYPES = ("float32", "int64", "int32")
#: Dimensions of a tensor of ncnn, beside the batch.
MOST_DIMENSIONS = 5


class NcnnCompiler(Plain):
    """What travels is `MODEL.param`, with `MODEL.bin` and `MODEL.json` beside it."""

    converter = Converter("ncnn", REQUIREMENTS)

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """Convert a model. Weights stay in fp32, which ncnn converts where it loads them; but for int8 they are whole.

        Raises:
            InvalidModel: pnnx refuses the model, or makes something else of it.
            UnsupportedOperator: ncnn has no layer for an operator.
            UsageError: ncnn does not have the precision or an option.
            DeviceError: the converter is not installed; the hint has the command that installs it.
        """
        from profiler.onnx_check import parse
        from profiler.runtimes.ncnn import OPTIONS, Ncnn

        require_precision("ncnn", Ncnn.traits, options.precision)
        require_options("ncnn", options.options, OPTIONS)
        if options.optimisation != "all":
            raise UsageError(
                f"pnnx fuses always; the runtime ncnn has no optimisation {options.optimisation!r}",
                hint="Remove optimisation from the target's [runtime].",
            )
        made, proto = model.with_suffix(".param"), parse(model)
        described = _described(model, proto)
        if all(node.op_type == "Identity" for node in proto.graph.node):
            return _nothing(described, made)
        if options.precision != "int8":
            return self.converter.convert(model, made, described)
        from profiler.compilers import _quantised

        with _quantised.stacked(model, calibration) as sets:
            return self.converter.convert(model, model.with_suffix(".int8.param"), {**described, "calibration": sets})


COMPILER = NcnnCompiler


def _described(model: Path, proto: Any) -> dict[str, Any]:
    """Names, shapes and element types of inputs and outputs.

    Raises:
        InvalidModel: a shape is not fixed, or has more dimensions than ncnn knows.
        UnsupportedOperator: an input is of another type.
    """
    constants = {weight.name for weight in proto.graph.initializer}
    inputs = [_value(value) for value in proto.graph.input if value.name not in constants]
    for name, shape, dtype in inputs:
        if dtype not in DTYPES:
            raise UnsupportedOperator(
                f"ncnn reads {', '.join(DTYPES)}; the input {name[:60]!r} of {model.name} is {dtype}",
                hint="Export the model in float32, or measure it with another runtime.",
            )
        if 0 in shape or not 0 < len(shape) <= MOST_DIMENSIONS:
            raise InvalidModel(
                f"{model.name}: ncnn needs fixed shapes of 1 to {MOST_DIMENSIONS} dimensions, got {shape} for "
                f"{name[:60]!r}",
                hint="Fix free dimensions with --shape or --dim.",
            )
    return {"inputs": inputs, "outputs": [_value(value) for value in proto.graph.output]}


def _value(value: Any) -> tuple[str, list[int], str]:
    import onnx

    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name if tensor.elem_type else "unknown"
    return value.name, [dim.dim_value for dim in tensor.shape.dim], dtype


def _nothing(described: dict[str, Any], made: Path) -> Path:
    """A model that gives what it reads, which pnnx cannot convert: its time is what a call costs."""
    (given, shape, dtype), (got, *_) = described["inputs"][0], described["outputs"][0]
    made.write_text("7767517\n2 2\nInput in0 0 1 in0\nNoop noop 1 1 in0 out0\n")
    made.with_suffix(".bin").write_bytes(b"")
    beside = {"inputs": [[given, shape, dtype, None]], "outputs": [[got, shape, dtype, None]], "names": {}}
    made.with_suffix(".json").write_text(json.dumps(beside))
    return made
