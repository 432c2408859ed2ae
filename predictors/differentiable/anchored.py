"""A learned cost that is bent so as to be exact at every architecture: gradients where the exact cost has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from predictors.differentiable.network import NetworkCost
from predictors.differentiable.protocol import Archs, Floats, check_probabilities

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AnchoredCost:
    """The learned cost, times what it errs by at the likeliest architecture, as far as that one is all but chosen.

    How far a gene is decided grows from 0 where no option has more than half of the probability to 1 at one-hot; of a
    genome it is the product. So the cost is smooth, exact at every architecture, and the learned one in between.

    Attributes:
        learned: gives it its shape.
        exact: costs of architectures `(n, d)`, `(n,)`, above 0.
    """

    learned: NetworkCost
    exact: Callable[[Archs], Floats]

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.learned.choices

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Cost of `(..., options)` for each gene: `(...)`; see `DifferentiableCost`.

        Raises:
            UsageError: the number of genes or of their options is another.
        """
        import torch

        check_probabilities(probabilities, self.choices)
        found = self.learned(probabilities)
        tops = [p.max(dim=-1) for p in probabilities]
        decided = torch.stack([_decided(top.values) for top in tops], dim=-1).prod(dim=-1)
        archs = torch.stack([top.indices for top in tops], dim=-1).reshape(-1, len(self.choices))
        near = (decided.detach() > 0).reshape(-1)
        off = torch.zeros(len(archs), dtype=torch.double)
        if near.any():
            rows = archs[near].numpy(force=True)
            off[near.cpu()] = torch.from_numpy(self.exact(rows) / self.learned.predict(rows).value - 1.0)
        return found * (1.0 + decided * off.to(found).reshape(decided.shape))


def _decided(top: Tensor) -> Tensor:
    """How far a gene is decided by the probability of its likeliest option, of any shape: 0 to 1/2, 1 at 1.

    A cubic whose slope is 0 at 1/2, and 1 at 1, as that of a product of probabilities is.
    """
    beyond = (2.0 * top - 1.0).clamp(min=0.0)
    return beyond**2 * (2.5 - 1.5 * beyond)
