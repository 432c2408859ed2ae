"""The step of the weights that an architecture's gradient looks through: that of the optimiser itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def rate_of(weights: Any) -> float:
    """The learning rate of torch's SGD."""
    return float(weights.param_groups[0]["lr"])


def moved(weights: Any, parameter: Tensor, gradient: Tensor | None) -> Tensor:
    """Where SGD with momentum and weight decay would bring a parameter; one without a gradient stays.

    Args:
        weights: torch's SGD.
        parameter: of any shape.
        gradient: like it, or None.
    """
    if gradient is None:
        return parameter
    group = weights.param_groups[0]
    direction = gradient + group["weight_decay"] * parameter
    buffer = weights.state.get(parameter, {}).get("momentum_buffer")
    if buffer is not None:
        direction = direction + group["momentum"] * buffer
    there: Tensor = parameter - group["lr"] * direction
    return there
