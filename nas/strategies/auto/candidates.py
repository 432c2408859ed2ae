"""Where `auto` looks: all networks of a small space, children and neighbours of the best in a large one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import prod

import numpy as np

from nas.arrays import Archs, Floats
from nas.operators import variation
from nas.operators.protocol import Problem
from nas.operators.seen import Seen
from predictors import genes

#: Spaces up to this size are looked at as a whole.
ENUMERABLE = 32_000
#: Genomes drawn from a large space for the design.
DRAWN = 2_000
#: In a large space: children and random genomes for one ask, rounds of neighbours, how many have their neighbours
#: looked at, neighbours of one, and how many remain to choose from.
_CHILDREN, _RANDOM, _ROUNDS, _CLIMBERS, _NEAR, _KEPT = 1_200, 300, 2, 8, 200, 400


def is_small(problem: Problem) -> bool:
    """Whether a space is looked at as a whole."""
    return (prod(problem.choices) if problem.listed is None else len(problem.listed)) <= ENUMERABLE


def everything(problem: Problem) -> Archs:
    """All networks of a small space, each once, `(N, d)`."""
    if problem.listed is not None:
        rows = problem.listed.rows
    else:
        rows = genes.numbered(np.arange(prod(problem.choices)), problem.choices)
    return rows[Seen(problem).fresh(rows, set())]


def drawn(problem: Problem, rng: np.random.Generator) -> Archs:
    """Random networks of a large space, `(N, d)`, with those of the extreme known costs that steps of one gene find."""
    rows = Seen(problem).unseen(DRAWN, rng, set(), strict=True)
    ends = [
        _descend(problem, rows[int(np.argmin(sign * problem.cost(column, rows)))], column, sign)
        for column in problem.known
        for sign in (1.0, -1.0)
        if len(rows)
    ]
    return np.concatenate([rows, *(end[None] for end in ends)])


def promising(
    problem: Problem,
    seen: Seen,
    parents: Archs,
    value: Callable[[Archs], Floats],
    rng: np.random.Generator,
    others: Collection[bytes] = (),
) -> Archs:
    """New networks worth choosing from in a large space, `(N, d)`, the best first.

    Children of the parents by uniform crossover and mutation of one to three genes, and random ones; then, for some
    rounds, the neighbours of those of the largest value.

    Args:
        problem: of the search.
        seen: what must not come again.
        parents: `(k, d)`.
        value: of genomes `(n, d)`, `(n,)`, larger is better.
        rng: randomness.
        others: keys that must not come either.
    """
    genes = len(problem.choices)
    taken = set(others)
    pair = parents[rng.integers(0, len(parents), size=(2, _CHILDREN))]
    children = variation.uniform_crossover(pair[0], pair[1], rng, probability=0.5)
    rates = rng.integers(1, 4, size=_CHILDREN)[:, None] / genes
    mutated = variation.reset_mutation(children, problem.choices, rng, rate=1.0)
    children = np.where(rng.random(children.shape) < rates, mutated, children)
    pool = seen.first(np.concatenate([children, pair[0][: _CHILDREN // 4]]), _CHILDREN, taken)
    pool = np.concatenate([pool, seen.unseen(_RANDOM, rng, taken, strict=True)])
    if len(pool) == 0:
        return pool
    values = value(pool)
    for _ in range(_ROUNDS):
        best = pool[np.argsort(-values, kind="stable")[:_CLIMBERS]]
        near = np.concatenate([_neighbours(problem, row, rng) for row in best])
        near = seen.first(near, len(near), taken)
        if len(near) == 0:
            break
        pool, values = np.concatenate([pool, near]), np.concatenate([values, value(near)])
        order = np.argsort(-values, kind="stable")[:_KEPT]
        pool, values = pool[order], values[order]
    return pool


def _neighbours(problem: Problem, row: Archs, rng: np.random.Generator) -> Archs:
    """Genomes that differ in one gene; a random share where there are many."""
    steps = [(gene, option) for gene, count in enumerate(problem.choices) for option in range(count)]
    if len(steps) > _NEAR:
        steps = [steps[i] for i in rng.choice(len(steps), _NEAR, replace=False)]
    found = np.repeat(row[None], len(steps), axis=0)
    genes, options = np.array(steps).T
    found[np.arange(len(steps)), genes] = options
    return found


def _descend(problem: Problem, row: Archs, column: int, sign: float) -> Archs:
    """A genome of least (sign 1) or largest (-1) cost, within bounds, that three rounds of steps of one gene reach."""
    row = row.copy()
    for _ in range(3):
        before = row.copy()
        for gene, count in enumerate(problem.choices):
            options = np.repeat(row[None], count, axis=0)
            options[:, gene] = np.arange(count)
            values = np.where(problem.fits(options), sign * problem.cost(column, options), np.inf)
            row[gene] = int(np.argmin(values))
        if (row == before).all():
            break
    return row
