"""Variation of genomes: of categories, and of genes whose options are in an order."""

from __future__ import annotations

import numpy as np

from nas.arrays import Archs
from nas.operators.protocol import Problem


def uniform_crossover(
    mothers: Archs, fathers: Archs, rng: np.random.Generator, *, probability: float = 0.9, swap: float = 0.5
) -> Archs:
    """Children that take each gene from either parent, `(n, d)`.

    Source: Syswerda, "Uniform crossover in genetic algorithms", ICGA 1989.

    Args:
        mothers: `(n, d)`.
        fathers: `(n, d)`.
        rng: randomness.
        probability: that a pair is crossed at all; otherwise the child is its mother.
        swap: that a gene comes from the father.
    """
    crossed = rng.random(len(mothers)) < probability
    take = (rng.random(mothers.shape) < swap) & crossed[:, None]
    return np.asarray(np.where(take, fathers, mothers), dtype=np.int64)


def reset_mutation(archs: Archs, choices: tuple[int, ...], rng: np.random.Generator, *, rate: float) -> Archs:
    """Genes set to another option, each with probability `rate`; genes of one option stay, `(n, d)`.

    Source: Eiben & Smith, "Introduction to evolutionary computing", 2015, section 4.3.1 (random resetting).
    """
    options = np.array(choices, dtype=np.int64)
    hit = (rng.random(archs.shape) < rate) & (options > 1)
    shift = 1 + rng.integers(0, np.maximum(options - 1, 1), size=archs.shape)
    return np.where(hit, (archs + shift) % options, archs)


def two_point_crossover(mothers: Archs, fathers: Archs, rng: np.random.Generator, *, probability: float = 0.9) -> Archs:
    """Children that take one run of genes, between two cuts, from their fathers, `(n, d)`.

    Source: De Jong, "An analysis of the behavior of a class of genetic adaptive systems", 1975; as in NSGA-Net (Lu et
        al., GECCO 2019).
    """
    count, genes = mothers.shape
    cuts = np.sort(rng.integers(0, genes + 1, size=(count, 2)), axis=1)
    place = np.arange(genes)
    crossed = np.asarray(rng.random(count) < probability)
    take = (place >= cuts[:, :1]) & (place < cuts[:, 1:]) & crossed[:, None]
    return np.asarray(np.where(take, fathers, mothers), dtype=np.int64)


def simulated_binary_crossover(
    mothers: Archs,
    fathers: Archs,
    choices: tuple[int, ...],
    rng: np.random.Generator,
    *,
    probability: float = 0.9,
    eta: float = 15.0,
) -> Archs:
    """Children near either parent, gene by gene, rounded; for genes whose options are in an order, `(n, d)`.

    Each gene is crossed with probability 0.5; where it is not, the child has its mother's. The spread is cut off at the
    bounds, as in the reference implementation.

    Source: Deb & Agrawal, "Simulated binary crossover for continuous search space", Complex Systems 9(2), 1995.

    Args:
        mothers: `(n, d)`.
        fathers: `(n, d)`.
        choices: options per gene.
        rng: randomness.
        probability: that a pair is crossed at all.
        eta: the larger, the nearer to the parents.
    """
    top = np.array(choices, dtype=np.float64) - 1
    low, high = np.minimum(mothers, fathers).astype(np.float64), np.maximum(mothers, fathers).astype(np.float64)
    gap = np.maximum(high - low, 1e-12)
    draw = rng.random(mothers.shape)
    ends = []
    for room in (low, top - high):
        beta = 1.0 + 2.0 * room / gap
        alpha = 2.0 - beta ** -(eta + 1.0)
        inside = draw <= 1.0 / alpha
        with np.errstate(divide="ignore"):
            ends.append(
                np.where(inside, draw * alpha, 1.0 / np.maximum(2.0 - draw * alpha, 1e-300)) ** (1.0 / (eta + 1.0))
            )
    lower = 0.5 * (low + high - ends[0] * (high - low))
    upper = 0.5 * (low + high + ends[1] * (high - low))
    first = (rng.random(mothers.shape) < 0.5) == (mothers <= fathers)
    child = np.rint(np.clip(np.where(first, lower, upper), 0, top)).astype(np.int64)
    crossed = (rng.random(len(mothers)) < probability)[:, None] & (rng.random(mothers.shape) < 0.5)
    return np.where(crossed & (mothers != fathers), child, mothers)


