"""What an evaluator is: it gives architectures a value of one objective, and says where the value comes from."""

from __future__ import annotations

import hashlib
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from device_profiles.errors import UsageError
from device_profiles.profile import Target
from nas.arrays import Archs, Flags
from nas.objectives import Objective, Values
from nas.spaces.protocol import Space
from nas.weights.data.protocol import Data
from nas.weights.images import Images
from profiler.store import Store


@dataclass(frozen=True)
class Context:
    """What evaluators of one search share.

    Attributes:
        space: of the search.
        folder: of the run; checkpoints go there.
        store: of the run; measurements go there.
        seed: of the search.
        data: name of the data, see `nas.weights.data`, or None.
        target: of the search, or None.
        settings: of evaluators, such as `epochs`.
        progress: told `(what, done, total)` during long work.
    """

    space: Space
    folder: Path
    store: Store
    seed: int = 0
    data: str | None = None
    target: Target | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    wait: bool = False


@dataclass(frozen=True)
class Traits:
    """How an evaluator wants to be asked; an evaluator states it as `traits`, or is one by one.

    Attributes:
        batched: values of many architectures take little longer than of one, so a batch is judged together; else each
            is judged, and kept, by itself.
        instant: values take no time, though strategies are not to know them beforehand.
        genomes_are_networks: each genome is an architecture of its own, also where networks are the same: so it is with
            the rows of a table.
    """

    batched: bool = False
    instant: bool = False
    genomes_are_networks: bool = False


def traits_of(evaluator: Evaluator) -> Traits:
    """What an evaluator states; without a statement, one by one, and instant if it is free."""
    found = getattr(evaluator, "traits", None)
    return found if isinstance(found, Traits) else Traits(instant=evaluator.free)


@dataclass(frozen=True)
class Budget:
    """How much one evaluation may take; what is None is not limited, and without any limit it is the evaluator's own.

    Values of one objective under different budgets are never compared in silence.

    Attributes:
        epochs: of a training, at least 1.
        seconds: above 0.
        replicates: at least 1.

    Raises:
        UsageError: a limit is out of its range.
    """

    epochs: int | None = None
    seconds: float | None = None
    replicates: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "replicates"):
            count = getattr(self, name)
            if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
                raise UsageError(f"{name} of a budget must be a whole number of at least 1, got {count!r}")
        time = self.seconds
        if time is not None and (
            not isinstance(time, (int, float)) or isinstance(time, bool) or not 0 < time < math.inf
        ):
            raise UsageError(f"seconds of a budget must be a number above 0, got {time!r}")

    @property
    def key(self) -> str:
        """Short text, such as `epochs=5`; "" for the evaluator's own full one."""
        given = {part.name: getattr(self, part.name) for part in fields(self)}
        return ",".join(f"{name}={value!r}" for name, value in given.items() if value is not None)

    @property
    def size(self) -> tuple[float, float, float]:
        """By which budgets are ordered: epochs, then seconds, then replicates; what is not limited is the largest."""
        first, second, third = (
            math.inf if limit is None else float(limit) for limit in (self.epochs, self.seconds, self.replicates)
        )
        return first, second, third

    @staticmethod
    def of(text: str) -> Budget:
        """Read `key`.

        Raises:
            UsageError: it is none.
        """
        names, limits = [part.name for part in fields(Budget)], dict[str, Any]()
        for part in text.split(",") if text else ():
            name, equals, value = part.partition("=")
            try:
                number: Any = int(value) if value.isascii() and value.isdigit() else float(value)
            except ValueError:
                number = None
            if not equals or number is None or name not in names or name in limits:
                raise UsageError(f"cannot read the budget {text!r}", hint="Write it like epochs=5,seconds=60.")
            limits[name] = number
        return Budget(**limits)


#: The evaluator's own: nothing is limited.
FULL = Budget()
Budgets = dict[str, Budget]
"""By the name of an objective; one that is not named has `FULL`."""


class Evaluator(Protocol):
    """Values of one objective.

    The same architecture always gets the same value within a run, in any order and any batch; so a resumed search
    replays exactly.
    """

    @property
    def objective(self) -> Objective:
        """Name, unit, direction, source."""

    @property
    def free(self) -> bool:
        """True if values cost nothing.

        Such an objective is `known` to strategies, and may be asked for a million rows.
        """

    @property
    def identity(self) -> str:
        """Digest of what the values come from: a run is not continued with another predictor or table; "" for none."""

    def evaluate(self, archs: Archs) -> Values:
        """Values of `(n, d)` architectures; NaN where one failed."""


