"""Judged by shared weights, on the data of the search: `accuracy` of images, `perplexity` of text and of pairs."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Flags
from nas.evaluators.protocol import Context, OwnsWeights
from nas.objectives import Objective, Values
from nas.spaces.protocol import Space
from nas.weights import alone, data, devices, images, kinds, precision, supernets, trainers, training
from nas.weights.alone import Score
from nas.weights.data import Data, Wanted, augmentation
from nas.weights.data.tasks import wilson
from nas.weights.ends import Ends
from nas.weights.images import Images
from nas.weights.trainers.protocol import needs_mixed
from nas.weights.training import TrainingPlan

#: Axes of a batch of images.
_IMAGES = 4
#: What an objective is judged on, and how to give it.
_DATA = {
    "accuracy": ("images", "--data digits, or --data FOLDER"),
    "perplexity": ("text or pairs", "--data text for gpt, --data pairs for hat"),
}
#: Rate of AdamW at the start, as where networks of tokens are trained alone.
_TOKENS_RATE = 0.001


@dataclass(frozen=True)
class Shared(OwnsWeights):
    """Scores on validation examples of networks that inherit a supernet's weights.

    The supernet is trained at first need.
    """

    objective: Objective
    context: Context
    plan: TrainingPlan
    free: bool = False
    identity: str = ""
    known: dict[bytes, Score] = field(default_factory=dict)
    _last: dict[bytes, Any] = field(default_factory=dict)

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
        supernets.require_mixed(self.context.space, self.plan.weights)

    def network(self, arch: Archs) -> Any:
        """The network of `(d,)` genes that is judged, with its weights, in eval mode, on the CPU."""
        return copy.deepcopy(self.inherited(arch)).cpu()

    @cached_property
    def ends(self) -> Ends:
        """Weights that searches by gradients ended with."""
        place = devices.device(self.context.settings.get("device", "cpu"))
        return Ends(
            self.context.folder,
            lambda: supernets.of(self.context.space, seed=self.plan.seed, kind=self.plan.weights).to(place),
        )

    def keep_end(self, search: int, run: int, archs: Archs, supernet: Any) -> None:
        """Write them into the run's folder, for `(n, d)` networks."""
        self.ends.add(search, run, archs, supernet)
        self._last.clear()

    def follow_ends(self) -> None:
        """Do so."""
        self.ends.near = True
        self._last.clear()

    def inherited(self, arch: Archs) -> Any:
        """The same, `(d,)`, where the shared weights are; that of the last is kept: finalists ask thrice."""
        canonical = self.context.space.canonical(np.asarray(arch)[None])[0]
        key = canonical.tobytes()
        if key not in self._last:
            supernet = self.ends.of(canonical)
            supernet = self.supernet if supernet is None else supernet
            self._last.clear()
            self._last[key] = training.inherit(supernet, arch, self.images, seed=self.context.seed)
        return self._last[key]

    def evaluate(self, archs: Archs) -> Values:
        """Scores of `(n, d)` genes, with 90 % intervals for the choice of examples; a dead network guesses."""
        canonical = self.context.space.canonical(archs)
        valid = self.context.space.is_valid(canonical)
        for arch, live in zip(canonical, valid, strict=True):
            if arch.tobytes() not in self.known:
                self.known[arch.tobytes()] = self.score(arch) if live else self.guess()
        found = [self.known[arch.tobytes()] for arch in canonical]
        return Values(*np.array([(score.value, score.low, score.high) for score in found]).reshape(-1, 3).T.copy())

    @abstractmethod
    def score(self, arch: Archs) -> Score:
        """Of one live architecture, `(d,)`."""

    @abstractmethod
    def guess(self) -> Score:
        """Of a network whose output does not depend on its input."""


class SharedAccuracy(Shared):
    """Accuracy, with Wilson's interval."""

    @cached_property
    def images(self) -> Images:
        """The data."""
        limit = self.context.settings.get("images")
        return images.load(str(self.context.data), self.context.space.input_shape, seed=self.context.seed, limit=limit)

    def score(self, arch: Archs) -> Score:
        """Share of images that `(d,)` genes' network classifies correctly."""
        return self._share(training.accuracy(self.inherited(arch), self.images.valid))

    def guess(self) -> Score:
        """Its largest class."""
        return self._share(float(np.bincount(self.images.valid.labels.numpy()).max()) / len(self.images.valid))

    def tested(self, arch: Archs) -> dict[str, float]:
        """`test_accuracy` of `(d,)` genes on images that took no part in the search; for the report alone."""
        return {"test_accuracy": float(self.right(arch, test=True).mean())}

    def right(self, arch: Archs, *, test: bool = False) -> Flags:
        """Which images `(d,)` genes' network tells correctly, `(n,)`, of those that judge or those for the report."""
        found: Flags = training.right(self.inherited(arch), self.images.test if test else self.images.valid)
        return found

    def _share(self, share: float) -> Score:
        low, high = wilson(share, len(self.images.valid))
        return Score(share, float(low), float(high))


