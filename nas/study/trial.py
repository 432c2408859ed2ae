"""Architectures that a search asked for, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from nas.evaluators.protocol import FULL, Budget, Budgets

Result = dict[str, tuple[float, float | None, float | None]]
Replicates = dict[str, list[float]]
"""Values of an objective by replicate, NaN where one failed."""
Coverage = dict[str, float]
"""Share of a predicted value that stands on what was measured, in 0..1, by objective, where it is known."""


#: What a trial may be in.
STATES = ("asked", "judged", "failed")


@dataclass(frozen=True)
class Trial:
    """One architecture that was asked for.

    Attributes:
        id: in the order they were asked for.
        search: number of the search.
        strategy: its strategy.
        batch: of the search, from 0; those of one batch were asked for together.
        arch: genes.
        note: of the strategy, for people.
        result: for each objective value, low and high; NaN where it failed; None if it was not judged yet.
        coverage: of predicted values.
        completed: its place in the order in which trials of the study were judged, from 1; None if it was not.
        budgets: under which objectives were evaluated; those that are not named, under their evaluators' own full one.
    """

    id: int
    search: int
    strategy: str
    batch: int
    arch: tuple[int, ...]
    note: str
    result: Result | None
    coverage: Coverage = field(default_factory=dict)
    completed: int | None = None
    budgets: Budgets = field(default_factory=dict)

    @property
    def state(self) -> str:
        """`asked`, as long as it was not judged; then `judged`, or `failed` where an objective has no value."""
        if self.result is None:
            return "asked"
        return "judged" if all(isfinite(value) for value, *_ in self.result.values()) else "failed"

    def budget(self, name: str) -> Budget:
        """Under which an objective was evaluated."""
        return self.budgets.get(name, FULL)

    def value(self, name: str) -> float:
        """Value of an objective; NaN if there is none."""
        return self.result[name][0] if self.result is not None else float("nan")


@dataclass(frozen=True)
class Point:
    """One architecture of a front.

    Attributes:
        arch: genes.
        result: for each objective value, low and high; the mean of its replicates where there are several.
        found_by: strategies that asked for it, in the order they did.
        trial: the first that asked for it.
        replicates: single values of objectives that were evaluated more than once.
        coverage: of predicted values.
        budgets: under which objectives were evaluated, as of a trial.
    """

    arch: tuple[int, ...]
    result: Result
    found_by: tuple[str, ...]
    trial: int
    replicates: Replicates = field(default_factory=dict)
    coverage: Coverage = field(default_factory=dict)
    budgets: Budgets = field(default_factory=dict)
