"""Genomes as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.arrays import Archs, Floats
from nas.operators.protocol import Problem

#: Random genomes that fix the scale of the features.
SAMPLE = 256


@dataclass(frozen=True)
class Columns:
    """The problem's own features, if it has any, beside the genes.

    A category has a column for each option, divided by the root of 2, so that two options are 1 apart; a gene in an
    order has one column, its option over the last. Features are standardised over random genomes.

    Attributes:
        problem: says which genes are in an order, and gives features.
        center: `(k,)`, of the features.
        scale: `(k,)`, of the features.
    """

    problem: Problem
    center: Floats
    scale: Floats

    @staticmethod
    def of(problem: Problem) -> Columns:
        """Columns of a problem; always the same."""
        if problem.features is None:
            return Columns(problem, np.empty(0), np.empty(0))
        choices = np.array(problem.choices)
        archs = np.random.default_rng(0).integers(0, choices, size=(SAMPLE, len(choices)))
        valid = np.ones(SAMPLE, dtype=np.bool_) if problem.valid is None else problem.valid(archs)
        features = np.asarray(problem.features(archs[valid] if valid.any() else archs), dtype=np.float64)
        spread = features.std(axis=0)
        return Columns(problem, features.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def encode(self, archs: Archs) -> Floats:
        """`(n, d)` to `(n, f)`; genes of one option have no column."""
        problem = self.problem
        ordered = problem.ordered or (False,) * len(problem.choices)
        parts: list[Floats] = [np.empty((len(archs), 0))]
        for gene, (options, graded) in enumerate(zip(problem.choices, ordered, strict=True)):
            column = archs[:, gene : gene + 1]
            if options == 2 or (graded and options > 1):
                parts.append(column / (options - 1.0))
            elif options > 1:
                parts.append((column == np.arange(options)) / np.sqrt(2.0))
        if problem.features is not None:
            parts.append((np.asarray(problem.features(archs), dtype=np.float64) - self.center) / self.scale)
        return np.concatenate(parts, axis=1)
