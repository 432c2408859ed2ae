"""Costs that torch can differentiate: for searches that move probabilities of options instead of trying architectures.

Example:
    >>> from predictors.differentiable import NetworkCost
    >>> cost = NetworkCost.fit(choices, archs, latency_ms)                                         # doctest: +SKIP
    >>> cost([logits.softmax(-1) for logits in alphas]).backward()                                 # doctest: +SKIP

`NetworkCost` learns one device, `ConditionedCost` many at once; `CostTable.differentiable()` of `predictors.encoding`
is exact where a table exists. `predictors.testing.check_differentiable_cost` is the conformance kit. It does not
search, and it does not measure; importing it imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predictors.differentiable.conditioned import ConditionedCost, DeviceCost
    from predictors.differentiable.network import NetworkCost
    from predictors.differentiable.protocol import DifferentiableCost

__all__ = ["ConditionedCost", "DeviceCost", "DifferentiableCost", "NetworkCost"]

_HOMES = {
    "ConditionedCost": "conditioned",
    "DeviceCost": "conditioned",
    "DifferentiableCost": "protocol",
    "NetworkCost": "network",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'predictors.differentiable' has no attribute {name!r}")
    value = getattr(import_module(f"predictors.differentiable.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
