"""Whose code is it? What the toolkit brings itself is trusted; what others register is named when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any

from device_profiles.errors import HwnasError, PluginError

#: Packages of the toolkit.
OWN = ("device_profiles", "profiler", "predictors", "nas", "hwnas_cli")

#: What others brought in this process: module -> what it is called in messages.
_KNOWN: dict[str, str] = {}


def module_of(thing: Any) -> str:
    """The module that defines a function, a class, or the class of an object."""
    while isinstance(thing, partial):
        thing = thing.func
    owner = getattr(thing, "__self__", None)
    if owner is not None and not isinstance(owner, type):
        thing = owner
    named = isinstance(thing, type) or (callable(thing) and hasattr(thing, "__qualname__"))
    return str(getattr(thing if named else type(thing), "__module__", ""))


def is_foreign(thing: Any) -> bool:
    """Whether a function, a class or an object is not of the toolkit itself."""
    return module_of(thing).partition(".")[0] not in OWN


def record(kind: str, name: str, entry: Any) -> None:
    """Remember what another distribution or a running program brought."""
    if is_foreign(entry):
        _KNOWN[module_of(entry)] = f"{kind} {name!r}"


def text_of(error: BaseException) -> str:
    """`Type: message` of an error of others, whose message may fail, too."""
    try:
        said = str(error)
    except BaseException as other:  # an error whose text cannot be had has its type
        said = f"(its text raised {type(other).__name__})"
    return f"{type(error).__name__}: {said}"[:2000]


def blame(error: BaseException) -> PluginError | None:
    """The plug-in in whose code an error arose, as an error of it; None where it is our own, or says itself what it is.

    It is the innermost frame of a module that a registry has loaded from others.
    """
    if isinstance(error, (HwnasError, KeyboardInterrupt)):
        return None
    found = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module in _KNOWN:
            found = (_KNOWN[module], trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    if found is None:
        return None
    return PluginError(
        f"{found[0]} failed in {found[1]}: {text_of(error)}", hint="This is a fault of the plug-in; report it there."
    )


@contextmanager
def blamed() -> Iterator[None]:
    """An error that arises in code of others in the block is one of the plug-in, which it names.

    Raises:
        PluginError: in place of any other error, where a plug-in raised it.
    """
    try:
        yield
    except BaseException as error:  # only those of plug-ins are changed
        found = blame(error)
        if found is None:
            raise
        raise found from error
