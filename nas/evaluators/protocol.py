"""What an evaluator is: it gives architectures a value of one objective, and says where the value comes from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from device_profiles.profile import Target
from nas.arrays import Archs
from nas.objectives import Objective, Values
from nas.spaces.protocol import Space
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
        data: `digits`, an image folder, or None.
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


class OwnsWeights(ABC):
    """An evaluator whose architectures have trained weights, which can be exported.

    A class to inherit from, not a protocol to match: asking whether an object has these properties would train them.
    """

    @property
    @abstractmethod
    def images(self) -> Images:
        """What they were trained and judged on."""

    @property
    @abstractmethod
    def supernet(self) -> Any:
        """The trained `nas.spaces.Supernet`; a gradient strategy starts from it."""

    @abstractmethod
    def network(self, arch: Archs) -> Any:
        """The network of one architecture `(d,)` with its weights, in eval mode."""

    @abstractmethod
    def test_accuracy(self, arch: Archs) -> float:
        """Accuracy of one architecture, `(d,)`, on images that took no part in the search."""


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
