"""Accuracy by shared weights: `accuracy`, on the images of the search."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.evaluators.protocol import Context, OwnsWeights
from nas.objectives import Objective, Values
from nas.weights import devices, images, supernets, trainers, training
from nas.weights.data.tasks import wilson
from nas.weights.images import Images
from nas.weights.training import TrainingPlan

#: Axes of a batch of images.
_IMAGES = 4


@dataclass(frozen=True)
class SharedAccuracy(OwnsWeights):
    """Validation accuracy of networks that inherit a supernet's weights; the supernet is trained at first need."""

    objective: Objective
    context: Context
    plan: TrainingPlan
    free: bool = False
    identity: str = ""
    known: dict[bytes, float] = field(default_factory=dict)

    @cached_property
    def images(self) -> Images:
        """The data."""
        limit = self.context.settings.get("images")
        return images.load(str(self.context.data), self.context.space.input_shape, seed=self.context.seed, limit=limit)

    @cached_property
    def supernet(self) -> Any:
        """The trained supernet."""
        checkpoint = self.context.folder / "supernet.safetensors"
        return training.train(
            self.context.space,
            self.images,
            self.plan,
            checkpoint=checkpoint,
            device_name=self.context.settings.get("device", "cpu"),
            progress=lambda done, total: self.context.progress("training shared weights", done, total),
        )

    def require_mixed(self) -> None:
        """Look at the space's blocks."""
        supernets.require_mixed(self.context.space)

    def network(self, arch: Archs) -> Any:
        """The network that is judged, with its weights, in eval mode, on the CPU."""
        return self._inherited(arch).cpu()

    def _inherited(self, arch: Archs) -> Any:
        """The same, where the shared weights are."""
        return training.inherit(self.supernet, arch, self.images, seed=self.context.seed)

    def evaluate(self, archs: Archs) -> Values:
        """Accuracies with Wilson's 90 % intervals for the validation images.

        A dead network guesses its largest class.
        """
        canonical = self.context.space.canonical(archs)
        valid = self.context.space.is_valid(canonical)
        found = []
        for arch, live in zip(canonical, valid, strict=True):
            key = arch.tobytes()
            if key not in self.known:
                chance = float(np.bincount(self.images.valid.labels.numpy()).max()) / len(self.images.valid)
                self.known[key] = training.accuracy(self._inherited(arch), self.images.valid) if live else chance
            found.append(self.known[key])
        share = np.array(found)
        low, high = wilson(share, len(self.images.valid))
        return Values(share, low, high)

    def test_accuracy(self, arch: Archs) -> float:
        """Accuracy on images that took no part in the search; for the report alone."""
        return training.accuracy(self._inherited(arch), self.images.test)


class SharedKind:
    """`accuracy`."""

    forms = "accuracy"
    settings = ("train_steps", "images", "trainer", "device")

    def claims(self, spec: str) -> bool:
        """The one word."""
        return spec == "accuracy"

    def default_name(self, spec: str) -> str:
        """The word itself."""
        return "accuracy"

    def open(self, name: str, spec: str, context: Context) -> SharedAccuracy:
        """Judge on the search's data.

        Raises:
            UsageError: the search has no data, networks do not read images, or a setting is not one.
            UnknownName: there is no such trainer or device.
        """
        if context.data is None:
            raise UsageError("the objective 'accuracy' needs images", hint="Give --data digits, or --data FOLDER.")
        if len(context.space.input_shape) != _IMAGES:
            raise UsageError(
                f"the objective 'accuracy' judges networks of images; those of {context.space.name!r} read "
                f"{context.space.input_shape}",
                hint="Use another space, or other objectives.",
            )
        for setting in ("train_steps", "images"):
            value = context.settings.get(setting)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageError(f"setting {setting} must be a whole number of at least 1, got {value!r}")
        devices.device(str(context.settings.get("device", "cpu")))
        trainer = str(context.settings.get("trainer", TrainingPlan.trainer))
        trainers.REGISTRY.get(trainer)
        steps = context.settings.get("train_steps", TrainingPlan.steps)
        plan = TrainingPlan(seed=context.seed, steps=steps, trainer=trainer)
        objective = Objective(name, "fraction", True, "shared", spec)
        return SharedAccuracy(objective, context, plan, identity=images.listing(context.data))


EVALUATOR = SharedKind()
