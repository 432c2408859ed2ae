"""Plug-ins: one file in a folder is one entry, found by its name, imported when it is used."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from device_profiles import plugins
from device_profiles.errors import HwnasError, PluginError, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """The entries of one kind.

    An entry is a module of `package` that defines `attribute`; its name is the module's, with `-` for `_`. Modules
    named in `skip` and those that begin with `_` are not entries. Other distributions add entries by the entry-point
    group `hwnas.<kind>`, and a running program by `register`. Sub-packages in `folders` hold entries, too.

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
        folders: sub-packages of the folder that hold entries, too.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        *,
        attribute: str,
        skip: tuple[str, ...] = ("protocol",),
        folders: tuple[str, ...] = (),
    ) -> None:
        self._kind = kind
        self._package = package
        self._attribute = attribute
        self._skip = skip
        self._folders = folders
        self._registered: dict[str, T] = {}

    def names(self) -> tuple[str, ...]:
        """All names, sorted; nothing is imported."""
        return tuple(sorted({*self._modules(), *self._registered, *self._installed()}))

    def has(self, name: str) -> bool:
        """Whether an entry has the name."""
        return name in self._registered or name in self._modules() or name in self._installed()

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
        where = self._modules().get(name)
        if where is not None:
            return self._entry(getattr(importlib.import_module(where), self._attribute))
        installed = self._installed().get(name)
        if installed is not None:
            return self._entry(self._loaded(installed))
        raise UnknownName(self._kind, name, self.names())

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return ((name, self.get(name)) for name in self.names())

    def _installed(self) -> Mapping[str, EntryPoint]:
        return installed(self._kind, tuple(sys.path))

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

    def _modules(self) -> dict[str, str]:
        """Where the module of each name is; no entry is imported."""
        package = importlib.import_module(self._package)
        found: dict[str, str] = {}
        for folder in ("", *self._folders):
            paths = [str(Path(path) / folder) for path in package.__path__]
            prefix = ".".join(part for part in (self._package, folder) if part)
            for module in pkgutil.iter_modules(paths):
                if module.name not in (*self._skip, *self._folders) and not module.name.startswith("_"):
                    found[module.name.replace("_", "-")] = f"{prefix}.{module.name}"
        return found

    @staticmethod
    def _entry(value: Any) -> T:
        entry: T = value
        return entry


@cache
def installed(kind: str, path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """What other distributions bring, by name; looking takes tens of milliseconds, so it is done once for a path."""
    return {entry.name: entry for entry in entry_points(group=f"hwnas.{kind}")}
