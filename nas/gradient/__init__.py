"""Strategies that own gradients: architecture probabilities are trained beside shared weights.

Each is one file here that defines `GRADIENT(problem, **settings)`, which yields architectures (see `protocol`). What it
finds is judged by the same evaluators and ends in the same study and front as what a strategy that asks and tells
finds. Those of this package are presets of one machine (`machine`) with parts that can be exchanged (`parts`), but for
those that descend nothing: `blockwise` solves exactly for sums of what options add (`additive`), and `random-nas`,
`one-shot`, `big-nas` and `once-for-all` look at many networks under weights that are trained for it (`screening`);
`ghn` and `smash` rank networks by weights that a hypernetwork makes.
`enas` has a controller that is rewarded (`controller`).
"""

from __future__ import annotations

from typing import Any

from device_profiles.errors import HwnasError
from device_profiles.registry import Registry
from nas.gradient.protocol import Found, GradientProblem, MakeGradient

__all__ = ["REGISTRY", "Found", "GradientProblem", "names"]

REGISTRY: Registry[MakeGradient] = Registry(
    "gradient",
    "nas.gradient",
    attribute="GRADIENT",
    skip=("protocol", "machine", "parts", "additive", "controller", "screening"),
)

#: Names that are announced to other programs, and not part of this version.
_ANNOUNCED = ("min_norm_weights", "modnas")


def __getattr__(name: str) -> Any:
    if name in _ANNOUNCED:
        raise HwnasError(f"nas.gradient.{name} is not part of this version", hint="Use nsga2 or gdas.")
    raise AttributeError(f"module 'nas.gradient' has no attribute {name!r}")


def names() -> tuple[str, ...]:
    """All registered gradient strategies."""
    return REGISTRY.names()
