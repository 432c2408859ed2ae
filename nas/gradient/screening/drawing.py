"""Networks within the bounds of a search, by their predicted costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.arrays import Archs, Flags, Floats
from nas.gradient.parts.costs import costs_of, excess
from nas.gradient.protocol import GradientProblem
from nas.operators.variation import reset_mutation

#: Rounds of draws, until there are enough networks within the bounds.
_ROUNDS = 20
#: Networks that climb towards bounds that no draw met, and the rate at which those within are mutated to more.
_CLIMBERS, _RATE = 8, 0.1


@dataclass(frozen=True)
class Pool:
    """Distinct networks with a function.

    Attributes:
        archs: `(n, d)`.
        costs: `(n, m)`, of each predicted objective, in its unit.
        within: whether all are within the bounds; else it is the closest one that was found.
    """

    archs: Archs
    costs: Floats
    within: bool = True

    @property
    def note(self) -> str:
        """For people; empty where nothing is to be said."""
        return "" if self.within else "beyond the bounds"


def distinct(problem: GradientProblem, archs: Archs) -> Archs:
    """Canonical genomes of the networks with a function among `(n, d)`, each once, in their order."""
    rows = problem.space.canonical(archs[problem.space.is_valid(archs)])
    _, first = np.unique(rows, axis=0, return_index=True)
    return np.asarray(rows[np.sort(first)], dtype=np.int64)


def drawn(problem: GradientProblem, count: int, rng: np.random.Generator) -> Pool:
    """At most `count` random networks within the bounds.

    They are uniform draws of which those beyond are left out. Where bounds are so tight that these are too few, those
    found are mutated to more. Where none was found, the closest climb towards the bounds by one gene at a time.
    """
    found = np.empty((0, len(problem.space.choices)), dtype=np.int64)
    seen = found
    for _ in range(_ROUNDS):
        rows = distinct(problem, problem.space.sample(min(count, problem.space.size), rng))
        before = len(seen)
        seen = distinct(problem, np.concatenate([seen, rows]))
        found = seen[_inside(problem, seen)]
        if len(found) >= count or len(rows) < count or len(seen) == before:  # enough, or all that there are
            break
    if not len(found):
        found = _climbed(problem, seen)
        if not _inside(problem, found).any():
            return Pool(found[:1], costs_of(problem, found[:1]), within=False)
        found = found[_inside(problem, found)]
    for _ in range(_ROUNDS):
        if len(found) >= count or len(found) >= problem.space.size:
            break
        parents = found[rng.integers(len(found), size=count)]
        children = distinct(problem, reset_mutation(parents, problem.space.choices, rng, rate=_RATE))
        found = distinct(problem, np.concatenate([found, children[_inside(problem, children)]]))
    found = found[:count]
    return Pool(found, costs_of(problem, found))


def _inside(problem: GradientProblem, archs: Archs) -> Flags:
    return np.asarray(excess(problem, costs_of(problem, archs)) <= 0)


def _climbed(problem: GradientProblem, archs: Archs) -> Archs:
    """From the closest of `(n, d)` steps of one gene to what is closest to the bounds; closest first."""
    order = np.argsort(excess(problem, costs_of(problem, archs)), kind="stable")
    ends = []
    for start in archs[order[:_CLIMBERS]]:
        here, value = start, float(excess(problem, costs_of(problem, start[None]))[0])
        while value > 0:
            near = distinct(problem, problem.space.neighbours(here))
            values = excess(problem, costs_of(problem, near)) if len(near) else np.array([np.inf])
            best = int(values.argmin())
            if values[best] >= value:
                break
            here, value = near[best], float(values[best])
        ends.append((value, here))
    ends.sort(key=lambda end: end[0])
    return distinct(problem, np.array([here for _, here in ends]))
