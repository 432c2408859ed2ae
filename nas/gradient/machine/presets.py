"""Strategies that are defaults of the machine's settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, get_type_hints

from nas.gradient.machine.settings import Settings
from nas.gradient.protocol import Found, GradientProblem, MakeGradient, all_costs


def preset(name: str, **chosen: Any) -> MakeGradient:
    """A gradient strategy with defaults of its own; all settings stay open to `--set`.

    Args:
        name: of the strategy, or the `__name__` of the module that defines it, whose docstring then describes it.
        chosen: settings that differ from those of `Settings`.

    Returns:
        A function of a problem and settings, with a signature that lists them.
    """
    defaults = replace(Settings(), **chosen)
    title = name.rpartition(".")[2].replace("_", "-")

    def strategy(problem: GradientProblem, **settings: Any) -> Iterator[Found]:
        from nas.gradient.machine.search import search

        return search(problem, replace(defaults, **settings), title)

    kinds = get_type_hints(Settings)
    first = inspect.Parameter("problem", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=GradientProblem)
    options = [
        inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, one.name), annotation=kinds[one.name]
        )
        for one in fields(Settings)
    ]
    made: Callable[..., Iterator[Found]] = strategy
    made.__name__ = made.__qualname__ = title
    if "." in name:
        made.__module__ = name
    made.__doc__ = f"Differentiable search with the parts of {title}; see `nas.gradient.machine.Settings`."
    made.__signature__ = inspect.Signature([first, *options])  # type: ignore[attr-defined]
    return all_costs(made)
