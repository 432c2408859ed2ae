"""LiteRT's converter: ONNX by way of torch to `.tflite`, in fp32, or quantised to int8 with calibration data.

It runs in the environment of `profiler.compilers.litert.CONVERTER`.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
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
        options: `layout`, `nchw` or `nhwc`, of inputs and outputs of four dimensions; for int8 `converted`, what
            became of it in fp32, and `calibration`, an `.npz` of inputs by name, stacked, as the ONNX file has them.
    """
    if "calibration" in options:
        _quantise(Path(options["converted"]), made, Path(options["calibration"]), options["layout"])
        return
    import litert_torch
    import torch

    from profiler.compilers._onnx_module import module_of

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    module, inputs = module_of(model)
    names, types = (module.input_names, module.output_names), module.node_types
    if options["layout"] == "nhwc":
        module, inputs = _channels_last(module, inputs)
    litert_torch.convert(module, inputs, strict_export=False).export(str(made))
    _name(made, *names, types)


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


def _quantise(converted: Path, made: Path, calibration: Path, layout: str) -> None:
    """Static int8: weights by channel, activations by tensor; inputs and outputs stay as they are."""
    from ai_edge_quantizer import qtyping, quantizer, recipe

    from profiler.runtimes._litert import kernels

    shutil.copyfile(converted, made)
    tool = quantizer.Quantizer(str(converted), recipe.static_wi8_ai8())
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        tool.update_quantization_recipe(".*", border, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)
    names = [value.name.decode() for value in kernels.read(converted.read_bytes()).signatureDefs[0].inputs]
    seen = tool.calibrate({"serving_default": _sets(calibration, names, layout)}, num_threads=1)
    if seen:  # there is something to quantise
        made.write_bytes(tool.quantize(seen, enable_progress_report=False).quantized_model)


def _sets(calibration: Path, names: Sequence[str], layout: str) -> list[dict[str, Any]]:
    """Sets of inputs by name, laid out as the model reads them."""
    import numpy as np

    def laid_out(array: Any) -> Any:
        last = layout == "nhwc" and array.ndim == 4
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1) if last else array)

    with np.load(calibration, allow_pickle=False) as stacked:
        known = {name: stacked[name] for name in names if name in stacked.files}
    return [
        {name: laid_out(array) for name, array in zip(known, one, strict=True)}
        for one in zip(*known.values(), strict=True)
    ]


def _name(made: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], types: dict[str, str]) -> None:
    """Give inputs and outputs the names that the ONNX file has, and tensors those of the nodes that write them."""
    import flatbuffers

    from profiler.runtimes._litert import kernels, words

    model = kernels.read(made.read_bytes())
    signature = model.signatureDefs[0]
    for values, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
        values.sort(key=_position)
        for value in values:
            value.name = names[_position(value)]
    tensors = model.subgraphs[0].tensors
    for tensor in tensors:
        tensor.name = _MODULES.sub("", (tensor.name or b"").decode())
    for name, operator in kernels.operators_of(model):
        for number in operator.outputs:
            tensors[number].name = _core_first(tensors[number].name, types, words.TYPES.get(name, name))
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    made.write_bytes(builder.Output())


def _position(value: Any) -> int:
    """Of an input `args_N` or an output `output_N`."""
    name = value.name if isinstance(value.name, str) else value.name.decode()
    return int(name.rpartition("_")[2])


def _core_first(name: str, types: dict[str, str], kind: str) -> str:
    """The nodes that were fused to an operator, beginning with the one that it is named for."""
    parts = [part for part in name.split(";") if part]
    core = next((part for part in parts if types.get(part) == kind), None)
    return name if core is None else ";".join([core, *(part for part in parts if part != core)])


if __name__ == "__main__":
    serve(convert)
