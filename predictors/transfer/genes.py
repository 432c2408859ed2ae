"""Architectures as numbers: contrasts of the genes, and what a space says of its structure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData, UsageError
from predictors.genes import numbered

Archs = NDArray[np.int64]
Floats = NDArray[np.float64]
Features = Callable[[Archs], Any]

#: Genomes that the mean and the spread of structural features are taken over.
REFERENCE = 1024
#: Largest space whose features are remembered, in genomes.
REMEMBERED = 100_000


@dataclass(frozen=True)
class Genes:
    """A product of categorical choices.

    Attributes:
        choices: options per gene, `(d,)`, each at least 1.
    """

    choices: tuple[int, ...]

    @staticmethod
    def of(choices: Sequence[int]) -> Genes:
        """Check and keep the number of options of each gene.

        Raises:
            UsageError: there are no genes, or a number of options is not an integer of at least 1.
        """
        values = list(np.asarray(choices).reshape(-1).tolist())
        if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
            raise UsageError(
                f"choices must be integers of at least 1, one for each gene, got {values!r}",
                hint="Give the number of options of each gene, such as [5] * 6, or space.choices.",
            )
        return Genes(tuple(values))

    @property
    def size(self) -> int:
        """Number of genomes."""
        return math.prod(self.choices)

    @cached_property
    def free(self) -> int:
        """Number of genes with more than one option."""
        return sum(c > 1 for c in self.choices)

    @cached_property
    def width(self) -> int:
        """Number of contrasts."""
        return sum(c - 1 for c in self.choices)

    def checked(self, archs: Any, what: str = "architectures") -> Archs:
        """Architectures as `(n, d)` integers.

        Raises:
            UsageError: another shape, other than integers, or a gene outside of the space.
        """
        found = np.asarray(archs)
        if found.ndim != 2 or found.shape[1] != len(self.choices):
            raise UsageError(
                f"{what} must be a matrix (n, {len(self.choices)}), got shape {found.shape}",
                hint="Give one row of integers for each architecture.",
            )
        if found.dtype.kind not in "iu":
            raise UsageError(
                f"{what} must be integers, got {found.dtype}", hint="Give the number of the option of each gene."
            )
        outside = (found < 0) | (found >= np.array(self.choices))
        if outside.any():
            row, gene = np.argwhere(outside)[0]
            raise UsageError(
                f"{what}: row {row} has {found[row, gene]} in gene {gene}; allowed is 0..{self.choices[gene] - 1}",
                hint="Check that the architectures belong to this space.",
            )
        return np.asarray(found, dtype=np.int64)

    def contrasts(self, archs: Archs) -> Floats:
        """Orthonormal contrasts of the genes' options, `(n, width)`: mean 0 and variance 1 over the whole space."""
        columns = [table[archs[:, gene]] for gene, table in enumerate(self.tables) if table.shape[1]]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(archs), 0))

    @cached_property
    def shared(self) -> Floats:
        """`(width, q)`: sums over genes of equally many options, each option standing for one thing in all of them."""
        groups = sorted({c for c in self.choices if c > 1 and self.choices.count(c) > 1})
        if not groups:
            return np.zeros((self.width, 0))
        blocks = [
            np.concatenate([np.eye(c - 1) * (c == group) if c == group else np.zeros((c - 1, group - 1))
                            for c in self.choices])
            / math.sqrt(self.choices.count(group))
            for group in groups
        ]  # fmt: skip
        joined = np.concatenate(blocks, axis=1)
        return np.asarray(joined / math.sqrt(joined.shape[1]))

    def matches(self, one: Floats, other: Floats) -> tuple[Floats, Floats]:
        """Kernels of main effects and of pairs, `(n, m)` each, from contrasts `(n, width)` and `(m, width)`.

        With `m_g` 1 where two architectures share the option of gene `g` and `-1 / (c - 1)` where they do not, the
        first is the mean of `m_g`, the second the mean of `m_g * m_h` over pairs of genes: `(s1^2 - s2) / 2` in sums.
        Both are 1 of an architecture with itself.
        """
        if not self.free:
            return np.zeros((len(one), len(other))), np.zeros((len(one), len(other)))
        sums = (one * self._per_gene) @ other.T
        if self.free == 1:
            return sums, np.zeros_like(sums)
        squares = (one * (self._per_gene * self._slopes)) @ other.T + self._constant
        return sums / self.free, (sums * sums - squares) / (self.free * (self.free - 1))

    @cached_property
    def tables(self) -> tuple[Floats, ...]:
        """Contrasts of each gene's options, `(options, options - 1)`."""
        return tuple(_helmert(c) for c in self.choices)

    @cached_property
    def _per_gene(self) -> Floats:
        return np.concatenate([np.full(c - 1, 1.0 / (c - 1)) for c in self.choices if c > 1])

    @cached_property
    def _slopes(self) -> Floats:
        """`m_g` has two values, so its square is a line in it: `m^2 = slope * m + constant`."""
        return np.concatenate([np.full(c - 1, (c - 2) / (c - 1)) for c in self.choices if c > 1])

    @cached_property
    def _constant(self) -> float:
        return float(sum(1.0 / (c - 1) for c in self.choices if c > 1))


