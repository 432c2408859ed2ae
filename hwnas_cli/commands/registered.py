"""`hwnas spaces`, `hwnas strategies` and `hwnas predictors`: what there is to name, a line each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from device_profiles import plugins
from hwnas_cli.answer import Answer, Json, answers

Row = dict[str, Any]


@answers("spaces")
def spaces(as_json: Json = False) -> Answer:
    """List the search spaces.

    Options go behind the name: nasbench201:cells=1,channels=8.

    Examples:

        hwnas spaces

        hwnas spaces --json
    """
    import nas

    def row(name: str) -> Row:
        make = nas.spaces.REGISTRY.get(name)
        return {"text": first_line(make), "options": _defaults(inspect.signature(make).parameters)}

    return _listed("spaces", nas.spaces.names(), row)


@answers("strategies")
def strategies(as_json: Json = False) -> Answer:
    """List the search strategies.

    Settings are given to a search as --set STRATEGY.SETTING=VALUE.

    Examples:

        hwnas strategies

        hwnas strategies --json
    """
    import nas
    from nas.study.plan import settings_of

    by_gradients = nas.gradient.names()

    def row(name: str) -> Row:
        gradients = name in by_gradients
        make: Any = (nas.gradient if gradients else nas.strategies).REGISTRY.get(name)
        by = "gradients" if gradients else "ask and tell"
        return {"text": first_line(make), "by": by, "settings": _defaults(settings_of(name) or {})}

    return _listed("strategies", (*nas.strategies.names(), *by_gradients), row)


@answers("predictors")
def predictors(as_json: Json = False) -> Answer:
    """List the predictors.

    Examples:

        hwnas predictors

        hwnas predictors --json
    """
    from predictors import registry

    def row(name: str) -> Row:
        make = registry.get(name)
        return {"text": first_line(getattr(make, "kernel_model", make)), "costs": list(make.costs)}

    return _listed("predictors", registry.names(), row)


def first_line(entry: Any) -> str:
    """The first line of the docstring of an entry's file, which holds nothing else; of others', of the entry itself."""
    about = entry if plugins.is_foreign(entry) else inspect.getmodule(entry)
    return (inspect.getdoc(about) or "").partition("\n")[0]


def _listed(what: str, names: Iterable[str], row: Callable[[str], Row]) -> Answer:
    """A list; an entry of others that cannot be loaded is named, and the rest is listed."""
    from device_profiles.errors import PluginError

    rows = []
    for name in names:
        try:
            rows.append({"name": name, **row(name)})
        except PluginError as error:
            rows.append({"name": name, "text": f"cannot be loaded: {error.message}"})
    widest = max((len(one["name"]) for one in rows), default=0)
    return Answer({what: rows}, "\n".join(f"{one['name']:<{widest}}  {one['text']}" for one in rows))


def _defaults(parameters: Any) -> Row:
    """Options by name with their defaults, as JSON has them; null where there is none."""
    return {
        name: one.default if isinstance(one.default, (bool, int, float, str, list, tuple)) else None
        for name, one in parameters.items()
    }
