"""Losses of networks under shared weights, and who is best by them and by predicted costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats
from nas.gradient.parts.costs import excess
from nas.gradient.protocol import Diverged, Found, GradientProblem
from nas.gradient.screening.drawing import Pool
from nas.operators import selection
from nas.streams import stream
from nas.weights.paths import Paths
from nas.weights.training import minibatch


@dataclass(frozen=True)
class Scored:
    """Networks with losses that are numbers.

    Attributes:
        archs: `(n, d)`.
        losses: `(n,)`, on validation examples, in the loss's unit.
        costs: `(n, m)`, predicted, each in its unit.
    """

    archs: Archs
    losses: Floats
    costs: Floats

    def rows(self, chosen: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]) -> Scored:
        """Some of them, `(k,)` indices, in this order."""
        at = np.asarray(chosen, dtype=np.int64)
        return Scored(self.archs[at], self.losses[at], self.costs[at])

    def best(self, problem: GradientProblem, count: int) -> Scored:
        """At most `count`, by non-dominated rank and crowding over loss and costs; those within the bounds first.

        Of one rank the lowest loss is first.

        Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEVC 6(2), 2002, III.
        """
        values = np.column_stack([self.losses, self.costs])
        kept = selection.survivors(values, excess(problem, self.costs), count)
        return self.rows(kept.rows[np.lexsort((self.losses[kept.rows], kept.ranks))])


def joined(parts: Sequence[Scored]) -> Scored:
    """All networks of several, each once: as it was scored first."""
    whole = Scored(
        np.concatenate([part.archs for part in parts]),
        np.concatenate([part.losses for part in parts]),
        np.concatenate([part.costs for part in parts]),
    )
    _, first = np.unique(whole.archs, axis=0, return_index=True)
    return whole.rows(np.sort(first))


@dataclass
class Judge:
    """Asks the shared weights.

    Attributes:
        problem: supernet, data and seed.
        name: of the strategy, for progress and messages.
        batch: validation examples in one.
        lost: losses so far that were no numbers.
        known: losses so far that were.
    """

    problem: GradientProblem
    name: str
    batch: int
    lost: int = 0
    known: int = 0
    paths: Paths = field(init=False)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"{self.name} needs at least one validation example, got batch={self.batch}")
        self.paths = Paths.of(self.problem.supernet(), self.problem.data())

    def quickly(self, pool: Pool, number: int = 0) -> Scored:
        """Losses on one validation batch, the same for all; another one for each number.

        Raises:
            Diverged: none is a number, and none was before.
        """
        rng = stream(self.problem.seed, "screening.batch", number)
        inputs, targets = minibatch(self.paths.data.valid, self.batch, rng)
        return self._scored(pool, [self.paths.loss(arch, inputs, targets) for arch in self._told(pool.archs)])

    def fully(self, pool: Pool) -> Scored:
        """Mean losses on all validation examples.

        Raises:
            Diverged: none is a number.
        """
        self.known = 0
        return self._scored(pool, [self.paths.valid_loss(arch, self.batch) for arch in self._told(pool.archs)])

    def found(self, archs: Archs, notes: Sequence[str]) -> Iterator[Found]:
        """Networks `(n, d)`, one a run, without runs that are skipped; with what is said of each."""
        lost = f"{self.lost} losses without a number left out" if self.lost else ""
        for number, (arch, note) in enumerate(zip(archs, notes, strict=True)):
            if number not in self.problem.skip:
                yield Found(number, arch[None, :], ", ".join(filter(None, (note, lost))))

    def _scored(self, pool: Pool, losses: list[float]) -> Scored:
        self.problem.progress(self.name, len(losses), len(losses))
        found = np.array(losses, dtype=np.float64)
        kept = np.flatnonzero(np.isfinite(found))
        self.lost += len(found) - len(kept)
        self.known += len(kept)
        if not self.known:
            raise Diverged(
                f"{self.name} has no scores: all losses, {self.lost} in all, were no numbers",
                hint="Train the shared weights otherwise: --set trainer=fair, or another train_steps.",
            )
        return Scored(pool.archs, found, pool.costs).rows(kept)

    def _told(self, archs: Archs) -> Iterator[Archs]:
        """The same, while progress is told."""
        for number, arch in enumerate(archs):
            self.problem.progress(self.name, number, len(archs))
            yield arch


def pool_of(scored: Scored) -> Pool:
    """The networks, to be scored again."""
    return Pool(scored.archs, scored.costs)
