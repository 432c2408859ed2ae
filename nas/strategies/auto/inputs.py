"""What the surrogate of `auto` sees of an architecture, and the covariances it may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.arrays import Archs, Floats
from nas.operators.protocol import Problem
from nas.surrogates.covariances import Kernel, Part

#: Random genomes that fix the columns' means and deviations.
_SAMPLE = 2_000
#: Genes of the same options are counted where there are at least so many of them, of at most so many options.
_GROUP, _OPTIONS = 3, 16
#: Priors of what is smooth in features: nearly lines, of larger amplitude than what is rough.
_SMOOTH_AMPLITUDE, _SMOOTH_WEIGHT = 3.0, 0.05


@dataclass(frozen=True)
class Inputs:
    """Columns for a surrogate: genes, counts of options, features.

    Attributes:
        problem: of the search.
        groups: genes of which options are counted together.
        mean: of the columns that are numbers of their own (counts, features), `(q,)`.
        deviation: of them, infinite where a column is constant.
        kernels: covariances to choose from by evidence.
        spread: columns by whose distance a design is spread.
    """

    problem: Problem
    groups: tuple[tuple[int, ...], ...]
    mean: Floats
    deviation: Floats
    kernels: tuple[Kernel, ...]
    spread: slice

    def __call__(self, archs: Archs) -> Floats:
        """Columns of architectures, `(n, p)`."""
        raw = _raw(self.problem, self.groups, archs)
        return np.concatenate([_genes(self.problem, archs), (raw - self.mean) / self.deviation], axis=1)


def inputs_of(problem: Problem) -> Inputs:
    """The columns and covariances that fit a problem."""
    choices = np.array(problem.choices)
    groups = tuple(
        tuple(int(gene) for gene in np.flatnonzero(choices == count))
        for count in np.unique(choices)
        if 2 <= count <= _OPTIONS and (choices == count).sum() >= _GROUP
    )
    sample = np.random.default_rng(0).integers(0, choices, size=(_SAMPLE, len(choices)))
    raw = _raw(problem, groups, sample)
    deviation = raw.std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, np.inf)
    genes, counted = len(choices), sum(problem.choices[group[0]] for group in groups)
    live = [gene for gene in range(genes) if choices[gene] > 1] or [0]
    ordered = problem.ordered or (False,) * genes
    product = Part("product", tuple(live), tuple(ordered[gene] for gene in live))
    additive = Part("additive", tuple(live), (False,) * len(live))
    pairs = Part("pairs", tuple(live), (False,) * len(live))
    counts = _numeric(genes, deviation[:counted])
    features = _numeric(genes + counted, deviation[counted:])
    basis = (product, *counts)
    kernels = [Kernel("genes", basis), Kernel("genes, main effects", (additive, *basis))]
    if len(live) > 2:
        kernels.append(Kernel("main effects and pairs", (additive, pairs)))
    if features:
        smooth = tuple(replace(part, amplitude=_SMOOTH_AMPLITUDE, weight=_SMOOTH_WEIGHT) for part in features)
        both = Kernel("features and genes", (*features, product))
        kernels = [Kernel("features", (*smooth, *features)), both, *kernels]
    start, stop = (genes + counted, None) if features else ((genes, genes + counted) if counts else (0, genes))
    return Inputs(problem, groups, raw.mean(axis=0), deviation, tuple(kernels), slice(start, stop))


def _numeric(start: int, deviation: Floats) -> tuple[Part, ...]:
    """A product over those columns from `start` that vary, if there are any."""
    columns = tuple(start + int(column) for column in np.flatnonzero(np.isfinite(deviation)))
    return (Part("product", columns, (True,) * len(columns)),) if columns else ()


def _genes(problem: Problem, archs: Archs) -> Floats:
    """Genes as numbers: categories as they are, places in an order in units of about their deviation."""
    top = np.maximum(np.array(problem.choices) - 1, 1)
    ordered = np.array(problem.ordered or (False,) * len(top))
    return np.where(ordered, 3.0 * archs / top, archs).astype(np.float64)


def _raw(problem: Problem, groups: Sequence[Sequence[int]], archs: Archs) -> Floats:
    """Counts of options in each group, then features, `(n, q)`."""
    columns = [
        (archs[:, group] == option).sum(axis=1) for group in groups for option in range(problem.choices[group[0]])
    ]
    found = [np.stack(columns, axis=1).astype(np.float64)] if columns else [np.empty((len(archs), 0))]
    if problem.features is not None:
        found.append(np.nan_to_num(np.asarray(problem.features(archs), dtype=np.float64)))
    return np.concatenate(found, axis=1)