def polynomial_mutation(
    archs: Archs, choices: tuple[int, ...], rng: np.random.Generator, *, rate: float, eta: float = 20.0
) -> Archs:
    """Genes moved to near options, each with probability `rate`; for genes whose options are in an order, `(n, d)`.

    A move is at least one option: rounded to the gene itself it would be none, and the rate would not be the rate.

    Source: Deb & Goyal, "A combined genetic adaptive search (GeneAS) for engineering design", Computer Science and
        Informatics 26(4), 1996.

    Args:
        archs: `(n, d)`.
        choices: options per gene; genes of one option stay.
        rng: randomness.
        rate: probability for each gene.
        eta: the larger, the nearer.
    """
    top = np.array(choices, dtype=np.int64) - 1
    span = np.maximum(top, 1).astype(np.float64)
    below, above = archs / span, (top - archs) / span
    draw = rng.random(archs.shape)
    power = 1.0 / (eta + 1.0)
    down = (2 * draw + (1 - 2 * draw) * (1 - below) ** (eta + 1.0)) ** power - 1.0
    up = 1.0 - (2 * (1 - draw) + 2 * (draw - 0.5) * (1 - above) ** (eta + 1.0)) ** power
    step = np.where(draw < 0.5, down, up) * span
    move = np.rint(step).astype(np.int64)
    least = np.where(draw < 0.5, -1, 1)
    least = np.where(archs + least < 0, 1, np.where(archs + least > top, -1, least))
    move = np.where(move == 0, least, move)
    hit = (rng.random(archs.shape) < rate) & (top > 0)
    return np.where(hit, np.clip(archs + move, 0, top), archs)


def children(
    mothers: Archs,
    fathers: Archs,
    problem: Problem,
    rng: np.random.Generator,
    *,
    crossover: float = 0.9,
    mutation: float,
    eta_crossover: float = 15.0,
    eta_mutation: float = 20.0,
) -> Archs:
    """Children by the operators that fit each gene, `(n, d)`.

    Categories cross uniformly and are reset; genes in an order (`Problem.ordered`) of more than two options cross by
    simulated binary crossover and move by polynomial mutation.

    Args:
        mothers: `(n, d)`.
        fathers: `(n, d)`.
        problem: says which genes are in an order.
        rng: randomness.
        crossover: probability that a pair is crossed.
        mutation: probability that a gene is changed.
        eta_crossover: of genes in an order.
        eta_mutation: of genes in an order.
    """
    choices = problem.choices
    found = uniform_crossover(mothers, fathers, rng, probability=crossover)
    found = reset_mutation(found, choices, rng, rate=mutation)
    if problem.ordered is None:
        return found
    graded = np.array(problem.ordered) & (np.array(choices) > 2)
    near = simulated_binary_crossover(mothers, fathers, choices, rng, probability=crossover, eta=eta_crossover)
    near = polynomial_mutation(near, choices, rng, rate=mutation, eta=eta_mutation)
    return np.where(graded, near, found)


def one_step(archs: Archs, problem: Problem, rng: np.random.Generator) -> Archs:
    """Genomes with exactly one gene changed, by the operator that fits it, `(n, d)`; without free genes as they are."""
    free = np.flatnonzero(np.array(problem.choices) > 1)
    if len(free) == 0:
        return archs
    changed = children(archs, archs, problem, rng, crossover=0.0, mutation=1.0)
    gene = free[rng.integers(0, len(free), size=len(archs))]
    return np.where(np.arange(archs.shape[1]) == gene[:, None], changed, archs)
