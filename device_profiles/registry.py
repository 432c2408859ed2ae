"""Plug-ins: one file in a folder is one entry, found by its name, imported when it is used."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from device_profiles import plugins
from device_profiles.errors import HwnasError, PluginError, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """The entries of one kind.

    An entry is a module of `package` that defines `attribute`; its name is the module's, with `-` for `_`. Modules
    named in `skip` and those that begin with `_` are not entries. Other distributions add entries by the entry-point
    group `hwnas.<kind>`, and a running program by `register`.

    Example:
        >>> from device_profiles.registry import Registry
        >>> runtimes = Registry("runtime", "profiler.runtimes", attribute="RUNTIME")
        >>> "onnxruntime" in runtimes.names()
        True

    Args:
        kind: what an entry is called in messages.
        package: the dotted name of the folder that holds the entries.
        attribute: the name that an entry's module defines.
        skip: modules of the folder that are no entries.
    """

    def __init__(self, kind: str, package: str, *, attribute: str, skip: tuple[str, ...] = ("protocol",)) -> None:
        self._kind = kind
        self._package = package
        self._attribute = attribute
        self._skip = skip
        self._registered: dict[str, T] = {}

    def names(self) -> tuple[str, ...]:
        """All names, sorted; nothing is imported."""
        group = entry_points(group=f"hwnas.{self._kind}")
        return tuple(sorted({*self._modules(), *self._registered, *(entry.name for entry in group)}))

    def register(self, name: str, entry: T) -> None:
        """Add or replace an entry for this process."""
        self._registered[name] = entry
        plugins.record(self._kind, name, entry)

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            PluginError: it is of another distribution, and cannot be imported.
            UnknownName: no entry has the name.
        """
        if name in self._registered:
            plugins.record(self._kind, name, self._registered[name])
            return self._registered[name]
        if name in self._modules():
            module = importlib.import_module(f"{self._package}.{name.replace('-', '_')}")
            return self._entry(getattr(module, self._attribute))
        for entry in entry_points(group=f"hwnas.{self._kind}"):
            if entry.name == name:
                return self._entry(self._loaded(entry))
        raise UnknownName(self._kind, name, self.names())

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return ((name, self.get(name)) for name in self.names())

    def _loaded(self, entry: EntryPoint) -> Any:
        try:
            found = entry.load()
        except (HwnasError, KeyboardInterrupt):
            raise
        except BaseException as error:  # the import of others' code may raise anything, `SystemExit` as well
            raise PluginError(
                f"{self._kind} {entry.name!r} ({entry.value}) cannot be loaded: {plugins.text_of(error)}",
                hint="Mend or remove the distribution that brings it.",
            ) from error
        plugins.record(self._kind, entry.name, found)
        return found

    def _modules(self) -> tuple[str, ...]:
        package = importlib.import_module(self._package)
        found = (module.name for module in pkgutil.iter_modules(package.__path__))
        return tuple(name.replace("_", "-") for name in found if name not in self._skip and not name.startswith("_"))

    @staticmethod
    def _entry(value: Any) -> T:
        entry: T = value
        return entry
