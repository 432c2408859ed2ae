"""Where the weights of a space's networks come from. Each is one file here that defines `WEIGHTS`.

Example:
    >>> from nas.weights import kinds
    >>> "shared" in kinds.names()
    True
"""

from __future__ import annotations

from device_profiles.registry import Registry
from nas.weights.kinds.protocol import MakeWeights, form_of, formed, is_mixable, mixable, plan_of, trained_by

__all__ = ["REGISTRY", "MakeWeights", "form_of", "formed", "is_mixable", "mixable", "names", "plan_of", "trained_by"]

REGISTRY: Registry[MakeWeights] = Registry("weights", "nas.weights.kinds", attribute="WEIGHTS")


def names() -> tuple[str, ...]:
    """All registered kinds of weights."""
    return REGISTRY.names()
