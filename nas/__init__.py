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
    from nas import evaluators, gradient, indicators, pareto, spaces, strategies, testing
    from nas.loop.loop import search

__all__ = ["evaluators", "gradient", "indicators", "pareto", "search", "spaces", "strategies", "testing"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "search":
        value = import_module("nas.loop.loop").search
        globals()["search"] = value
        return value
    if name in __all__:
        return import_module(f"nas.{name}")
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
