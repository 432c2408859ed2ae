"""Each architecture trained alone: `accuracy:trained` of images, `perplexity:trained` of text and of pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Flags
from nas.evaluators.protocol import FULL, Budget, Context, OwnsNetworks, Repeatable
from nas.objectives import Objective, Values
from nas.weights import alone, data, devices, training
from nas.weights.alone import Recipe, Score
from nas.weights.data import Data, Wanted
from nas.weights.data.augmentation import parse
from nas.weights.data.tasks import Classification

#: Of a run: where weights are.
FOLDER = "trained"


@dataclass(frozen=True)
class Trained(OwnsNetworks, Repeatable):
    """Scores on validation examples of networks that are trained from scratch, one after the other.

    Attributes:
        objective: the score of the data's task.
        context: of the search.
        data: to train and judge on.
        recipe: of a training without a budget.
        identity: fingerprint of the data.
        known: scores by architecture, replicate and epochs.
    """

    objective: Objective
    context: Context
    data: Data
    recipe: Recipe
    identity: str
    free: bool = False
    known: dict[tuple[bytes, int, int], Score] = field(default_factory=dict)

    @property
    def examples(self) -> Any:
        """Inputs that judge, `(4, ...)`."""
        return self.data.valid.inputs[:4]

    def evaluate(self, archs: Archs, budget: Budget | None = None) -> Values:
        """Scores of the best epoch, with 90 % intervals for the choice of validation examples.

        A dead network gets the score of one that guesses.

        Raises:
            TrainingDiverged: a network's training ended in no numbers.
        """
        return self.again(archs, 0, budget)

    def again(self, archs: Archs, replicate: int, budget: Budget | None = None) -> Values:
        """Scores of trainings with other weights, batches and augmentation."""
        recipe = self._recipe(replicate, budget)
        canonical = self.context.space.canonical(archs)
        valid = self.context.space.is_valid(canonical)
        found = [
            self._score(arch, recipe) if live else self._guess() for arch, live in zip(canonical, valid, strict=True)
        ]
        return Values(*np.array([(score.value, score.low, score.high) for score in found]).reshape(-1, 3).T.copy())

    def network(self, arch: Archs) -> Any:
        """The network of the longest training of an architecture and of its best replicate, on the CPU, in eval mode.

        It is trained (again) if no weights are left.
        """
        arch = self.context.space.canonical(np.asarray(arch)[None])[0]
        weights = alone.kept(self._folder, _stem(arch), self._about(arch))
        if weights is None:
            weights = self._train(arch, self._recipe(0, Budget.of(self.context.settings.get("budget", "")))).weights
        return alone.load(self.context.space.to_module(arch), weights)

    def tested(self, arch: Archs) -> dict[str, float]:
        """The score of one architecture, `(d,)`, on examples that took no part in the search."""
        score = alone.judge(self.network(arch), self.data.task, self.data.test)
        return {f"test_{self.data.task.score_name}": score.value}

    def right(self, arch: Archs, *, test: bool = False) -> Flags | None:
        """Which images `(d,)` genes' network classifies correctly, `(n,)`; None of text and of pairs."""
        if not isinstance(self.data.task, Classification):
            return None
        found: Flags = training.right(self.network(arch), self.data.test if test else self.data.valid)
        return found

    @property
    def _folder(self) -> Path:
        return self.context.folder / FOLDER

    def _recipe(self, replicate: int, budget: Budget | None) -> Recipe:
        wanted = budget or FULL
        if wanted.seconds is not None or wanted.replicates is not None:
            raise UsageError(
                f"{self.objective.spec} cannot keep the budget {wanted.key}: only epochs are limited",
                hint="Write --set budget=epochs=5; replicates are --set replicates=3.",
            )
        epochs = wanted.epochs or self.recipe.epochs
        if epochs > self.recipe.epochs:
            raise UsageError(
                f"the budget {wanted.key} is above the {self.recipe.epochs} epochs of a whole training",
                hint=f"--set train_epochs={epochs}",
            )
        return replace(self.recipe, epochs=epochs, replicate=replicate)

    def _score(self, arch: Archs, recipe: Recipe) -> Score:
        key = arch.tobytes(), recipe.replicate, recipe.epochs
        if key not in self.known:
            self.known[key] = self._train(arch, recipe).score
        return self.known[key]

    def _train(self, arch: Archs, recipe: Recipe) -> alone.Trained:
        return alone.train(
            lambda: self.context.space.to_module(arch),
            self.data,
            recipe,
            checkpoint=self._folder / f"{_stem(arch)}.r{recipe.replicate}e{recipe.epochs}.safetensors",
            about=self._about(arch),
            progress=lambda done, total: self.context.progress("training alone", done, total),
        )

    def _about(self, arch: Archs) -> str:
        facts = {"space": self.context.space.spec, "arch": arch.tolist(), "data": self.data.name}
        return json.dumps({**facts, "digest": self.identity, "limit": self.context.settings.get("images")})

    def _guess(self) -> Score:
        chance = self.data.task.chance(self.data.valid)
        return Score(chance, chance, chance)


