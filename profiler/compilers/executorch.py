"""ExecuTorch's host half: ONNX is exported again, lowered to XNNPACK and written as `.pte`, by a converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.compilers.converters import Converter
from profiler.compilers.plain import Plain
from profiler.compilers.protocol import Calibration
from profiler.runtimes.executorch import OPTIONS, ExecuTorch
from profiler.runtimes.protocol import RuntimeOptions, require_options, require_precision

#: What is the same on both sides: a newer runtime reads other `.pte`, and lowers to other kernels.
CONVERTER = Converter("executorch", ("executorch==1.5.1", "torch==2.13.0", "onnx>=1.18"))


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
                return CONVERTER.convert(model, model.with_suffix(".pte"), {**asked, "calibration": sets})
        return CONVERTER.convert(model, model.with_suffix(".pte"), asked)


COMPILER = ExecuTorchCompiler
