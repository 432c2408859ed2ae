"""The expected latency on a new device under independent choices: exact, since all but a bend is multilinear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from predictors.differentiable.protocol import check_probabilities
from predictors.transfer.genes import Floats, Genes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TransferCost:
    """A `DifferentiableCost` in ms.

    Main effects are linear in the probabilities. An agreement of a pair of genes is expected to be the product of what
    is expected of both, as they are chosen independently. Only the bend that keeps latencies positive is taken of the
    expectation.

    Attributes:
        genes: of the space.
        constant: relative latency of the average architecture, without pairs.
        effects: `(width,)`, relative latency for each contrast.
        samples: `(n, width)`, contrasts of what was measured.
        pairs: `(n,)`, relative latency where all pairs of genes agree with a sample.
        scale_ms: what all is relative to, ms.
        bend: below this relative latency it bends away from 0.
    """

    genes: Genes
    constant: float
    effects: Floats
    samples: Floats
    pairs: Floats
    scale_ms: float
    bend: float

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.genes.choices

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Expected latency of `(..., options)` for each gene: `(...)`, in ms.

        Raises:
            UsageError: the number of genes or of their options is another.
        """
        import torch

        check_probabilities(probabilities, self.choices)
        dtype, device = probabilities[0].dtype, probabilities[0].device
        value = torch.full(probabilities[0].shape[:-1], self.constant, dtype=torch.float64, device=device)
        agreeing, squares = torch.zeros(()), torch.zeros(())
        for given, table, effects, samples in zip(probabilities, *self._by_gene, strict=True):
            contrasts = given.double() @ table.to(device)
            value = value + contrasts @ effects.to(device)
            match = contrasts @ samples.to(device)
            agreeing, squares = agreeing.to(match) + match, squares.to(match) + match**2
        if self.genes.free > 1:
            pairs = torch.from_numpy(self.pairs).to(device)
            value = value + (agreeing**2 - squares) @ pairs / (self.genes.free * (self.genes.free - 1))
        bent = self.bend * torch.exp(torch.clamp(value / self.bend, max=1.0) - 1.0)
        return (self.scale_ms * torch.where(value < self.bend, bent, value)).to(dtype)

    @cached_property
    def _by_gene(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Of each gene: contrasts of its options, effects of these, and how far they agree with each sample."""
        import torch

        tables, effects, samples, start = [], [], [], 0
        for options, table in zip(self.choices, self.genes.tables, strict=True):
            end = start + options - 1
            tables.append(torch.from_numpy(table))
            effects.append(torch.from_numpy(self.effects[start:end]))
            samples.append(torch.from_numpy(self.samples[:, start:end].T / max(options - 1, 1)))
            start = end
        return tables, effects, samples
