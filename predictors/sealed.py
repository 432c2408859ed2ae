"""Folders that say what they hold: a head in JSON with the SHA-256 of each other file, and of itself.

One flipped bit of a table made 0.26 ms 1.04 ms, and nothing said so. A folder is read as it was written, or not at all:
no file may be missing, changed, or there in addition. Digests find damage and hurried edits; they are no signature, and
what a folder says is checked all the same by whoever reads it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import HwnasError, InvalidData, SchemaMismatch
from device_profiles.reading import parse_json, read_bytes, shown
from device_profiles.version import version

#: Largest head, and largest file of a folder that is read.
_LARGEST_HEAD_BYTES = 64 << 20
_LARGEST_FILE_BYTES = 1 << 30

#: What a head holds beside its facts.
_OWN = ("schema", "written_by", "files", "digest")


@dataclass(frozen=True)
class Kind:
    """A kind of folder.

    Attributes:
        head: name of the file that says what the others are.
        schema: what is written and read, such as `hwnas.predictor/3`.
        what: it is, for messages.
        remedy: what to do if it cannot be read.
        older: schemas that are no longer read, and who wrote them.
        also: older schemas that are still read.
        sign: how one that was changed by hand is signed again, with `{}` for the folder; empty if it cannot be.
    """

    head: str
    schema: str
    what: str
    remedy: str
    older: Mapping[str, str] = field(default_factory=dict)
    sign: str = ""
    also: tuple[str, ...] = ()

    def hint(self, folder: Path) -> str:
        """What to do with a folder that is not as it was written."""
        return f"{self.remedy} {self.sign.format(shlex.quote(str(folder)))}".strip()

    @property
    def family(self) -> str:
        """The schema without its version."""
        return self.schema.rpartition("/")[0]


def write_head(folder: Path, kind: Kind, facts: Mapping[str, Any]) -> None:
    """Write the head; all other files of the folder are there already."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != kind.head
    }
    head = {"schema": kind.schema, "written_by": f"hwnas {version()}", **facts, "files": files}
    plain = json.loads(json.dumps(head, allow_nan=False))
    text = json.dumps({**plain, "digest": _digest(plain)}, indent=1) + "\n"
    partial = folder.parent / f".{folder.name}-{kind.head}.partial"
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / kind.head)
    finally:
        partial.unlink(missing_ok=True)


def read_head(folder: Path, kind: Kind) -> dict[str, Any]:
    """The facts that `write_head` was given, if the folder is as it was written.

    Raises:
        SchemaMismatch: it is none of this kind, of another version, or a file is missing, changed, or there in
            addition.
    """
    head = _parsed(folder, kind)
    schema = head.get("schema")
    if schema not in (kind.schema, *kind.also):
        by = kind.older.get(schema) if isinstance(schema, str) else None
        known = by is not None
        by = by or head.get("written_by")
        raise SchemaMismatch(
            f"{folder}/{kind.head} has schema {shown(schema)}{f', of {shown(by)}' if by else ''}; this "
            f"version reads {kind.schema!r}",
            hint=kind.hint(folder) if known else kind.remedy,
        )
    with understood(f"{folder} is not {kind.what}", kind.remedy):
        claimed, files = head.pop("digest"), head["files"]
        if not isinstance(files, dict):
            raise ValueError("files must be digests by name")
        if claimed != _digest(head):
            raise SchemaMismatch(
                f"{folder}/{kind.head} is not as it was written: its digest differs", hint=kind.hint(folder)
            )
        _require_files(folder, kind, files)
    return {name: value for name, value in head.items() if name not in _OWN}


def unsealed_facts(folder: Path, kind: Kind) -> dict[str, Any]:
    """The facts of a head that may have been changed since it was written, of this version or an older one.

    Raises:
        SchemaMismatch: it cannot be read, or is of another kind.
    """
    head = _parsed(folder, kind)
    if head["schema"] not in (kind.schema, *kind.also, *kind.older):
        raise SchemaMismatch(
            f"{folder}/{kind.head} has schema {shown(head.get('schema'))}; this version reads {kind.schema!r}",
            hint=kind.remedy,
        )
    return {name: value for name, value in head.items() if name not in _OWN}


def is_own(folder: Path, kind: Kind) -> bool:
    """Whether a folder holds what was written as this kind, and nothing beside it: then it may be replaced."""
    try:
        head = _parsed(folder, kind)
        names = {entry.name for entry in os.scandir(folder)} - {kind.head}
    except (InvalidData, OSError):
        return False
    of_kind = str(head.get("schema")).startswith(f"{kind.family}/")
    files = head.get("files")
    return of_kind and isinstance(files, dict) and names <= set(files)


def said(target: str | None, space: str | None) -> dict[str, str]:
    """Of which target and space a folder speaks, as facts; nothing where nobody said."""
    return {name: text for name, text in (("target", target), ("space", space)) if text is not None}


