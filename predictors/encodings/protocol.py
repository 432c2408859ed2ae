"""What predicts architectures of a space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from predictors.blocks.places import SampledSpace
from predictors.differentiable.protocol import DifferentiableCost
from predictors.prediction import Prediction

Archs = NDArray[np.int64]
Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

#: What is not exact serves where networks deviate by no more, at the median and at most.
MOST_MEDIAN, MOST_WORST = 0.015, 0.08


class SearchedSpace(SampledSpace, Protocol):
    """What a predictor needs of a space; those of `nas.spaces` have it."""

    @property
    def spec(self) -> str:
        """Name and options."""

    @property
    def size(self) -> int:
        """Number of genomes."""


@dataclass(frozen=True)
class Fidelity:
    """How an encoding was made, and how far it is from compiling and predicting network by network.

    Attributes:
        kind: of the encoding.
        compiled: networks that it was made of.
        held: networks that it was not made of, and was held against; 0 where it is exact by construction.
        median: median relative deviation on them, a fraction.
        worst: largest.
        why: why no more exact kind served, or "".
    """

    kind: str
    compiled: int
    held: int = 0
    median: float = 0.0
    worst: float = 0.0
    why: str = ""

    def __str__(self) -> str:
        if not self.held:
            return f"{self.kind} of all {self.compiled} networks"
        return (
            f"{self.kind} from {self.compiled} compiled networks; {self.held} others deviate by {self.median:.2%} "
            f"(median), {self.worst:.2%} at most"
        )

    @staticmethod
    def of(kind: str, compiled: int, told: Floats, compiled_alone: Floats, why: str = "") -> Fidelity:
        """From predictions `(h,)` of held networks, and those of their own graphs."""
        deviation = np.abs(told / compiled_alone - 1.0)
        return Fidelity(
            kind, compiled, len(deviation), float(np.median(deviation)), float(deviation.max(initial=0.0)), why
        )


def no_gradient(space: str) -> UsageError:
    """That encodings of a space, by its spec, which look at whole networks cannot be differentiated."""
    return UsageError(
        f"the cost of {space} has no gradient: what stands where in its networks depends on too many genes",
        hint="Search it with a strategy that needs none, such as auto.",
    )


def widened(found: Prediction, error: float) -> Prediction:
    """Predictions whose intervals reckon with a relative deviation from compiling network by network, too."""
    if not error or found.low is None or found.high is None:
        return found
    return replace(found, low=found.low * (1.0 - error), high=found.high * (1.0 + error))


class Encoding(Protocol):
    """Predicts architectures as integer vectors; `predictors.testing.check_encoding` is its conformance kit."""

    kind: ClassVar[str]
    """Its name in a card."""

    file: ClassVar[str]
    """What `save` writes."""

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""

    def predict(self, archs: Archs) -> Prediction:
        """Predictions of `(n, d)` architectures.

        Raises:
            UsageError: the shape or a gene is outside of the space.
        """

    def differentiable(self) -> DifferentiableCost:
        """The expected cost under independent choices.

        Raises:
            UsageError: it has none, and why.
        """

    def save(self, folder: Path) -> None:
        """Write its files into an existing folder."""

    @classmethod
    def load(cls, folder: Path, choices: tuple[int, ...], model: Any, unit: str) -> Encoding:
        """Read what `save` wrote.

        Raises:
            ValueError: a file is damaged.
            LookupError: something is missing.
        """
