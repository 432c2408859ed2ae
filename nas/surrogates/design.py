"""What is evaluated before there is anything to learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs
from nas.operators.protocol import Problem
from nas.operators.seen import Seen

#: Random networks for each one of a design along known costs.
DRAWN = 20


def design(problem: Problem, count: int, rng: np.random.Generator) -> Archs:
    """First networks, at most `count` and all distinct, `(<=count, d)`: the ends first, then what is spread.

    Where costs are known, networks lie at even steps of their order among random ones, from the cheapest to the
    dearest. Else each gene has all its options about equally often, and, where genes are in an order, the smallest
    and the largest network come first.

    Source: McKay, Beckman & Conover, "A comparison of three methods for selecting values of input variables" (Latin
        hypercube sampling), Technometrics 21(2), 1979; the ends: NSGANetV2 (Lu et al., ECCV 2020, section 3.3).
    """
    found = _along(problem, count, rng) if problem.known else _latin(problem, count, rng)
    return Seen(problem).first(found, count, set())


def _along(problem: Problem, count: int, rng: np.random.Generator) -> Archs:
    """Even steps along each known cost in turn."""
    drawn = Seen(problem).unseen(DRAWN * count, rng, set(), strict=True)
    if len(drawn) == 0:
        return drawn
    steps = -(-count // len(problem.known))
    place = np.rint(np.linspace(0, len(drawn) - 1, steps)).astype(np.int64)
    rows = np.stack([np.argsort(problem.cost(column, drawn), kind="stable")[place] for column in problem.known], axis=1)
    rows = rows[_ends_first(len(rows), rng)].reshape(-1)
    return np.asarray(drawn[np.concatenate([rows, rng.permutation(len(drawn))])])


def _latin(problem: Problem, count: int, rng: np.random.Generator) -> Archs:
    """Columns of evenly many options in random order, several times over, after the ends of genes in an order."""
    parts: list[Archs] = []
    if problem.ordered is not None and any(problem.ordered):
        ends = rng.integers(0, np.array(problem.choices), size=(2, len(problem.choices)))
        top = np.array([np.zeros(len(problem.choices)), np.array(problem.choices) - 1], dtype=np.int64)
        parts.append(np.where(np.array(problem.ordered), top, ends))
    for _ in range(4):
        columns = [rng.permutation(np.arange(count) % options) for options in problem.choices]
        parts.append(np.stack(columns, axis=1).astype(np.int64))
    return np.concatenate(parts)


def _ends_first(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The first, the last, then the others in random order, `(count,)`."""
    if count <= 2:
        return np.arange(count)
    return np.concatenate([[0, count - 1], 1 + rng.permutation(count - 2)])
