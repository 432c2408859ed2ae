"""Which source files an object is made by: equal files, equal behaviour; so what was made of it can be kept."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def source_digest(thing: Any) -> str | None:
    """SHA-256 of the source files of an object's class, of those of its fields, and of all in their packages.

    Returns:
        None where a class has no source file, as one that was typed at a prompt.
    """
    packages = {name.partition(".")[0] for name in _modules(thing)}
    found = hashlib.sha256()
    for package in sorted(packages):
        files = _files(package)
        if not files:
            return None
        for path in files:
            content = path.read_bytes()
            found.update(f"{package} {path.name} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _modules(thing: Any) -> set[str]:
    """Modules of the classes of an object, and of the objects in its fields."""
    found = {kind.__module__ for kind in type(thing).__mro__ if kind.__module__ not in sys.stdlib_module_names}
    if is_dataclass(thing):
        for one in fields(thing):
            value = getattr(thing, one.name)
            if is_dataclass(value):
                found |= _modules(value)
    return found


def _files(package: str) -> list[Path]:
    """Source files of a package, or the one of a module."""
    module = sys.modules.get(package)
    own = getattr(module, "__file__", None)
    if own is None or not Path(own).is_file():
        return []
    path = Path(own)
    return sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
