"""ONNX Runtime's host half: it reads ONNX in any precision, and its fused kernels are nodes that it loads again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from device_profiles.errors import InvalidModel
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
        return _in_own_format(model, options) if options.options.get("format") == "ort" else model

    def kernel_model(
        self, operator: list[Any], copies: int, values: Mapping[int, Sequence[int | float]] | None = None
    ) -> KernelModel | None:
        """A model of `copies` equal nodes side by side, each with weights of its own."""
        from profiler.compilers._kernel_model import build

        content = build(operator, copies, values)
        return None if content is None else KernelModel(content)


def _in_own_format(model: Path, options: RuntimeOptions) -> Path:
    """Write a model as `.ort`, optimised for a platform, and what it was optimised to as ONNX beside it.

    Without `platform = "amd64"` the blocked layouts of x86 are left out, as ONNX Runtime's own converter does.
    """
    import onnxruntime as ort

    from profiler.runtimes.onnxruntime import session_settings

    made, fused = model.with_suffix(".ort"), model.with_suffix(".fused.onnx")
    without = [] if options.options.get("platform") == "amd64" else ["NchwcTransformer"]
    for path, kind in ((fused, "ONNX"), (made, "ORT")):
        settings = session_settings(options)
        settings.optimized_model_filepath = str(path)
        settings.add_session_config_entry("session.save_model_format", kind)
        try:
            ort.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"], disabled_optimizers=without)
        except Exception as error:  # onnxruntime raises a dozen private types that share no base but Exception
            words = " ".join(str(error).split())[:300]
            raise InvalidModel(f"ONNX Runtime cannot load {model.name}: {words}", hint="Export it again.") from error
    return made


COMPILER = OnnxRuntimeCompiler
