"""The two crossovers of the crisscross optimiser, for categories and for genes whose options are in an order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs
from nas.operators.protocol import Problem


def horizontal(first: Archs, second: Archs, problem: Problem, rng: np.random.Generator, *, spill: float = 1.0) -> Archs:
    """Children between two parents with high density and just beyond either with a lower one, `(n, d)`.

    With `t = r + c`, `r` in 0..1 and `c` in -1..1, a gene in an order is `second + t (first - second)`, rounded and cut
    off at its ends. A category comes from either parent, and is reset to another option with probability `spill` times
    how far `t` lies beyond 0..1: one in six on average. As in the arithmetic form, genes in which the parents agree
    stay as they are.

    Source: Meng et al., "Crisscross optimization algorithm and its application", Knowledge-Based Systems 67, 2014
        (horizontal crossover); the form for categories is ours.

    Args:
        first: `(n, d)`, the nearer parent.
        second: `(n, d)`.
        problem: options of each gene, and which are in an order.
        rng: randomness.
        spill: how readily categories are reset, at least 0.
    """
    top = np.array(problem.choices, dtype=np.int64) - 1
    place = rng.random(first.shape) + rng.uniform(-1.0, 1.0, size=first.shape)
    beyond = np.maximum(np.maximum(place - 1.0, -place), 0.0)
    either = np.where(place > 0.5, first, second)
    shift = rng.integers(1, np.maximum(top, 1) + 1, size=first.shape)
    reset = (rng.random(first.shape) < spill * beyond) & (first != second)
    found = np.where(reset, (either + shift) % (top + 1), either)
    if problem.ordered is None:
        return found
    between = np.clip(np.rint(second + place * (first - second)), 0, top).astype(np.int64)
    return np.where(np.array(problem.ordered), between, found)


def vertical(archs: Archs, problem: Problem, rng: np.random.Generator, *, rate: float = 0.8) -> Archs:
    """Children in which genes learn from other genes of the same individual, `(n, d)`.

    Genes are paired at random within groups of one number of options and one kind; with probability `rate` the first of
    a pair changes: a category becomes that of its partner, a gene in an order moves some way towards its partner.
    Between genes of different numbers of options the step would mean nothing, and is not made; neither does it mean
    much where equal options of two genes have nothing in common.

    Source: Meng et al., Knowledge-Based Systems 67, 2014 (vertical crossover); groups and the form for
        categories are ours.

    Args:
        archs: `(n, d)`.
        problem: options of each gene, and which are in an order.
        rng: randomness.
        rate: probability that a pair is crossed.
    """
    found = archs.copy()
    rows = np.arange(len(archs))[:, None]
    for genes, ordered in _groups(problem):
        paired = rng.permuted(np.tile(genes, (len(archs), 1)), axis=1)
        pairs = len(genes) // 2
        to, source = paired[:, :pairs], paired[:, pairs : 2 * pairs]
        mine, others = archs[rows, to], archs[rows, source]
        share = rng.random(to.shape)
        new = np.rint(share * mine + (1.0 - share) * others).astype(np.int64) if ordered else others
        found[rows, to] = np.where(rng.random(to.shape) < rate, new, mine)
    return found


def crosses_vertically(problem: Problem) -> bool:
    """Whether any two genes are of one kind, so that vertical crossover can change something."""
    return bool(_groups(problem))


def _groups(problem: Problem) -> list[tuple[NDArray[np.int64], bool]]:
    """Genes of one number of options and one kind, where there are at least two, and whether they are in an order."""
    ordered = problem.ordered or (False,) * len(problem.choices)
    kinds: dict[tuple[int, bool], list[int]] = {}
    for gene, kind in enumerate(zip(problem.choices, ordered, strict=True)):
        kinds.setdefault(kind, []).append(gene)
    return [
        (np.array(genes, dtype=np.int64), graded)
        for (options, graded), genes in kinds.items()
        if options > 1 and len(genes) > 1
    ]
