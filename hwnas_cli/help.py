"""Help that names what is registered. Registries are read when that help is asked for, so that no other pays for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand


def _objectives() -> str:
    from nas import evaluators

    return " · ".join(str(kind.forms) for kind in evaluators.kinds())


def _layouts() -> str:
    from predictors import tables

    *others, last = tables.names()
    return f"{', '.join(others)} or {last}"


#: What stands in a help text for what is registered, and what it becomes.
_REGISTERED: dict[str, Callable[[], str]] = {"{objectives}": _objectives, "{layouts}": _layouts}


def filled(text: str) -> str:
    """A help text with what is registered."""
    for mark, said in _REGISTERED.items():
        if mark in text:
            text = text.replace(mark, said())
    return text


class FilledCommand(TyperCommand):
    """A command whose help, and that of its options, may name what is registered."""

    def get_help(self, ctx: Any) -> str:
        """The help, filled."""
        shown: list[Any] = [self, *self.params]
        for one in shown:
            one.help = filled(one.help) if one.help else one.help
        return super().get_help(ctx)
