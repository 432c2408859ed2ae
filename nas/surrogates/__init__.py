"""Models of a cost from few evaluations, for strategies that predict before they ask.

Example:
    >>> import numpy as np
    >>> from nas.surrogates import choice
    >>> x = np.random.default_rng(0).random((40, 3))
    >>> model = choice.fit("gaussian-process", x, x.sum(axis=1), np.random.default_rng(0))
    >>> abs(float(model.predict(np.full((1, 3), 0.5))[0]) - 1.5) < 0.1
    True

A surrogate is one file in `models` that defines `SURROGATE(x, y, rng)` (see `protocol.Fit`); `choice` chooses among
them by cross validation, `columns` makes genomes into numbers, `forecast` models all objectives of a problem, and
`assisted` is the search that a strategy of this kind has at its core. These models live in memory and are refitted in
seconds; what is measured and kept belongs to `predictors`.
"""

from __future__ import annotations

from device_profiles.registry import Registry
from nas.surrogates.protocol import Fit, Surrogate

__all__ = ["REGISTRY", "Fit", "Surrogate", "names"]

REGISTRY: Registry[Fit] = Registry("surrogate", "nas.surrogates.models", attribute="SURROGATE")


def names() -> tuple[str, ...]:
    """All registered surrogates."""
    return REGISTRY.names()