class SharedPerplexity(Shared):
    """Perplexity; the exponential of the mean loss of a token."""

    @cached_property
    def images(self) -> Data:
        """The data."""
        wanted, limit = Wanted.of(self.context.space), self.context.settings.get("images")
        return data.load(str(self.context.data), wanted, seed=self.context.seed, limit=limit)

    def score(self, arch: Archs) -> Score:
        """Of `(d,)` genes on the validation sequences."""
        return self._judged(arch, self.images.valid)

    def guess(self) -> Score:
        """That of knowing how frequent each token is, and nothing else."""
        chance = self.images.task.chance(self.images.valid)
        return Score(chance, chance, chance)

    def tested(self, arch: Archs) -> dict[str, float]:
        """`test_perplexity` of `(d,)` genes on sequences that took no part in the search; for the report alone."""
        return {"test_perplexity": self._judged(arch, self.images.test).value}

    def _judged(self, arch: Archs, part: Any) -> Score:
        where = self.context.settings.get("device", "cpu")
        return alone.judge(self.inherited(arch), self.images.task, part, where=devices.device(where).type)


class SharedKind:
    """`accuracy` and `perplexity`."""

    forms = "accuracy · perplexity"
    settings = ("train_steps", "images", "trainer", "weights", "precision", "augment", "device")

    def claims(self, spec: str) -> bool:
        """The two words."""
        return spec in ("accuracy", "perplexity")

    def default_name(self, spec: str) -> str:
        """The word itself."""
        return spec

    def open(self, name: str, spec: str, context: Context) -> Shared:
        """Judge on the search's data.

        Raises:
            UsageError: the search has no data, networks do not read such or cannot be trained so, or a setting is not
                one.
            UnknownName: there is no such trainer, kind of weights, precision, augmentation or device.
        """
        read_images = len(context.space.input_shape) == _IMAGES
        if context.data is None:
            what, hint = _DATA[spec]
            raise UsageError(f"the objective {spec!r} needs {what}", hint=f"Give {hint}.")
        if read_images != (spec == "accuracy"):
            judged = "images" if spec == "accuracy" else "tokens"
            other = "perplexity" if spec == "accuracy" else "accuracy"
            raise UsageError(
                f"the objective {spec!r} judges networks of {judged}; those of {context.space.name!r} read "
                f"{context.space.input_shape}",
                hint=f"Use another space, or --objective {other}.",
            )
        for setting in ("train_steps", "images"):
            value = context.settings.get(setting)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageError(f"setting {setting} must be a whole number of at least 1, got {value!r}")
        place = devices.device(str(context.settings.get("device", "cpu")))
        bits = str(context.settings.get("precision", TrainingPlan.precision))
        precision.require(bits, place)
        trainer = str(context.settings.get("trainer", TrainingPlan.trainer))
        kind = str(context.settings.get("weights", TrainingPlan.weights))
        learned = kinds.plan_of(kinds.REGISTRY.get(kind))
        _require_trainer(trainer, context.space, kind)
        steps = context.settings.get("train_steps", TrainingPlan.steps)
        plan = TrainingPlan(
            seed=context.seed, steps=steps, trainer=trainer, weights=kind, precision=bits, augment=_changed(context),
            **learned,
        )  # fmt: skip
        identity = " ".join(filter(None, (images.listing(context.data), supernets.form(context.space, kind))))
        if spec == "accuracy":
            return SharedAccuracy(Objective(name, "fraction", True, "shared", spec), context, plan, identity=identity)
        plan = replace(plan, optimiser="adamw", rate=_TOKENS_RATE)
        made = SharedPerplexity(Objective(name, "", False, "shared", spec), context, plan, identity=identity)
        _require_tokens(made)
        return made


EVALUATOR = SharedKind()


def _require_tokens(made: SharedPerplexity) -> None:
    """Refuse data of another score, or of another number of tokens than the networks tell apart; they are read now.

    Raises:
        UsageError: so they are.
    """
    task, wanted = made.images.task, Wanted.of(made.context.space).outputs
    if task.score_name != "perplexity":
        raise UsageError(
            f"{made.context.data} is judged by {task.score_name}, not by perplexity",
            hint=f"Give {_DATA['perplexity'][1]}.",
        )
    if wanted not in (None, task.outputs):
        raise UsageError(
            f"networks of {made.context.space.spec} tell {wanted} tokens apart, {made.context.data} has {task.outputs}",
            hint=f"Use the space option {task.option()}.",
        )


def _changed(context: Context) -> tuple[str, ...]:
    """What is done to images while they train.

    Raises:
        UsageError: the setting is no text, or networks read no images.
        UnknownName: a word is none.
    """
    found = augmentation.parse(context.settings.get("augment", ""))
    if found and len(context.space.input_shape) != _IMAGES:
        raise UsageError(
            f"networks of {context.space.name!r} read no images to augment", hint="Leave --set augment out."
        )
    return found


def _require_trainer(name: str, space: Space, kind: str) -> None:
    """Refuse a trainer that runs options of a gene together where networks cannot be mixed.

    Raises:
        UsageError: so it is.
        UnknownName: there is no such trainer.
    """
    if not needs_mixed(trainers.REGISTRY.get(name)):
        return
    try:
        supernets.require_mixed(space, kind)
    except UsageError as error:
        raise UsageError(
            f"trainer {name} runs options of a gene together: {error}", hint="Use --set trainer=uniform."
        ) from error