class TrainedKind:
    """`accuracy:trained` and `perplexity:trained`."""

    forms = "accuracy:trained · perplexity:trained"
    settings = ("train_epochs", "train_batch", "train_rate", "train_smoothing", "augment", "device", "images")

    def claims(self, spec: str) -> bool:
        """The two specs."""
        return spec in ("accuracy:trained", "perplexity:trained")

    def default_name(self, spec: str) -> str:
        """The word before the colon."""
        return spec.partition(":")[0]

    def open(self, name: str, spec: str, context: Context) -> Trained:
        """Train on the search's data, which are read now.

        Raises:
            UsageError: there are none, they have another score, or a setting is out of its range.
            InvalidData: they hold what cannot be learned from.
            DeviceError: there is no such device.
        """
        wanted = self.default_name(spec)
        if context.data is None:
            hint = "--data digits, or a folder" if wanted == "accuracy" else "--data text for gpt, --data pairs for hat"
            raise UsageError(f"the objective {spec!r} needs data", hint=f"Give {hint}.")
        recipe = _recipe(context)
        fingerprint = data.fingerprint(context.data)
        shape = Wanted.of(context.space)
        found = data.load(context.data, shape, seed=context.seed, limit=_whole(context, "images", None))
        task = found.task
        if task.score_name != wanted:
            raise UsageError(
                f"{context.data} is judged by {task.score_name}, not by {wanted}",
                hint=f"Give --objective {task.score_name}:trained.",
            )
        if recipe.augment and not task.images:
            raise UsageError(f"{context.data} has no images to augment", hint="Leave --set augment out.")
        if shape.outputs not in (None, task.outputs):
            raise UsageError(
                f"networks of {context.space.spec} tell {shape.outputs} classes apart, "
                f"{context.data} has {task.outputs}",
                hint=f"Use the space option {task.option()}.",
            )
        alone.require_batch(found, recipe)
        objective = Objective(name, task.unit, task.maximise, "trained", spec)
        return Trained(objective, context, found, recipe, fingerprint)


EVALUATOR = TrainedKind()


def _stem(arch: Archs) -> str:
    return "-".join(map(str, arch.tolist()))


def _recipe(context: Context) -> Recipe:
    """How the settings of a search have networks trained.

    Raises:
        UsageError: one is out of its range.
        UnknownName: there is no such device.
        DeviceError: there is none here.
    """
    where = context.settings.get("device", "cpu")
    if not isinstance(where, str):
        raise UsageError(f"setting device must be text, got {where!r}")
    return Recipe(
        epochs=_whole(context, "train_epochs", Recipe.epochs) or 1,
        batch=_whole(context, "train_batch", Recipe.batch) or 1,
        rate=_number(context, "train_rate", None, "above 0 and at most 10", lambda value: 0 < value <= 10),
        smoothing=_number(context, "train_smoothing", 0.0, "in 0..1, below 1", lambda value: 0 <= value < 1) or 0.0,
        augment=parse(context.settings.get("augment", "")),
        device=devices.device(where).type,
        seed=context.seed,
    )


def _whole(context: Context, setting: str, usual: int | None) -> int | None:
    value = context.settings.get(setting, usual)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UsageError(f"setting {setting} must be a whole number of at least 1, got {value!r}")
    return value


def _number(
    context: Context, setting: str, usual: float | None, said: str, fits: Callable[[float], bool]
) -> float | None:
    value = context.settings.get(setting, usual)
    if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool) or not fits(value)):
        raise UsageError(f"setting {setting} must be a number {said}, got {value!r}")
    return value
