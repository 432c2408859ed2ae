"""ONNX Runtime's host half: it reads ONNX in any precision, and its fused kernels are nodes that it loads again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.compilers.protocol import Calibration, KernelModel
from profiler.runtimes.protocol import RuntimeOptions


class OnnxRuntimeCompiler:
    """What travels is ONNX."""

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """The model itself, or in int8 or fp16; with the option `format = "ort"` in ONNX Runtime's own format."""
        from profiler.compilers import _quantised

        if options.precision == "int8":
            model = _quantised.int8(model, model.with_suffix(".int8.onnx"), calibration)
        elif options.precision == "fp16":
            model = _quantised.fp16(model, model.with_suffix(".fp16.onnx"))
        return model

    def kernel_model(
        self, operator: list[Any], copies: int, values: Mapping[int, Sequence[int | float]] | None = None
    ) -> KernelModel | None:
        """A model of `copies` equal nodes side by side, each with weights of its own."""
        from profiler.compilers._kernel_model import build

        content = build(operator, copies, values)
        return None if content is None else KernelModel(content)


COMPILER = OnnxRuntimeCompiler
