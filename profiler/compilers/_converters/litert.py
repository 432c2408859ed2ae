"""LiteRT's converter: ONNX by way of torch to `.tflite`, in fp32, or quantised to int8 with calibration data.

It runs in the environment of `profiler.compilers.litert.CONVERTER`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from profiler.compilers.converters import serve

#: What the converter writes before the name of a node.
_MODULES = re.compile(r"[^;]*OnnxNode_|[^;]*OnnxModule(?=;)")


def convert(model: Path, made: Path, options: dict[str, Any]) -> None:
    """Write `made`.

    Args:
        model: an ONNX file with fixed shapes.
        made: the `.tflite` file.
        options: `layout`, `nchw` or `nhwc`, of inputs and outputs of four dimensions; `calibration`, for int8: a file
            `.npz` with the arrays `SET/NAME`, as the ONNX file has them.
    """
    import litert_torch
    import torch

    from profiler.compilers._onnx_module import module_of

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    module, inputs = module_of(model)
    names = module.input_names, module.output_names
    if options["layout"] == "nhwc":
        module, inputs = _channels_last(module, inputs)
    litert_torch.convert(module, inputs, strict_export=False).export(str(made))
    if "calibration" in options:
        _quantise(made, _sets(Path(options["calibration"]), names[0], options["layout"]))
    _name(made, *names)


def _channels_last(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The module with NHWC at its border, where the model has four dimensions."""
    import litert_torch
    import torch

    with torch.no_grad():
        outputs = module(*inputs)
    wrapped = litert_torch.to_channel_last_io(
        module,
        args=[i for i, value in enumerate(inputs) if value.dim() == 4],
        outputs=[i for i, value in enumerate(outputs) if value.dim() == 4],
    ).eval()
    return wrapped, tuple(value.permute(0, 2, 3, 1).contiguous() if value.dim() == 4 else value for value in inputs)


def _sets(calibration: Path, names: tuple[str, ...], layout: str) -> list[dict[str, Any]]:
    """Sets of inputs under the names that the converter gives them."""
    import numpy as np

    sets: dict[str, dict[str, Any]] = {}
    with np.load(calibration) as arrays:
        for key in arrays.files:
            number, _, name = key.partition("/")
            array = arrays[key]
            last = layout == "nhwc" and array.ndim == 4
            if name in names:
                given = np.ascontiguousarray(array.transpose(0, 2, 3, 1) if last else array)
                sets.setdefault(number, {})[f"args_{names.index(name)}"] = given
    return list(sets.values())


def _quantise(made: Path, sets: list[dict[str, Any]]) -> None:
    """Static int8: weights by channel, activations by tensor; inputs and outputs stay as they are."""
    from ai_edge_quantizer import qtyping, quantizer, recipe

    tool = quantizer.Quantizer(str(made), recipe.static_wi8_ai8())
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        tool.update_quantization_recipe(".*", border, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)
    seen = tool.calibrate({"serving_default": sets}, num_threads=1)
    if not seen:  # there is nothing to quantise
        return
    made.write_bytes(tool.quantize(seen, enable_progress_report=False).quantized_model)


def _name(made: Path, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    """Give inputs and outputs the names that the ONNX file has, and tensors those of its nodes."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(made.read_bytes(), 0)
    signature = model.signatureDefs[0]
    for values, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
        values.sort(key=lambda value: int(value.name.decode().rpartition("_")[2]))
        for value in values:
            value.name = names[int(value.name.decode().rpartition("_")[2])]
    for tensor in model.subgraphs[0].tensors:
        tensor.name = _MODULES.sub("", (tensor.name or b"").decode())
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    made.write_bytes(builder.Output())


if __name__ == "__main__":
    serve(convert)
