"""The conformance kit of importers: a file of a layout is read whole, and every damaged one is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from device_profiles.errors import DeviceError, InvalidData
from predictors import tables
from predictors.tables.table import Table
from predictors.testing.files import require

#: At most as many cuts of a file are tried.
_CUTS = 60


def check_importer(kind: str, content: bytes, name: str, place: Path) -> None:
    """Hold an importer to its protocol, by one whole file of its layout.

    The file is recognised and read, and what comes back from a folder is the same table; latencies, energies and
    memory are finite and not negative. The same file cut short, with a number made negative, infinite or a word, in
    other encodings, or replaced by a file of another form, is a table of the same promise or refused with
    `InvalidData` that has a hint; nothing else is raised.

    Args:
        kind: name of the layout.
        content: of the whole file.
        name: of the file, as its program calls it.
        place: an empty folder to write in.

    Raises:
        AssertionError: with the rule that was broken.
    """
    path = place / name
    path.write_bytes(content)
    require(tables.detect(path) == kind, "claims", f"a file of {kind} is taken for {tables.detect(path)}")
    table = tables.read(path, kind)
    _require_sound(table, "read")
    table.save(place / "table")
    _require_same(tables.load(place / "table"), table)
    tables.lint(table)
    for what, damaged in _damaged(content):
        path.write_bytes(damaged)
        try:
            found = tables.read(path, kind)
        except InvalidData as error:
            require(error.message and error.hint, "read", f"where the file {what}, the error has no message or no hint")
        except DeviceError:
            raise
        except Exception as error:
            rule = f"read: where the file {what}, it must raise InvalidData, not {type(error).__name__}"
            raise AssertionError(rule) from error
        else:
            _require_sound(found, f"read, where the file {what}")
            tables.lint(found)


def _damaged(content: bytes) -> list[tuple[str, bytes]]:
    """What is made of a file, and what is wrong with it then."""
    size = len(content)
    cuts = sorted({size * i // _CUTS for i in range(_CUTS)} | {size - 1, size - 2})
    found = [(f"is cut after {cut} bytes", content[:cut]) for cut in cuts]
    numbers = [match.span() for match in re.finditer(rb"(?<![\w.-])\d+(?:\.\d+)?(?![\w.])", content)]
    for start, end in numbers[:: max(1, len(numbers) // _CUTS)]:
        for text in (b"-1", b"inf", b"nan", b"soon", b"", b"1e999", b"9" * 400):
            found.append((f"has {text.decode()[:8]!r} at byte {start}", content[:start] + text + content[end:]))
    try:
        whole = content.decode()
    except UnicodeDecodeError:
        whole = ""
    if whole:
        found += [(f"is in {code}", whole.encode(code)) for code in ("utf-16", "utf-32", "utf-8-sig")]
    found += [("has a byte that is no text", content[: size // 2] + b"\xff\xfe" + content[size // 2 :])]
    found += [("has zeros in it", content[: size // 2] + bytes(8) + content[size // 2 :])]
    others = (b"", b"\n", b"{}", b"[]", b"[1]", b"a,b\n1,2\n", b"a: 1\n", b"<net/>", b"[" * 100_000, bytes(64))
    return found + [(f"is {other[:10]!r}", other) for other in others]


def _require_sound(table: Table, rule: str) -> None:
    for column in table.columns:
        if column.is_cost and table.stated:
            known = column.values[~np.isnan(column.values)]
            sound = np.isfinite(known).all() and (known >= 0).all()
            require(sound, rule, f"{column.name} holds negative or infinite values, and a profile's must not")


def _require_same(found: Table, table: Table) -> None:
    rule = "save and load"
    require(found.keys == table.keys and found.types == table.types, rule, "the keys or types are others")
    require(dict(found.labels) == dict(table.labels), rule, "the labels are others")
    require(dict(found.stated) == dict(table.stated), rule, "what was stated is another")
    require(found.models == table.models, rule, "they forget that rows are models")
    for first, second in zip(found.columns, table.columns, strict=True):
        require(np.array_equal(first.values, second.values, equal_nan=True), rule, f"{first.name} has other values")
    for name, values in table.fields.items():
        require(np.array_equal(found.fields[name], values, equal_nan=True), rule, f"field {name} has other values")
