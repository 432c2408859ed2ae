"""What a kernel model is: it says what one fused kernel costs. Everything else about a predictor is shared.

A cost is a time in ms or an energy in mJ; a model need not know which.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable
from predictors.sealed import check_numbers
from predictors.streaming import Streaming
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

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> DeviceFacts:
        """Read the two numbers.

        Raises:
            ValueError: one is not finite and above 0, or there is another.
        """
        check_numbers("the speed of light", tuple(data.values()), 2, least=sys.float_info.min)
        return DeviceFacts(**data)


@dataclass(frozen=True)
class KernelSamples:
    """Measured kernels of one device.

    Attributes:
        operators: distinct kernels.
        cost: `(k,)`, of each, in `unit`, above 0: of time, inside a network.
        weights: `(k,)`, number of measurements behind each.
        device: speed of light.
        unit: `ms` or `mJ`.
        kept: `(k,)`, the cost of each had its weights been in the cache, or None where that is not told apart.
        streaming: what they take otherwise.
    """

    operators: tuple[Operator, ...]
    cost: Floats
    weights: Floats
    device: DeviceFacts
    unit: str = "ms"
    kept: Floats | None = None
    streaming: Streaming = field(default_factory=Streaming)

    def take(self, rows: Sequence[int]) -> KernelSamples:
        """Some of them."""
        index = list(rows)
        return replace(
            self,
            operators=tuple(self.operators[i] for i in index),
            cost=self.cost[index],
            weights=self.weights[index],
            kept=None if self.kept is None else self.kept[index],
        )

    def in_cache(self) -> KernelSamples:
        """The same with weights in the cache."""
        return self if self.kept is None else replace(self, cost=self.kept, kept=None)


def require_costs(samples: KernelSamples) -> None:
    """Refuse samples that no model can learn from.

    Raises:
        InvalidTable: a cost is not positive and finite.
    """
    bad = ~(np.isfinite(samples.cost) & (samples.cost > 0))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InvalidTable(
            f"the cost of kernel {samples.operators[first]} is {samples.cost[first]} {samples.unit}; "
            "it must be above 0 and finite",
            hint="Measure that kernel's network again.",
        )


@dataclass(frozen=True)
class KernelPrediction:
    """Costs of kernels.

    Attributes:
        cost: `(k,)`, in the unit of the samples, above 0.
        known: `(k,)`, False where it is a guess: the kernel, or its kind, was not among the samples.
        spread: `(k,)`, above 0: how unsure each is relative to the others, in the log of the cost; None for alike.
            What turns it into intervals is learned from kernels left out (`predictors.unseen`).
    """

    cost: Floats
    known: NDArray[np.bool_]
    spread: Floats | None = None


class KernelModel(Protocol):
    """A model of kernel costs. `predictors.testing.check_kernel_model` is its conformance kit."""

    #: Whether sums of kernels are fitted to measured networks; otherwise a network is the plain sum.
    composed: ClassVar[bool]

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Costs of kernels, in order."""

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
