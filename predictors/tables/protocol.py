"""What an importer is: it knows one layout of published tables, and makes a `Table` of a file in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from device_profiles.errors import InvalidTable, UsageError
from predictors.tables.table import Source, Table

_SUFFIXES = (".csv", ".tsv", ".yaml", ".yml", ".json", ".pickle", ".pkl", ".xml", ".md", ".txt")


@dataclass(frozen=True)
class RawFile:
    """A file that was read and not yet understood.

    Attributes:
        path: where it was.
        data: its bytes, decompressed.
        sha256: of the file as it lies there.
        size_bytes: of the file as it lies there.
    """

    path: Path
    data: bytes
    sha256: str
    size_bytes: int

    @cached_property
    def text(self) -> str:
        """As UTF-8.

        Raises:
            InvalidTable: it is not text.
        """
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidTable(
                f"{self.path} is not UTF-8 text: byte {error.start} is 0x{self.data[error.start]:02x}",
                hint="Give the table as text in UTF-8, or say which layout it has with --kind.",
            ) from error

    @property
    def head(self) -> str:
        """The first 4,096 bytes as text, for recognising a layout; what is no text becomes U+FFFD."""
        return self.data[:4096].decode("utf-8", errors="replace").lstrip("\ufeff")

    @property
    def first_line(self) -> str:
        """The first line of `head`."""
        return self.head.partition("\n")[0].strip()

    @property
    def stem(self) -> str:
        """The file's name without `.csv`, `.yaml` and the like: what a device is called if nothing else says so."""
        name = self.path.name
        for suffix in (".gz", *_SUFFIXES):
            name = name.removesuffix(suffix)
        return name

    def source(self, licence: str | None) -> Source:
        """Where a table comes from."""
        return Source(file=self.path.name, sha256=self.sha256, size_bytes=self.size_bytes, licence=licence)


@dataclass(frozen=True)
class Options:
    """What a file does not say of itself.

    Attributes:
        device: its name, for layouts that have none; None takes it from the file's name.
        part: which of several tables in one file, or `NAME=VALUE,...` that the file does not say; None takes the first.
    """

    device: str | None = None
    part: str | None = None

    def device_of(self, file: RawFile) -> str:
        """The device's name, or else the file's.

        Raises:
            UsageError: it has characters that cannot be part of a column's name.
        """
        if self.device is None:
            return re.sub(r"[^\w.+-]+", "_", file.stem) or "device"
        if not re.fullmatch(r"[\w.+-]+", self.device):
            raise UsageError(f"{self.device!r} cannot name a device", hint="Use letters, digits, and . _ + - alone.")
        return self.device


class Importer(Protocol):
    """A module's `IMPORTER`."""

    def claims(self, file: RawFile) -> bool:
        """Whether the file looks like this layout; nothing is raised."""

    def read(self, file: RawFile, options: Options) -> Table:
        """Make a table of it, in the units that the layout states.

        Raises:
            InvalidData: it is not of this layout, or holds what no table can.
            UsageError: an option does not fit the file.
        """
