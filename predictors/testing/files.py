"""What all conformance kits of this package ask: a rule with a message, and files that come back or are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from device_profiles.errors import SchemaMismatch

#: What a predictor's files may be.
_SUFFIXES = (".json", ".txt", ".safetensors")


def require(condition: object, rule: str, broken: str) -> None:
    """Raise the AssertionError that says which rule was broken and how."""
    if not condition:
        raise AssertionError(f"{rule}: {broken}")


def saved(save: Callable[[Path], None], place: Path, taken: Sequence[str]) -> Path:
    """The folder that `save` filled: with text and tensors alone, under names that are not `taken`."""
    folder = place / "saved"
    folder.mkdir()
    save(folder)
    files = sorted(folder.iterdir())
    require(files and sorted(place.iterdir()) == [folder], "save", "it must write its files into the folder")
    for file in files:
        require(
            file.suffix in _SUFFIXES and file.name not in taken,
            "save",
            f"{file.name} is none of {', '.join(_SUFFIXES)}, or a name that a predictor's folder has already",
        )
        require(
            not file.read_bytes().startswith((b"\x80", b"PK")),
            "save",
            f"{file.name} is a pickle or an archive: never loaded",
        )
    return folder


def check_damage(load: Callable[[Path], object], folder: Path) -> None:
    """Each file that is missing, damaged or of another schema is refused with SchemaMismatch."""
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        damaged: dict[str, bytes | None] = {"is missing": None, "is cut short": content[: len(content) // 2]}
        if file.suffix == ".json":
            data = json.loads(content)
            require(isinstance(data, dict) and "schema" in data, "save", f"{file.name} has no schema")
            damaged["is a list"] = b"[]"
            damaged["is of another schema"] = json.dumps({**data, "schema": "another/9"}).encode()
            damaged["has no content"] = json.dumps({"schema": data["schema"]}).encode()
        for how, replacement in damaged.items():
            file.unlink()
            if replacement is not None:
                file.write_bytes(replacement)
            rule = f"load: where {file.name} {how}, it must raise SchemaMismatch"
            try:
                load(folder)
            except SchemaMismatch:
                file.write_bytes(content)
                continue
            except Exception as error:
                raise AssertionError(f"{rule}, not {type(error).__name__}") from error
            raise AssertionError(rule)
