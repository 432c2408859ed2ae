"""The host's half of `torch.compile`: ONNX as an exported program."""

from __future__ import annotations

from pathlib import Path

from profiler.compilers.plain import Plain
from profiler.compilers.protocol import Calibration
from profiler.runtimes.protocol import RuntimeOptions


class TorchCompileCompiler(Plain):
    """What travels is a `.pt2` archive."""

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """The nodes of the file as torch functions, exported; in bf16 the whole of it. A module is exported already."""
        from profiler.compilers import _exported

        if model.suffix == ".pt2":
            return _exported.lowered(model, options.precision)
        inputs = calibration[0] if calibration else None
        return _exported.of_onnx(model, model.with_suffix(".pt2"), options.precision, inputs)


COMPILER = TorchCompileCompiler
