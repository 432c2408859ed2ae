"""OpenVINO's host half: it reads ONNX; what runs in int8 is quantised before."""

from __future__ import annotations

from pathlib import Path

from profiler.compilers.plain import Plain
from profiler.compilers.protocol import Calibration
from profiler.runtimes.protocol import RuntimeOptions


class OpenVinoCompiler(Plain):
    """What travels is ONNX."""

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """The model itself, or as pairs of QuantizeLinear and DequantizeLinear, which OpenVINO runs in int8."""
        if options.precision != "int8":
            return model
        from profiler.compilers import _quantised

        return _quantised.int8(model, model.with_suffix(".int8.onnx"), calibration)


COMPILER = OpenVinoCompiler
