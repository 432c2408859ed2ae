"""LiteRT's converter: ONNX by way of torch to `.tflite`, in fp32, or quantised to int8 with calibration data.

It runs in the environment of `profiler.compilers.litert.CONVERTER`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from profiler.compilers.converters import serve


def convert(model: Path, made: Path, options: dict[str, Any]) -> None:
    """Write `made`.

    Args:
        model: an ONNX file with fixed shapes.
        made: the `.tflite` file.
        options: `layout`, `nchw` or `nhwc`, of inputs and outputs of four dimensions; `calibration`, for int8: a file
            `.npz` with the arrays `SET/POSITION`, as the ONNX file has them.
    """
    import litert_torch
    import torch

    from profiler.compilers._onnx_module import module_of

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    module, inputs = module_of(model)
    if options["layout"] == "nhwc":
        module, inputs = _channels_last(module, inputs)
    litert_torch.convert(module, inputs, strict_export=False).export(str(made))
    if "calibration" in options:
        _quantise(made, Path(options["calibration"]), options["layout"])


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


def _quantise(made: Path, calibration: Path, layout: str) -> None:
    """Static int8: weights by channel, activations by tensor; inputs and outputs stay as they are."""
    import numpy as np
    from ai_edge_quantizer import qtyping, quantizer, recipe

    tool = quantizer.Quantizer(str(made), recipe.static_wi8_ai8())
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        tool.update_quantization_recipe(".*", border, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)
    with np.load(calibration) as arrays:
        sets: dict[str, dict[str, Any]] = {}
        for key in arrays.files:
            number, _, position = key.partition("/")
            array = arrays[key]
            last = layout == "nhwc" and array.ndim == 4
            sets.setdefault(number, {})[f"args_{position}"] = array.transpose(0, 2, 3, 1) if last else array
    seen = tool.calibrate({"serving_default": list(sets.values())}, num_threads=1)
    content = tool.quantize(seen, enable_progress_report=False).quantized_model
    made.write_bytes(content)


if __name__ == "__main__":
    serve(convert)
