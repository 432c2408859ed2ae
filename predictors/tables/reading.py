"""From a file to a table: by the layout that is named, or by the one that the content looks like."""

from __future__ import annotations

from pathlib import Path

from device_profiles.errors import InvalidData
from device_profiles.registry import Registry
from predictors.tables._files import read_raw
from predictors.tables.protocol import Importer, Options, RawFile
from predictors.tables.table import Table

_NOT_LAYOUTS = ("linter", "protocol", "reading", "table")

#: `profiles` has what runtimes and benchmarks of devices write.
REGISTRY: Registry[Importer] = Registry(
    "importer", "predictors.tables", attribute="IMPORTER", skip=_NOT_LAYOUTS, folders=("profiles",)
)

#: Asked last, since it would take many a file of the others.
_LAST = "plain"


def names() -> tuple[str, ...]:
    """All layouts."""
    return REGISTRY.names()


def read(path: str | Path, kind: str | None = None, *, device: str | None = None, part: str | None = None) -> Table:
    """Read a published table; nothing is judged yet, see `lint`.

    Args:
        path: of the file, gzipped or not.
        kind: its layout; None recognises it by its content.
        device: its name, for layouts that have none.
        part: which of several tables in one file.

    Raises:
        UnknownName: no layout is called `kind`.
        InvalidData: the file is missing, too large, of no known layout, or not of the one that was named.
    """
    importer = None if kind is None else REGISTRY.get(kind)
    file = read_raw(path)
    if importer is None:
        importer = REGISTRY.get(_recognise(file))
    try:
        return importer.read(file, Options(device=device, part=part))
    except InvalidData as error:
        seen = [] if importer.claims(file) else [name for name in names() if REGISTRY.get(name).claims(file)]
        if seen:
            error.hint = f"It looks like {' or '.join(seen)} rather than {kind}. {error.hint}"
        raise


def detect(path: str | Path) -> str:
    """The layout that a file looks like.

    Raises:
        InvalidData: it looks like none.
    """
    return _recognise(read_raw(path))


def _recognise(file: RawFile) -> str:
    order = sorted(names(), key=lambda name: (name == _LAST, name))
    for name in order:
        if REGISTRY.get(name).claims(file):
            return name
    raise InvalidData(
        f"{file.path} looks like none of the known layouts; it begins with {file.head[:40]!r}",
        hint=f"Say which it has with --kind: {', '.join(names())}.",
    )
