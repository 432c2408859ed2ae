"""What a kernel model is: it says how long one fused kernel takes. Everything else about a predictor is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable
from profiler.operators import Operator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DeviceFacts:
    """Speed of light of a device, from its sentinels.

    Attributes:
        flops_per_s: of a small fp32 matrix product.
        bytes_per_s: of a copy, reads and writes together.
    """

    flops_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class KernelSamples:
    """Measured kernels of one device.

    Attributes:
        operators: distinct kernels.
        ms: `(k,)`, time of each inside a network, in ms, above 0.
        weights: `(k,)`, number of network profiles behind each.
        device: speed of light.
    """

    operators: tuple[Operator, ...]
    ms: Floats
    weights: Floats
    device: DeviceFacts

    def take(self, rows: Sequence[int]) -> KernelSamples:
        """Some of them."""
        index = list(rows)
        return KernelSamples(tuple(self.operators[i] for i in index), self.ms[index], self.weights[index], self.device)


def require_times(samples: KernelSamples) -> None:
    """Refuse samples that no model can learn from.

    Raises:
        InvalidTable: a time is not positive and finite.
    """
    bad = ~(np.isfinite(samples.ms) & (samples.ms > 0))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InvalidTable(
            f"the time of kernel {samples.operators[first]} is {samples.ms[first]} ms; it must be above 0 and finite",
            hint="Measure that kernel's network again.",
        )


@dataclass(frozen=True)
class KernelPrediction:
    """Times of kernels.

    Attributes:
        ms: `(k,)`, above 0.
        known: `(k,)`, False where it is a guess: the kernel, or its kind, was not among the samples.
    """

    ms: Floats
    known: NDArray[np.bool_]


class KernelModel(Protocol):
    """A model of kernel times. `predictors.testing.check_kernel_model` is its conformance kit."""

    #: Whether the composition from kernels to a network is fitted on measured networks; otherwise it is the plain sum.
    composed: ClassVar[bool]

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Times of kernels, in order."""

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing folder: JSON, LightGBM text or safetensors, never a pickle."""


class MakeKernelModel(Protocol):
    """A module's `MODEL`: the class of the kernel model."""

    def fit(self, samples: KernelSamples) -> KernelModel:
        """Learn from samples.

        Raises:
            InvalidTable: too few samples, or samples that are not positive and finite.
        """

    def load(self, folder: Path) -> KernelModel:
        """Read what `save` wrote.

        Raises:
            SchemaMismatch: the files are of another schema.
        """
