"""LiteRT's host half: ONNX becomes `.tflite` by way of torch; int8 is LiteRT's own quantisation, calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.compilers.converters import Converter
from profiler.compilers.protocol import Calibration, KernelModel
from profiler.runtimes.litert import OPTIONS, LiteRt
from profiler.runtimes.protocol import RuntimeOptions, require_options, require_precision

#: In its own environment: about 2.2 GB, torch and jax among it.
CONVERTER = Converter("litert", ("litert-torch==0.10.0", "onnx>=1.18", "torch==2.13.*"))


class LiteRtCompiler:
    """What travels is `.tflite`."""

    converter = CONVERTER

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """The model as `.tflite`; for int8 with static scales, inputs and outputs in fp32.

        What is to run in fp16 travels in fp32: XNNPACK brings it to fp16 on the device.
        """
        require_precision("litert", LiteRt.traits, options.precision)
        require_options("litert", options.options, OPTIONS)
        wanted: dict[str, Any] = {"layout": options.options.get("layout", "nchw")}
        converted = CONVERTER.convert(model, model.with_suffix(".tflite"), wanted)
        if options.precision != "int8":
            return converted
        from profiler.compilers import _quantised

        with _quantised.stacked(model, calibration) as sets:
            return CONVERTER.convert(
                model, model.with_suffix(".int8.tflite"), {**wanted, "converted": converted, "calibration": sets}
            )

    def kernel_model(
        self, operator: list[Any], copies: int, values: Mapping[int, Sequence[int | float]] | None = None
    ) -> KernelModel | None:
        """A `.tflite` file of `copies` equal operators side by side, each with weights of its own."""
        from profiler.compilers._litert_kernel import build

        content = build(operator, copies)
        return None if content is None else KernelModel(content, ".tflite")


COMPILER = LiteRtCompiler