class Budgeted(Evaluator, Protocol):
    """An evaluator that can be asked for less: `evaluate` (and `again`, if it has it) takes `budget`.

    Whoever has the argument is one. Without a budget, values are of its own full one. A limit that it cannot keep is a
    `UsageError`; the same architecture always gets the same value under the same budget.
    """

    def evaluate(self, archs: Archs, budget: Budget | None = None) -> Values:
        """Values of `(n, d)` architectures under a budget; None or `FULL` is all that it can."""


def takes_budget(evaluator: Evaluator) -> bool:
    """Whether it can be asked under a budget."""
    said = getattr(evaluator, "budgeted", None)  # of one that runs in another process
    if isinstance(said, bool):
        return said
    asked: list[Callable[..., Values]] = [evaluator.evaluate]
    if isinstance(evaluator, Repeatable):
        asked.append(evaluator.again)
    try:
        return all("budget" in inspect.signature(one).parameters for one in asked)
    except (TypeError, ValueError):  # of what is not written in Python
        return False


def within(judge: Callable[..., Values], budget: Budget | None) -> Callable[..., Values]:
    """`evaluate` or `again` of an evaluator under a budget; without one it is asked as ever."""
    return judge if budget is None or budget == FULL else partial(judge, budget=budget)


class Repeatable(ABC):
    """An evaluator whose values are noisy, and which can evaluate an architecture again.

    `evaluate` gives replicate 0. A class to inherit from, so that nothing is called by mistake.
    """

    objective: Objective

    @property
    def most(self) -> int | None:
        """How many replicates there are, that of `evaluate` among them; None for any number."""
        return None

    @abstractmethod
    def again(self, archs: Archs, replicate: int) -> Values:
        """Values of `(n, d)` architectures by an evaluation of its own, the same each time for the same number."""


class OwnsNetworks(ABC):
    """An evaluator whose architectures have trained weights, which can be exported.

    A class to inherit from, not a protocol to match: asking whether an object has these properties would train them.
    """

    @property
    @abstractmethod
    def examples(self) -> Any:
        """A few inputs `(n, ...)`, on which an export is checked."""

    @abstractmethod
    def network(self, arch: Archs) -> Any:
        """The network of one architecture `(d,)` with its weights, in eval mode."""

    @abstractmethod
    def tested(self, arch: Archs) -> dict[str, float]:
        """How good one architecture, `(d,)`, is on data that took no part in the search: `test_accuracy`, say."""

    def right(self, arch: Archs, *, test: bool = False) -> Flags | None:
        """Which examples one architecture, `(d,)`, gets right, `(n,)`; None where it is no count.

        Args:
            arch: genes.
            test: of those that took no part in the search, instead of those that judge.
        """
        return None


class OwnsWeights(OwnsNetworks):
    """One whose networks share the weights of a supernet, and are trained and judged on images, or on sequences."""

    @property
    @abstractmethod
    def images(self) -> Images | Data:
        """What they were trained and judged on."""

    @property
    @abstractmethod
    def supernet(self) -> Any:
        """The trained `nas.spaces.Supernet`; a gradient strategy starts from it."""

    def require_mixed(self) -> None:
        """Refuse a space whose networks the supernet cannot mix by gates, without training anything.

        Raises:
            UsageError: so it is.
        """

    def keep_end(self, search: int, run: int, archs: Archs, supernet: Any) -> None:
        """From now on judge canonical networks `(n, d)` by the weights that a run ended with; here they are let go of.

        Args:
            search: number of the search in its study.
            run: of the search.
            archs: what it found, none of which was judged before.
            supernet: with the weights.
        """

    def follow_ends(self) -> None:
        """From now on judge all other networks by the weights of the run whose finds are nearest, if there is one."""

    @property
    def examples(self) -> Any:
        """Inputs that judge, `(4, ...)`."""
        return self.images.valid.inputs[:4]


class EvaluatorKind(Protocol):
    """A module's `EVALUATOR`."""

    forms: str
    """The specs it takes, for messages: `latency:DIR`."""

    settings: tuple[str, ...]
    """Settings of the search that it reads, such as `train_steps`."""

    def claims(self, spec: str) -> bool:
        """Whether the spec is one of its own."""

    def default_name(self, spec: str) -> str:
        """Name of the objective where the user gives none."""

    def open(self, name: str, spec: str, context: Context) -> Evaluator:
        """Make the evaluator.

        Raises:
            HwnasError: the spec cannot be served: a file is missing or bad, data or a target was not given.
        """


def digest(path: Path) -> str:
    """16 hexadecimal digits of a file's content, or of all files of a folder."""
    found = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]
