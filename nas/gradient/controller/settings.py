"""What a search by a controller can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from device_profiles.errors import UsageError
from nas.gradient.controller.reward import SHAPES

#: Exponents of costs, from no regard to them; 0.07 is MnasNet's, by which half of the cost is worth 5 % of accuracy.
DEFAULT_WEIGHTS = (0.0, 0.035, 0.07, 0.14, 0.28, 0.56)


@dataclass(frozen=True)
class Settings:
    """Numbers of a search; see `nas.gradient.enas`, which has them as arguments."""

    weights: tuple[float, ...] = DEFAULT_WEIGHTS
    targets: tuple[float, ...] = (1.0,)
    reward: str = "soft"
    steps: int = 60
    phase: int = 20
    controller_steps: int = 40
    samples: int = 4
    draws: int = 100
    batch: int = 64
    rate: float = 0.0035
    weight_rate: float = 0.005
    hidden: int = 100
    temperature: float = 5.0
    squash: float = 2.5
    entropy: float = 1e-4
    baseline: float = 0.95

    @property
    def runs(self) -> tuple[tuple[float, float], ...]:
        """Weight and target of each run."""
        return tuple((weight, target) for target in self.targets for weight in self.weights)


def check(settings: Settings) -> None:
    """Refuse settings that are out of range.

    Raises:
        UsageError: one is.
    """
    counts = ("steps", "phase", "controller_steps", "samples", "draws", "batch", "hidden")
    if low := [name for name in counts if getattr(settings, name) < 1]:
        raise UsageError(f"enas.{low[0]} must be at least 1, got {getattr(settings, low[0])}")
    positive = ("rate", "weight_rate", "temperature", "squash")
    if wrong := [name for name in positive if not 0 < getattr(settings, name) < math.inf]:
        raise UsageError(f"enas.{wrong[0]} must be finite and above 0, got {getattr(settings, wrong[0])}")
    if not 0 <= settings.entropy < math.inf or not 0 <= settings.baseline < 1:
        raise UsageError(
            f"enas needs a finite entropy weight of at least 0, and a baseline's share of the past of at least 0 and "
            f"below 1, got {settings.entropy}, {settings.baseline}"
        )
    if not settings.weights or not all(0 <= weight < math.inf for weight in settings.weights):
        raise UsageError(f"enas needs finite weights of at least 0, got {settings.weights}")
    if not settings.targets or not all(0 < target < math.inf for target in settings.targets):
        raise UsageError(f"enas needs finite targets above 0, got {settings.targets}")
    if settings.reward not in SHAPES:
        raise UsageError(f"enas.reward must be {' or '.join(SHAPES)}, got {settings.reward!r}")
    if settings.reward == "soft" and len(settings.targets) > 1:
        raise UsageError(
            f"with enas.reward=soft a target only scales rewards, got {len(settings.targets)} of them",
            hint="Use enas.reward=hard, or one target and several weights.",
        )
