"""What a differentiable search can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from device_profiles.errors import UsageError
from device_profiles.registry import Registry
from nas.gradient import parts

#: Weights of the hardware costs against the cross entropy, from no regard to costs; denser where fronts bend.
DEFAULT_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)


@dataclass(frozen=True)
class Settings:
    """Numbers and parts of a search.

    Attributes:
        weights: of the hardware costs, each at least 0; one run for each, all from the same shared weights.
        steps: of each run; every step trains shared weights on one training batch, then the architecture on one
            validation batch.
        batch: inputs in one.
        rate: Adam's rate for logits.
        weight_rate: SGD's rate for shared weights, also of the step that `second` and `unrolled` look through.
        tau_first: temperature of the sampler at the start; it falls linearly.
        tau_last: and at the end.
        channels: share of the channels that pass through what is mixed; the others keep what was read.
        sampler: how logits become gates; this and the following are names, see `nas.gradient.parts`.
        step: how the architecture's gradient is taken.
        hardware: how expected costs enter the loss.
        bounds: what holds them within their bounds.
        perturbation: under which gates weights are trained.
        stop: when a run ends early.
    """

    weights: tuple[float, ...] = DEFAULT_WEIGHTS
    steps: int = 60
    batch: int = 64
    rate: float = 0.1
    weight_rate: float = 0.005
    tau_first: float = 1.0
    tau_last: float = 1.0
    channels: float = 1.0
    sampler: str = "softmax"
    step: str = "first"
    hardware: str = "weighted-sum"
    bounds: str = "penalty"
    perturbation: str = "none"
    stop: str = "never"


#: Settings that name a part, with where it is looked up.
PARTS: dict[str, Registry[Any]] = {
    "sampler": parts.SAMPLERS,
    "step": parts.STEPS,
    "hardware": parts.HARDWARE,
    "bounds": parts.BOUNDS,
    "perturbation": parts.PERTURBATIONS,
    "stop": parts.STOPS,
}


def check(settings: Settings, name: str) -> None:
    """Refuse settings that are out of range or name no part.

    Raises:
        UsageError: one is out of its range.
        UnknownName: no part has a name.
    """
    given = (settings.weights, settings.steps, settings.batch)
    weights_fit = bool(settings.weights) and all(0 <= weight < math.inf for weight in settings.weights)
    if not weights_fit or settings.steps < 1 or settings.batch < 1:
        raise UsageError(
            f"{name} needs finite weights of at least 0, and at least one step and one image, got "
            f"{', '.join(map(str, given))}"
        )
    positive = (settings.tau_first, settings.tau_last, settings.rate, settings.weight_rate)
    if not all(0 < value < math.inf for value in positive):
        raise UsageError(f"{name} needs finite temperatures and rates above 0, got {positive}")
    if not 0 < settings.channels <= 1:
        raise UsageError(f"{name} needs a share of channels above 0 and at most 1, got {settings.channels}")
    for part, registry in PARTS.items():
        registry.get(getattr(settings, part))
