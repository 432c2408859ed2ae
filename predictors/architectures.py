"""What predicts architectures, whatever it learned from: the protocol that `predictors.load` answers with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import ConditionMismatch, UsageError
from predictors.differentiable.protocol import DifferentiableCost
from predictors.prediction import UNITS, Prediction

Archs = NDArray[np.int64]

#: The cost that a unit is of.
_COSTS = {unit: cost for cost, unit in UNITS.items()}


class Claims(Protocol):
    """What a predictor says of itself."""

    @property
    def predictor(self) -> str:
        """What it is called."""

    @property
    def cost(self) -> str:
        """`latency`, `energy` or `memory`."""

    @property
    def unit(self) -> str:
        """Of its values."""

    @property
    def target(self) -> str | None:
        """Name of the target, or None if nobody said."""

    @property
    def space(self) -> str | None:
        """Spec of the space, or None if nobody said."""

    @property
    def choices(self) -> tuple[int, ...] | None:
        """Options per gene, or None if it takes no architectures."""


class EncodingPredictor(Protocol):
    """Predicts architectures of a space as integer vectors.

    A fitted `Predictor` with a space, `NetworkCost`, `DeviceCost` and `TransferPredictor` are such;
    `predictors.testing.check_encoding_predictor` is the conformance kit.
    """

    @property
    def card(self) -> Claims:
        """What it says of itself."""

    def predict(self, archs: Any, /, *, missing: str = "guess") -> Prediction:
        """Predictions of `(n, d)` architectures, with intervals where there are any, coverage, and what is missing.

        Args:
            archs: `(n, d)`, genes count from 0.
            missing: `guess`, or `raise` where anything was never measured.

        Raises:
            UsageError: the shape or a gene is outside of the space.
            MissingKernel: something was never measured, and `missing` is `raise`.
        """

    def differentiable(self) -> DifferentiableCost:
        """The expected cost under independent choices.

        Raises:
            UsageError: there is none.
        """

    def require_target(self, target: str) -> None:
        """Refuse to speak for another target than its own.

        Raises:
            ConditionMismatch: `target` is another one, or its own is not known.
        """

    def save(self, folder: str | Path) -> None:
        """Write it into a folder that `predictors.load` reads."""


@dataclass(frozen=True)
class Learned:
    """The claims of a cost that was learned from architectures, not from kernels.

    Attributes:
        predictor: what it is called.
        unit: of its values.
        choices: options per gene.
        target: name of the target, or None if nobody said.
        space: spec of the space, or None if nobody said.
    """

    predictor: str
    unit: str
    choices: tuple[int, ...]
    target: str | None
    space: str | None

    @property
    def cost(self) -> str:
        """The cost that the unit is of.

        Raises:
            UsageError: of none.
        """
        if self.unit not in _COSTS:
            raise UsageError(
                f"a cost in {self.unit!r} is neither latency, energy nor memory",
                hint=f"Learn it from values in one of: {', '.join(_COSTS)}.",
            )
        return _COSTS[self.unit]


class LearnedFromArchitectures(ABC):
    """A cost with such claims, which it keeps to."""

    @property
    @abstractmethod
    def card(self) -> Learned:
        """What it says of itself."""

    def require_target(self, target: str) -> None:
        """Refuse to speak for another target than its own.

        Raises:
            ConditionMismatch: `target` is another one, or its own is not known.
        """
        own = self.card.target
        if target != own:
            speaks = "does not say of which target it speaks" if own is None else "speaks of another target"
            raise ConditionMismatch(
                f"this {self.card.predictor} {speaks}",
                expected={"target": own},
                got={"target": target},
                hint=f"Learn it from what was measured on {target}, and give target={target!r} with it.",
            )
