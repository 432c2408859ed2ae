"""What a differentiable cost is, and what every one refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable, UsageError

if TYPE_CHECKING:
    from torch import Tensor

Archs = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Entries of a table that are smaller than this share of its 5th percentile are errors of measurement (cells that do
#: not depend on their input, say): a relative error is taken of no less.
FLOOR_SHARE = 0.3
FLOOR_QUANTILE = 0.05


class DifferentiableCost(Protocol):
    """Expected cost of independent choices. `predictors.testing.check_differentiable_cost` is its conformance kit.

    At one-hot probabilities it equals the discrete prediction (1e-4 relative); `torch.autograd.gradcheck` passes in
    double precision; the result is above 0, in the unit of the discrete prediction, and has the precision of what was
    given. The probabilities of a gene add up to 1: that is the caller's part and is not checked, and what the cost is
    elsewhere means nothing.
    """

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Expected cost.

        Args:
            probabilities: for each gene `(..., options)`, all with the same leading shape.

        Returns:
            `(...)`, in the cost's unit.

        Raises:
            UsageError: the number of genes or of their options differs from `choices`.
        """


def check_probabilities(probabilities: Sequence[Tensor], choices: tuple[int, ...]) -> None:
    """Refuse probabilities of another space.

    Raises:
        UsageError: the number of genes or options, or a leading shape, is wrong.
    """
    sizes = tuple(int(p.shape[-1]) if p.ndim else 0 for p in probabilities)
    if sizes != choices:
        raise UsageError(
            f"probabilities have options {sizes}, the cost has {choices}",
            hint="Give one tensor (..., options) for each gene, in the order of the space's choices.",
        )
    leads = {tuple(p.shape[:-1]) for p in probabilities}
    if len(leads) > 1:
        raise UsageError(
            f"probabilities have leading shapes {sorted(leads)}; all genes must have the same",
            hint="Expand them to one shape.",
        )


def check_choices(choices: Sequence[Any]) -> tuple[int, ...]:
    """Options per gene as integers.

    Raises:
        UsageError: there are no genes, or one has no option.
    """
    found = tuple(int(options) for options in choices)
    if not found or min(found) < 1:
        raise UsageError(
            f"choices must give each gene at least 1 option, got {found}",
            hint="Give the space's choices, such as [5] * 6.",
        )
    return found


def check_values(values: Any, rows: int, what: str) -> Floats:
    """Costs as `(rows,)` doubles.

    Raises:
        InvalidTable: there are not as many as rows, or one is not positive and finite.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (rows,):
        raise InvalidTable(
            f"{what} must be a vector ({rows},), one for each architecture, got shape {found.shape}",
            hint="Give as many values as architectures.",
        )
    bad = ~(np.isfinite(found) & (found > 0))
    if bad.any():
        raise InvalidTable(
            f"{what}: {int(bad.sum())} of {rows} values are not positive and finite, the first is {found[bad][0]} in "
            f"row {int(np.flatnonzero(bad)[0])}",
            hint="Leave these rows out, or measure them again.",
        )
    return found


def floor_of(values: Floats) -> float:
    """The least value that a relative error is taken of `values`, `(n,)`."""
    return float(FLOOR_SHARE * np.quantile(values, FLOOR_QUANTILE))
