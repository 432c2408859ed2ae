"""Predictions at search speed: a space's architectures as rows of integers, a table instead of graphs.

A network's cost is a sum over parts, and each part depends on some of the genes; `CostTable` holds one tensor for each
part. In a cell space all genes meet in one part; in a chain each layer is its own. The same tensors give the expected
cost under independent choices exactly (a multilinear form), so the differentiable cost equals the discrete prediction
at one-hot probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable, UsageError
from predictors.genes import checked, flat_index, strides

if TYPE_CHECKING:
    from torch import Tensor

Archs = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Sums and quotients may be this far beyond their bounds, relatively.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class CostTable:
    """Cost of the architectures of a space, as a sum of parts.

    Attributes:
        choices: options per gene, `(d,)`.
        genes: for each part the genes it depends on, ascending.
        costs: for each part a tensor with one axis for each of its genes.
        coverage: one axis for each gene: share of the cost that stands on known kernels, or None for 1 everywhere.
        lacking: as `coverage`: which entry of `missing` an architecture has, or None where nothing is missing.
        missing: sets of keys of kernels that were never measured.
        low: as `coverage`: lower ends of the 90 % intervals, or None without intervals.
        high: and their upper ends.
    """

    choices: tuple[int, ...]
    genes: tuple[tuple[int, ...], ...]
    costs: tuple[Floats, ...]
    coverage: Floats | None = None
    lacking: NDArray[np.int32] | None = None
    missing: tuple[tuple[str, ...], ...] = ()
    low: Floats | None = None
    high: Floats | None = None

    def __post_init__(self) -> None:
        genes = [gene for part in self.genes for gene in part]
        placed = all(type(gene) is int and 0 <= gene < len(self.choices) for gene in genes)
        ascending = placed and all(sorted(set(part)) == list(part) for part in self.genes)
        if not self.genes or not all(self.genes) or not ascending:
            raise InvalidTable(f"the parts of a table depend on genes {self.genes}; it has {len(self.choices)}")
        wanted = [tuple(self.choices[gene] for gene in part) for part in self.genes]
        shapes = [cost.shape for cost in self.costs]
        if shapes != wanted:
            raise InvalidTable(f"the parts of a table have shapes {shapes}, their genes have options {wanted}")
        for name in ("coverage", "lacking", "low", "high"):
            tensor = getattr(self, name)
            if tensor is not None and tensor.shape != self.choices:
                raise InvalidTable(f"{name} has shape {tensor.shape}, the space has options {self.choices}")
        if self.lacking is not None and not (self.lacking.min() >= 0 and self.lacking.max() < len(self.missing)):
            raise InvalidTable(f"an architecture lacks set {self.lacking.max()} of {len(self.missing)}")

    def require_ranges(self) -> None:
        """Refuse a table of what no measured cost can be.

        Raises:
            InvalidTable: a cost is not above 0 and finite, an interval does not hold its value, or a coverage is
                outside of 0..1.
        """
        least = sum(float(cost.min(initial=np.inf)) for cost in self.costs)
        if not (0 < least < np.inf) or not all(np.isfinite(cost).all() for cost in self.costs):
            raise InvalidTable(f"costs must be above 0 and finite; the least is {least}")
        if self.coverage is not None and not _within(self.coverage, 0.0, 1.0, _ROUNDING):
            raise InvalidTable(f"coverage must be in 0..1, got {self.coverage.min()} to {self.coverage.max()}")
        if (self.low is None) != (self.high is None):
            raise InvalidTable("low and high must both be there, or neither")
        if self.low is not None and self.high is not None:
            value = self._whole()
            slack = _ROUNDING * value
            if not (_within(self.low, 0.0, value, slack) and _within(self.high, value, np.inf, slack)):
                raise InvalidTable("an interval does not hold its value: low <= value <= high, low >= 0")
            if not np.isfinite(self.high).all():
                raise InvalidTable("the upper end of an interval is not finite")

    def _whole(self) -> Floats:
        """Cost of all architectures, one axis for each gene."""
        total = np.zeros(self.choices)
        for cost, part in zip(self.costs, self.genes, strict=True):
            total += cost.reshape([count if gene in part else 1 for gene, count in enumerate(self.choices)])
        return total

    def predict(self, archs: Archs) -> Floats:
        """Cost of `(n, d)` architectures, `(n,)`.

        Raises:
            UsageError: the shape or a gene is outside of the space.
        """
        archs = self.checked(archs)
        total = np.zeros(len(archs))
        for flat, apart, genes in self._flat:
            total += flat[flat_index(archs.T, genes, apart)]
        return total

    def covered(self, archs: Archs) -> Floats:
        """Coverage of `(n, d)` architectures, `(n,)`."""
        if self.coverage is None:
            return np.ones(len(archs))
        return np.asarray(self.coverage[tuple(np.asarray(archs, dtype=np.int64).T)])

    def interval(self, archs: Archs) -> tuple[Floats | None, Floats | None]:
        """Ends of the 90 % intervals of `(n, d)` architectures, `(n,)` each; None and None if there are none."""
        if self.low is None or self.high is None:
            return None, None
        rows = tuple(np.asarray(archs, dtype=np.int64).T)
        return np.asarray(self.low[rows]), np.asarray(self.high[rows])

    def missing_of(self, archs: Archs) -> tuple[tuple[str, ...], ...]:
        """Keys of the kernels that were never measured, for each of `(n, d)` architectures."""
        if self.lacking is None:
            return ((),) * len(archs)
        return tuple(map(self.missing.__getitem__, self.lacking[tuple(np.asarray(archs, dtype=np.int64).T)].tolist()))

    def differentiable(self) -> DifferentiableTable:
        """The expected cost under independent choices, for torch."""
        return DifferentiableTable(self)

    def checked(self, archs: Archs) -> Archs:
        """The rows, `(n, d)`, as integers, if they are in the space."""
        return checked(archs, self.choices)

    @cached_property
    def _flat(self) -> list[tuple[Floats, tuple[int, ...], tuple[int, ...]]]:
        return [
            (np.ascontiguousarray(cost).ravel(), strides(cost.shape), genes)
            for cost, genes in zip(self.costs, self.genes, strict=True)
        ]


def _within(values: Floats, low: float | Floats, high: float | Floats, slack: float | Floats) -> bool:
    return bool(((values >= low - slack) & (values <= high + slack)).all())


class DifferentiableTable:
    """Expected cost under independent choices: `E[cost] = sum over architectures of probability * cost`, exactly.

    At one-hot probabilities it equals `CostTable.predict`; it is multilinear, so its gradient with respect to one
    option's probability is the expected cost given that option. The unit is the table's.
    """

    def __init__(self, table: CostTable) -> None:
        self._table = table
        self._tensors: dict[tuple[Any, Any], list[Tensor]] = {}

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self._table.choices

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Expected cost.

        Args:
            probabilities: for each gene `(..., options)`, all with the same leading shape.

        Returns:
            `(...)`, in the table's unit.

        Raises:
            UsageError: the number of genes or of their options differs from the table's.
        """
        sizes = tuple(int(p.shape[-1]) for p in probabilities)
        if sizes != self._table.choices:
            raise UsageError(f"probabilities have options {sizes}, the table has {self._table.choices}")
        first = probabilities[0]
        total = first.new_zeros(first.shape[:-1])
        for tensor, genes in zip(self._parts(first), self._table.genes, strict=True):
            value = tensor
            lead = first.ndim - 1
            value = value.reshape((1,) * lead + value.shape)
            for gene in reversed(genes):
                weight = probabilities[gene]
                shaped = weight.reshape(weight.shape[:-1] + (1,) * (value.ndim - lead - 1) + weight.shape[-1:])
                value = (value * shaped).sum(dim=-1)
            total = total + value
        return total

    def _parts(self, like: Tensor) -> list[Tensor]:
        import torch

        key = (like.dtype, like.device)
        if key not in self._tensors:
            self._tensors[key] = [
                torch.as_tensor(cost, dtype=like.dtype, device=like.device) for cost in self._table.costs
            ]
        return self._tensors[key]
