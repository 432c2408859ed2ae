"""Predicted objectives as strategies that own gradients take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from device_profiles.errors import UsageError
from nas.evaluators.predicted import Predicted
from nas.gradient.protocol import DifferentiableCost, Priced, descends
from nas.loop.checks import gradient_bounds
from nas.objectives import Constraint
from predictors.architectures import EncodingPredictor

if TYPE_CHECKING:
    from torch import Tensor


class Certain:
    """A predicted cost of architectures, asked for as a cost under probabilities that are 0 and 1.

    Args:
        predictor: of the cost.
    """

    def __init__(self, predictor: EncodingPredictor) -> None:
        self.predictor = predictor

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Per choice `(..., options)`, 0 and 1; the result is `(...)`, in the cost's unit, without a gradient.

        Raises:
            UsageError: they are other probabilities.
        """
        import torch

        if any(bool(((row != 0) & (row != 1)).any()) for row in probabilities):
            raise UsageError(
                "this cost is known of architectures alone, and not of probabilities of options",
                hint="Search with a strategy that takes costs as numbers, such as enas, or with auto.",
            )
        archs = torch.stack([row.argmax(dim=-1) for row in probabilities], dim=-1)
        values = self.predictor.predict(archs.reshape(-1, len(probabilities)).numpy()).value
        return torch.as_tensor(values, dtype=torch.float64).reshape(archs.shape[:-1])


def priced(make: Any, evaluators: Sequence[Any], constraints: tuple[Constraint, ...]) -> list[Priced]:
    """Predicted objectives with their bounds, for a strategy.

    Raises:
        UsageError: it descends costs, and one has no gradient.
    """
    return [
        Priced(_cost(make, one.predictor), *gradient_bounds(one.objective.name, constraints))
        for one in evaluators
        if isinstance(one, Predicted)
    ]


def _cost(make: Any, predictor: EncodingPredictor) -> DifferentiableCost:
    """The expected cost; that of architectures, where there is no other and the strategy descends none."""
    try:
        return predictor.differentiable()
    except UsageError:
        if descends(make):
            raise
        return Certain(predictor)