def _helmert(options: int) -> Floats:
    """`(options, options - 1)`: columns of mean 0 and mean square 1, orthogonal to each other."""
    table = np.zeros((options, options - 1))
    for column in range(options - 1):
        table[: column + 1, column] = 1.0
        table[column + 1, column] = -(column + 1.0)
    return np.asarray(table / np.sqrt((table**2).mean(axis=0))) if options > 1 else table


class Structure:
    """Structural features of a space, standardised over random genomes and remembered for small spaces.

    Args:
        genes: the space.
        features: `(n, d)` to `(n, f)`, or None for none.
    """

    def __init__(self, genes: Genes, features: Features | None) -> None:
        self.genes = genes
        self.features = features
        self._known: NDArray[np.bool_] | None = None
        self._memory: Floats | None = None

    def __call__(self, archs: Archs) -> Floats:
        """Standardised features that vary, `(n, f)`; `(n, 0)` without features.

        Raises:
            InvalidData: the features are not a finite matrix with a row for each architecture.
        """
        if self.features is None:
            return np.zeros((len(archs), 0))
        mean, scale, kept = self._standard
        if self.genes.size > REMEMBERED:
            return np.asarray((self.raw(archs)[:, kept] - mean) / scale)
        if self._memory is None or self._known is None:
            self._known = np.zeros(self.genes.size, dtype=np.bool_)
            self._memory = np.zeros((self.genes.size, len(mean)))
        numbers = np.ravel_multi_index(tuple(archs.T), self.genes.choices)
        fresh = np.unique(numbers[~self._known[numbers]], return_index=True)[0]
        if len(fresh):
            rows = numbered(fresh, self.genes.choices)
            self._memory[fresh] = (self.raw(rows)[:, kept] - mean) / scale
            self._known[fresh] = True
        return np.asarray(self._memory[numbers])

    def raw(self, archs: Archs) -> Floats:
        """The features as they are, `(n, f)`."""
        assert self.features is not None
        found = np.asarray(self.features(archs), dtype=np.float64)
        if found.ndim != 2 or len(found) != len(archs) or not np.isfinite(found).all():
            raise InvalidData(
                f"features gave an array of shape {found.shape} for {len(archs)} architectures, or values that are "
                "not finite",
                hint="Give a function from (n, d) integers to (n, f) finite numbers.",
            )
        return found

    @property
    def probe(self) -> Archs:
        """Eight genomes `(8, d)` by which a saved predictor knows its features again."""
        return self._genomes(8, seed=1)

    @cached_property
    def _standard(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        reference = self.raw(self._genomes(REFERENCE, seed=0))
        spread = reference.std(axis=0)
        kept = spread > 1e-9 * np.maximum(np.abs(reference).max(axis=0, initial=0.0), 1e-30)
        return reference.mean(axis=0)[kept], spread[kept], kept

    def _genomes(self, count: int, seed: int) -> Archs:
        rng = np.random.default_rng(seed)
        return np.asarray(rng.integers(0, self.genes.choices, (count, len(self.genes.choices))), dtype=np.int64)
