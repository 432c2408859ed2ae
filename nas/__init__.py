"""What we want from a device: spaces, objectives, strategies, evaluators, studies, reports.

Example:
    >>> import nas
    >>> space = nas.spaces.load("nasbench201")
    >>> strategy = nas.strategies.create("nsga2", choices=space.choices, objectives=2, canonical=space.canonical)

It searches with what was measured and predicted. It does not measure by itself (`profiler` does) and holds no model of
a device (`predictors` do); importing it imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas import evaluators, gradient, indicators, interop, nn, pareto, spaces, strategies, testing
    from nas.evaluators.function import objective
    from nas.loop.loop import search

__all__ = [
    "evaluators",
    "gradient",
    "indicators",
    "interop",
    "nn",
    "objective",
    "pareto",
    "search",
    "spaces",
    "strategies",
    "testing",
]

#: What is not a module of this package, and where it is.
_HOMES = {"objective": "nas.evaluators.function", "search": "nas.loop.loop"}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in __all__:
        return import_module(f"nas.{name}")
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
