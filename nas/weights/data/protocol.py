"""What data are: examples with what is wanted of them, in three parts that share none, and a task with a score."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from device_profiles.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

#: Share of what trains that is kept to judge architectures, and share of all that is kept for the report alone.
VALID_SHARE = 0.2
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Part:
    """Examples as torch tensors.

    Attributes:
        inputs: `(n, ...)`: images `(n, channels, height, width)`, normalised float32, or tokens, int64.
        targets: `(n,)` classes or `(n, length)` tokens, int64; a token below 0 is not scored.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    @property
    def digest(self) -> str:
        """SHA-256 of inputs and targets."""
        found = hashlib.sha256(self.inputs.numpy().tobytes())
        found.update(self.targets.numpy().tobytes())
        return found.hexdigest()


class Task(Protocol):
    """What is wanted of a network's outputs, and how good they are."""

    @property
    def score_name(self) -> str:
        """Of its objective: `accuracy`, `perplexity`."""

    @property
    def unit(self) -> str:
        """Of scores; "" for a plain number."""

    @property
    def maximise(self) -> bool:
        """Whether more is better."""

    @property
    def outputs(self) -> int:
        """Along the last axis of a network's outputs: classes or tokens."""

    @property
    def images(self) -> bool:
        """Whether inputs are images, which can be augmented."""

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean loss of a batch, a scalar.

        Args:
            outputs: logits `(n, ..., outputs)`.
            targets: as in `Part`.
            smoothing: share of each target that is spread over all outputs, in 0..1.
        """

    def score(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Of each example what is summed up, and over how many: `(n,)` and `(n,)`, float64."""

    def summary(self, sums: Tensor, counts: Tensor) -> tuple[float, float, float]:
        """Value and 90 % interval, for the choice of examples alone, from the scores `(n,)` and counts `(n,)`."""

    def chance(self, part: Part) -> float:
        """The value of a network whose output does not depend on its input."""

    def option(self) -> str:
        """The option of a space that says `outputs`, for messages: `classes=10`."""


@dataclass(frozen=True)
class Data:
    """A data set, in memory.

    Attributes:
        name: as the user calls it.
        task: what is wanted.
        train: for weights.
        valid: for judging architectures.
        test: for the report alone.
    """

    name: str
    task: Task
    train: Part
    valid: Part
    test: Part

    @property
    def digest(self) -> str:
        """SHA-256 of what trains: shared weights are taken from a checkpoint only of the same."""
        return self.train.digest

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar."""
        return self.task.loss(outputs, targets)


@dataclass(frozen=True)
class Wanted:
    """What a space's networks read.

    Attributes:
        input_shape: of one input with batch 1.
        outputs: classes or tokens that they tell apart, where the space says so.
    """

    input_shape: tuple[int, ...]
    outputs: int | None = None

    @staticmethod
    def of(space: Any) -> Wanted:
        """By those of a space; how many outputs they have, it says as an option, or the whole of a restricted one."""
        for one in (space, getattr(space, "inner", None)):
            for option in ("classes", "vocabulary"):
                count = getattr(one, option, None)
                if isinstance(count, int):
                    return Wanted(space.input_shape, count)
        return Wanted(space.input_shape)


class DataKind(Protocol):
    """A module's `DATA`."""

    forms: str
    """The names it takes, for messages: `text:FILE`."""

    def claims(self, name: str) -> bool:
        """Whether the name is one of its own."""

    def fingerprint(self, name: str) -> str:
        """16 hexadecimal digits of the content; "" for what cannot change.

        Raises:
            UsageError: there is nothing of that name.
        """

    def load(self, name: str, wanted: Wanted, *, seed: int, limit: int | None) -> Data:
        """Read, divide, and bring to the form that the networks read.

        Args:
            name: of the data.
            wanted: by the networks.
            seed: of the division.
            limit: examples of each part at most, or None.

        Raises:
            UsageError: there is nothing of that name, or the networks read something else.
            InvalidData: it holds what cannot be learned from.
        """


def require_shape(name: str, what: str, form: Sequence[str], wanted: Wanted) -> None:
    """Refuse networks that read inputs of another form.

    Args:
        name: of the data.
        what: the data are: `images`.
        form: names of the axes of an input.
        wanted: by the networks.

    Raises:
        UsageError: they do.
    """
    if len(wanted.input_shape) != len(form):
        raise UsageError(
            f"{name} has {what}, inputs ({', '.join(form)}); the networks read {wanted.input_shape}",
            hint="Images are for spaces such as nasbench201, text for gpt, pairs for hat.",
        )