def heard(facts: Mapping[str, Any]) -> dict[str, str | None]:
    """What `said` wrote: `target` and `space`, each None where nobody said.

    Raises:
        ValueError: one is no text.
    """
    found = {name: facts.get(name) for name in ("target", "space")}
    for name, text in found.items():
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{name} must be a text, got {shown(text)}")
    return found


def schema_of(folder: Path, head: str) -> str | None:
    """The schema of a folder's head without its version; None if there is no such file, or it says none."""
    try:
        data = parse_json(read_bytes(folder / head, largest_bytes=_LARGEST_HEAD_BYTES), head)
    except (InvalidData, OSError):
        return None
    schema = data.get("schema") if isinstance(data, dict) else None
    return schema.rpartition("/")[0] if isinstance(schema, str) else None


@contextmanager
def understood(what: str, remedy: str) -> Iterator[None]:
    """Whatever the content of a file does to the code that reads it is one error.

    Raises:
        SchemaMismatch: `what`, and why.
    """
    try:
        yield
    except HwnasError as error:
        if isinstance(error, SchemaMismatch) and error.hint:
            raise  # it says all of this itself
        raise SchemaMismatch(f"{what}: {error.message}", hint=remedy) from error
    except KeyError as error:
        raise SchemaMismatch(f"{what}: {shown(error.args[0])} is missing", hint=remedy) from error
    # RuntimeError: nested too deep, or links in a circle
    except (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:
        raise SchemaMismatch(f"{what}: {str(error)[:300]}", hint=remedy) from error


def read_json(path: Path, schema: str, remedy: str, *, older: Collection[str] = ()) -> dict[str, Any]:
    """An object in JSON of a schema, or of older ones that can be read as well, without it.

    Raises:
        SchemaMismatch: it is missing, damaged, or of another schema.
    """
    with understood(f"cannot read {path}", remedy):
        data = parse_json(read_bytes(path), path.name)
        if not isinstance(data, dict):
            raise ValueError("it holds no object")
        found = data.pop("schema")
        if found != schema and found not in older:
            raise SchemaMismatch(f"{path} has schema {shown(found)}; this version reads {schema!r}", hint=remedy)
        return dict(data)


def read_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The tensors of a safetensors file by name, each of its own shape, and its metadata.

    Raises:
        ValueError: it is none.
        InvalidData: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = read_bytes(path, largest_bytes=_LARGEST_FILE_BYTES)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(f"{path.name} holds no tensors: {error}") from error
    size = int.from_bytes(content[:8], "little")
    return tensors, parse_json(content[8 : 8 + size], path.name).get("__metadata__", {})


def floats(tensors: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    """A tensor of finite floats, of its own shape.

    Raises:
        ValueError: it holds something else.
    """
    found = tensors[name]
    if found.dtype.kind != "f":
        raise ValueError(f"{name} holds {found.dtype}, not floats")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} holds values that are not finite")
    return found


def check_numbers(name: str, values: Sequence[Any] | None, count: int, *, least: float = -math.inf) -> None:
    """Refuse what is not so many finite numbers of at least `least`.

    Raises:
        ValueError: it is not.
    """
    numbers = [
        value
        for value in values or ()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= least
    ]
    if values is None or len(values) != count or len(numbers) != count:
        limit = "" if least == -math.inf else f" of at least {least:g}"
        raise ValueError(f"{name} must be {count} finite numbers{limit}, got {shown(values)}")


def _parsed(folder: Path, kind: Kind) -> dict[str, Any]:
    with understood(f"{folder} is not {kind.what}", kind.remedy):
        head = parse_json(read_bytes(folder / kind.head, largest_bytes=_LARGEST_HEAD_BYTES), kind.head)
        if not isinstance(head, dict):
            raise ValueError(f"{kind.head} is no object")
        if "schema" not in head:
            raise ValueError(f"{kind.head} has no schema")
        return head


def _digest(head: Mapping[str, Any]) -> str:
    """Of what the head says, however it is laid out."""
    text = json.dumps(head, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _require_files(folder: Path, kind: Kind, files: Mapping[str, Any]) -> None:
    home = folder.resolve()
    found = set()
    for entry in os.scandir(folder):
        found.add(entry.name)
        if entry.name not in files and entry.name != kind.head:
            raise SchemaMismatch(
                f"{folder} holds {entry.name!r}, which was not written with it", hint=f"Remove it. {kind.remedy}"
            )
        if entry.is_symlink() and (folder / entry.name).resolve().parent != home:
            raise SchemaMismatch(f"{folder}/{entry.name} is a link that leaves the folder", hint=kind.remedy)
    for name, claimed in files.items():
        if name not in found:
            raise SchemaMismatch(f"{str(name)[:100]!r} is missing in {folder}", hint=kind.remedy)
        content = read_bytes(folder / name, largest_bytes=_LARGEST_FILE_BYTES, hint=kind.remedy)
        if hashlib.sha256(content).hexdigest() != claimed:
            raise SchemaMismatch(
                f"{folder}/{name} is not the file that was written: its SHA-256 differs", hint=kind.hint(folder)
            )
