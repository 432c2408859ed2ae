"""Once-for-all's evolution: the lowest predicted loss within a constraint, which is kept by rejection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from device_profiles.errors import InfeasibleBudget
from nas.arrays import Archs, Flags, Floats
from nas.spaces.protocol import Space
from nas.weights import kin

#: Rounds of draws before a constraint counts as one that no network keeps.
ROUNDS = 100
#: Networks that are drawn in one.
_DRAWN = 1000
#: Probability that a resolution is drawn anew by a mutation.
_RESOLUTION = 0.5


@dataclass(frozen=True)
class Evolution:
    """Settings; the defaults are the paper's.

    Source: Cai et al., "Once-for-all: train one network and specialize it for efficient deployment", ICLR 2020, section
        3.4, and its published code (`EvolutionFinder`); after Real et al., "Regularized evolution for image classifier
        architecture search", AAAI 2019.

    Attributes:
        population: networks of a generation beside their parents, at least 2.
        generations: at most.
        parents: share of the population.
        mutated: share of the children that are mutants; the others are crossed.
        rate: probability that a mutation draws a gene anew, for all but resolutions.
        patience: generations without a better network, after which it ends; there, all generations are run.
    """

    population: int = 100
    generations: int = 500
    parents: float = 0.25
    mutated: float = 0.5
    rate: float = 0.1
    patience: int = 20


def drawn(space: Space, fits: Callable[[Archs], Flags], count: int, rng: np.random.Generator, *, said: str) -> Archs:
    """Random networks `(n, d)` that fit, at least one and at most `count`.

    Draws go on until there are `count`, but no longer than `ROUNDS` of 1,000.

    Args:
        space: of the networks.
        fits: whether networks `(n, d)` with a function are within the constraint, `(n,)`.
        count: wanted.
        rng: draws.
        said: the constraint, for people.

    Raises:
        InfeasibleBudget: none of all draws fits.
    """
    found = np.empty((0, len(space.choices)), dtype=np.int64)
    for _ in range(ROUNDS):
        rows = space.sample(min(_DRAWN, space.size), rng)
        found = np.concatenate([found, rows[fits(rows)]])
        if len(found) >= count or (len(found) and space.size <= _DRAWN):
            return found[:count]
    if not len(found):
        raise InfeasibleBudget(
            f"no network of {space.spec} met {said} in {ROUNDS * min(_DRAWN, space.size)} draws",
            hint="Loosen the bound, restrict genes of the space, or use --strategy big-nas, which climbs towards it.",
        )
    return found


def evolve(
    space: Space,
    loss: Callable[[Archs], Floats],
    fits: Callable[[Archs], Flags],
    start: Archs,
    rng: np.random.Generator,
    settings: Evolution,
) -> Archs:
    """The networks of the last generation and its parents, each once, the lowest loss first, `(k, d)`.

    The best quarter are parents, and stay. Half of the children are mutants of random parents, half are crossed from
    two, each gene from either. A child without a function or beyond the constraint is made again, at most `ROUNDS`
    times; then a parent stands for it.

    Args:
        space: of the networks.
        loss: predicted, of `(n, d)`, `(n,)`.
        fits: whether `(n, d)` with a function are within the constraint, `(n,)`.
        start: `(s, d)`, networks with a function within the constraint, at least one.
        rng: all randomness.
        settings: of the evolution.
    """
    rates = np.where(np.array(kin.kinds(space)) == "resolution", _RESOLUTION, settings.rate)
    parents = max(round(settings.parents * settings.population), 1)
    mutants = round(settings.mutated * settings.population)
    archs = np.asarray(start, dtype=np.int64)
    losses = np.asarray(loss(archs))
    best, since = np.inf, 0
    for _ in range(settings.generations):
        order = np.argsort(losses, kind="stable")[:parents]
        archs, losses = archs[order], losses[order]
        since = 0 if losses[0] < best else since + 1
        best = min(best, float(losses[0]))
        if since >= settings.patience:
            break

        def mutate(count: int, from_: Archs = archs) -> Archs:
            base = from_[rng.integers(len(from_), size=count)]
            return np.where(rng.random(base.shape) < rates, rng.integers(0, space.choices, size=base.shape), base)

        def cross(count: int, from_: Archs = archs) -> Archs:
            one, other = (from_[rng.integers(len(from_), size=count)] for _ in range(2))
            return np.where(rng.random(one.shape) < 0.5, one, other)

        made = [
            _until(make, count, space, fits, archs, rng)
            for make, count in ((mutate, mutants), (cross, settings.population - mutants))
        ]
        children = np.concatenate(made)
        archs, losses = np.concatenate([archs, children]), np.concatenate([losses, loss(children)])
    order = np.argsort(losses, kind="stable")
    rows = space.canonical(archs[order])
    _, first = np.unique(rows, axis=0, return_index=True)
    return np.asarray(rows[np.sort(first)], dtype=np.int64)


def _until(
    make: Callable[[int], Archs],
    count: int,
    space: Space,
    fits: Callable[[Archs], Flags],
    otherwise: Archs,
    rng: np.random.Generator,
) -> Archs:
    """`count` rows that have a function and fit: those that do not are made again."""
    found = np.empty((0, len(space.choices)), dtype=np.int64)
    for _ in range(ROUNDS):
        if len(found) >= count:
            break
        rows = make(count - len(found))
        rows = rows[space.is_valid(rows)]
        found = np.concatenate([found, rows[fits(rows)]]) if len(rows) else found
    missing = count - len(found)
    return np.concatenate([found, otherwise[rng.integers(len(otherwise), size=missing)]]) if missing else found
