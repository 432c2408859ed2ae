"""Variation of genomes whose genes are categories: nothing here assumes an order of the options."""

from __future__ import annotations

import numpy as np

from nas.strategies.protocol import Archs


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
    return np.where(take, fathers, mothers)


def reset_mutation(archs: Archs, choices: tuple[int, ...], rng: np.random.Generator, *, rate: float) -> Archs:
    """Genes set to another option, each with probability `rate`; genes of one option stay, `(n, d)`.

    Source: Eiben & Smith, "Introduction to evolutionary computing", 2015, section 4.3.1 (random resetting).
    """
    options = np.array(choices, dtype=np.int64)
    hit = (rng.random(archs.shape) < rate) & (options > 1)
    shift = 1 + rng.integers(0, np.maximum(options - 1, 1), size=archs.shape)
    return np.where(hit, (archs + shift) % options, archs)
