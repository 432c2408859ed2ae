"""Strategies that own gradients: architecture probabilities are trained beside shared weights.

Each is one file here that defines `GRADIENT(problem, **settings)`, which yields architectures (see `protocol`). What it
finds is judged by the same evaluators and ends in the same study and front as what a strategy that asks and tells
finds.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from device_profiles.errors import HwnasError
from device_profiles.registry import Registry
from nas.gradient.protocol import Found, GradientProblem, MakeGradient

__all__ = ["REGISTRY", "Found", "GradientProblem", "min_norm_weights", "names"]

REGISTRY: Registry[MakeGradient] = Registry(
    "gradient", "nas.gradient", attribute="GRADIENT", skip=("protocol", "modnas")
)


def __getattr__(name: str) -> Any:
    if name == "modnas":
        return import_module("nas.gradient.modnas")
    raise AttributeError(f"module 'nas.gradient' has no attribute {name!r}")


def names() -> tuple[str, ...]:
    """All registered gradient strategies."""
    return REGISTRY.names()


def min_norm_weights(gradients: Any) -> Any:
    """Weights of the shortest convex combination of gradients.

    Raises:
        HwnasError: not part of this version.
    """
    raise HwnasError("nas.gradient.min_norm_weights is not part of this version")
