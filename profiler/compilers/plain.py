"""For runtimes that read ONNX and compile it on the device: what travels is the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.compilers.protocol import Calibration, KernelModel
from profiler.runtimes.protocol import RuntimeOptions


class Plain:
    """Nothing is made of a model, and kernels are not replayed."""

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """The model itself."""
        return model

    def kernel_model(
        self, operator: list[Any], copies: int, values: Mapping[int, Sequence[int | float]] | None = None
    ) -> KernelModel | None:
        """There is none."""
        return None
