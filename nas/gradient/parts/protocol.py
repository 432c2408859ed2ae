"""What the parts of a differentiable search are: functions of logits, gates and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nas.arrays import Floats
from nas.gradient.protocol import Priced
from nas.spaces.protocol import Space

if TYPE_CHECKING:
    from torch import Tensor

    #: One `(options,)` for each gene.
    Rows = list[Tensor]
    #: Outputs of `(inputs, gates)`, such as a supernet's `forward_mixed`.
    Forward = Callable[[Tensor, Rows], Tensor]

#: A gate so small that what it weighs adds nothing to numbers of single precision; a supernet runs the option all the
#: same, so that its gate has a gradient.
FAINT = 1e-30


@dataclass(frozen=True)
class Sampler:
    """How logits become gates, one `(options,)` for each gene.

    Attributes:
        gates: of logits, temperature and torch's generator, which is all that it draws from; gradients reach logits.
        one_path: whether weights are trained on one network, that of the largest gates, and not on the mixture.
        scores: log-probabilities of independent options, up to a constant for each gene; the logits where not given.
            Expected costs and what is read off follow from them.
        regulariser: what of the logits alone is added to the loss, a scalar.
        credit: the loss of gates and logits with gradients of its own, where it cannot be differentiated by gates.
        settle: told the logits before a step, mends those after it.
    """

    gates: Callable[[Rows, float, Any], Rows]
    one_path: bool = False
    scores: Callable[[Rows], Rows] = list
    regulariser: Callable[[Rows], Tensor] | None = None
    credit: Callable[[Tensor, Rows, Rows], Tensor] | None = None
    settle: Callable[[Rows, Rows], None] | None = None


class MakeSampler(Protocol):
    """A module's `SAMPLER`."""

    def __call__(self) -> Sampler:
        """One for one run; it may remember what it drew."""


@dataclass(frozen=True)
class Reference:
    """What one cost is seen against, in its unit.

    Attributes:
        lowest: of a sample of the space.
        median: likewise.
        bound: its upper bound, or None.
    """

    lowest: float
    median: float
    bound: float | None = None


class Hardware(Protocol):
    """A module's `HARDWARE`: how expected costs enter the loss."""

    def __call__(
        self, costs: Sequence[Tensor], references: Sequence[Reference], weight: float
    ) -> tuple[Tensor | float, list[Tensor | float]]:
        """The loss is `factor * cross entropy + sum(terms)`.

        Args:
            costs: expected ones, scalar each.
            references: one for each.
            weight: of all together; 0 takes them out of the loss.

        Returns:
            The factor, and a term for each cost.
        """


@dataclass(frozen=True)
class Bounds:
    """What holds expected costs, scalar each, within their bounds.

    Attributes:
        terms: what each cost adds to the loss; None for one without a bound.
        settle: told the costs after a step.
        note: what to say of it in the end, for people; may be empty.
    """

    terms: Callable[[Sequence[Tensor]], list[Tensor | None]]
    settle: Callable[[Sequence[Tensor]], None] = lambda costs: None
    note: Callable[[], str] = lambda: ""


class MakeBounds(Protocol):
    """A module's `BOUNDS`."""

    def __call__(self, priced: Sequence[Priced]) -> Bounds:
        """Bounds of one run."""


@dataclass(frozen=True)
class Turn:
    """One step of the architecture.

    Attributes:
        logits: leaves whose `grad` is wanted.
        supernet: in training mode.
        weights: torch's SGD of its parameters.
        train_loss: of a training batch by gates of the logits; asked again it draws the same noise.
        valid_loss: of a validation batch, with costs, likewise. Both take what computes the outputs.
    """

    logits: Rows
    supernet: Any
    weights: Any
    train_loss: Callable[[Forward], Tensor]
    valid_loss: Callable[[Forward], Tensor]


class Step(Protocol):
    """A module's `STEP`: gives the logits of a turn their gradients."""

    def __call__(self, turn: Turn) -> Tensor:
        """The validation loss, a scalar; weights are left as they were, and the machine restores statistics."""


class Perturbation(Protocol):
    """A module's `PERTURBATION`: the gates that weights are trained under."""

    def __call__(self, gates: Rows, loss: Callable[[Rows], Tensor], radius: float, generator: Any) -> Rows:
        """Gates near the given ones.

        Args:
            gates: without gradients, `(options,)` each.
            loss: of the training batch under gates.
            radius: most that a gate is moved before each gene's gates are brought back to their sum.
            generator: torch's.
        """


@dataclass(frozen=True)
class Watch:
    """What a stop may look at, some twenty times in a run.

    Attributes:
        probabilities: of options, `(options,)` for each gene.
        logits: `(options,)` for each gene.
        valid_loss: of a validation batch under the mixture by probabilities of such logits, a scalar.
        alignment: cosine of the weights' gradients on a training and a validation batch.
    """

    probabilities: list[Floats]
    logits: Rows
    valid_loss: Callable[[Rows], Tensor]
    alignment: Callable[[], float]


@dataclass(frozen=True)
class Halt:
    """That a run ends.

    Attributes:
        reason: for people.
        back: looks before this one at which it was better; its result is of then.
    """

    reason: str
    back: int = 0


class MakeStop(Protocol):
    """A module's `STOP`."""

    def __call__(self, space: Space) -> Callable[[Watch], Halt | None]:
        """For one run.

        Raises:
            UsageError: it means nothing in this space.
        """
