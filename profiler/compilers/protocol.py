"""What a compiler is: the host's half of a runtime, which makes of ONNX what travels to the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from profiler.runtimes.protocol import RuntimeOptions

#: Sets of inputs by name that quantisation is calibrated on.
Calibration = Sequence[Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class KernelModel:
    """A model that replays one kernel alone.

    Attributes:
        content: of its file.
        suffix: `.onnx`, or that of what travels: then it is compiled already.
    """

    content: bytes
    suffix: str = ".onnx"


class Compiler(Protocol):
    """The half of a runtime that works on the host, where onnx, torch and converters are."""

    def compile(self, model: Path, options: RuntimeOptions, calibration: Calibration | None = None) -> Path:
        """Make what travels to the device.

        Args:
            model: an ONNX file; what is made lies beside it, under its name with another suffix.
            options: how it is run.
            calibration: what the model is likely to read; seeded normal values if None. For what is quantised alone.

        Returns:
            The file that `Runtime.load` is given; the model itself if the runtime reads ONNX.

        Raises:
            InvalidModel: the converter refuses the model, with its words.
            UsageError: the runtime does not have the precision or an option.
            DeviceError: the converter is not installed; the hint has the command that installs it.
        """

    def kernel_model(
        self, operator: list[Any], copies: int, values: Mapping[int, Sequence[int | float]] | None = None
    ) -> KernelModel | None:
        """A model that runs one fused kernel `copies` times over rotated weights, or None if it cannot be alone.

        Args:
            operator: the kernel as `profiler.operators.operator_to_plain` writes it.
            copies: sets of weights to rotate through, so that weights are as cold as in a network.
            values: numbers of constant inputs that decide what it does, by position.
        """


MakeCompiler = Callable[[], Compiler]
