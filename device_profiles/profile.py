"""A target: a device plus the way it runs models, as one TOML file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, ValidationInfo, field_validator

from device_profiles import outputs
from device_profiles.errors import InvalidData, UnknownName
from device_profiles.reading import LARGEST_TOML_BYTES, parse_toml, read_bytes, shown

Scalar = bool | int | FiniteFloat | str

#: What becomes part of a path (of a store, say) or is looked up in a registry: it cannot leave its folder.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]

#: Most targets that extend each other in a row.
_LONGEST_CHAIN = 8
_HINT = "Compare it with: hwnas devices show local-onnxruntime"

#: The first line of a file that `save` wrote; the digest of the rest follows.
_WRITTEN = "# Written by hwnas; sha256 of what follows: "


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fact(_Frozen):
    """A hardware fact and where it comes from."""

    value: Scalar
    source: str


class Access(_Frozen):
    """How a device is reached: the name of a transport, and what that transport needs.

    Attributes:
        transport: a registered one.
        address: of the device.
        fleet: addresses of equal devices that share its campaigns.
        options: of the transport.
    """

    transport: Name = "local"
    address: str = Field(default="", pattern=r"^([A-Za-z0-9_\[][^\s\x00-\x1f\x7f]*)?$", max_length=300)
    fleet: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_\[][^\s\x00-\x1f\x7f]*$", max_length=300)], ...] = ()
    options: dict[str, Scalar] = Field(default_factory=dict)

    @field_validator("fleet")
    @classmethod
    def _apart(cls, fleet: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Each device once, and none without an address."""
        address = info.data.get("address", "")
        if fleet and not address:
            raise ValueError("a fleet has an address of its first device, too")
        if len({address, *fleet}) <= len(fleet):
            raise ValueError("a fleet names each device once")
        return fleet


class RuntimeChoice(_Frozen):
    """What runs the models: a registered runtime and its settings."""

    name: Name
    threads: int = Field(default=1, ge=1, le=4096)
    precision: str = "fp32"
    optimisation: str = "all"
    options: dict[str, Scalar] = Field(default_factory=dict)


class Target(_Frozen):
    """A device plus the way it runs models.

    Attributes:
        name: how commands call it: letters, digits, and `.`, `_`, `-` after the first; at most 100.
        description: for people.
        access: how it is reached.
        runtime: what runs the models.
        batch: inputs in one inference.
        energy: a registered energy meter.
        hardware: facts, each with a source.
    """

    name: Name
    description: str = ""
    access: Access = Access()
    runtime: RuntimeChoice
    batch: int = Field(default=1, ge=1, le=2**31)
    energy: Name = "none"
    hardware: dict[str, Fact] = Field(default_factory=dict)

    @property
    def device_id(self) -> str:
        """The physical device, for the measuring lock: two targets on one device share it."""
        return f"{self.access.transport}:{self.access.address}" if self.access.address else self.access.transport

    def each_device(self) -> tuple[Target, ...]:
        """A target for each device of a fleet, of one device itself."""
        if not self.access.fleet:
            return (self,)
        addresses = (self.access.address, *self.access.fleet)
        apart = (self.access.model_copy(update={"address": one, "fleet": ()}) for one in addresses)
        return tuple(self.model_copy(update={"access": access}) for access in apart)


def names() -> tuple[str, ...]:
    """Targets that ship with the toolkit."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _shipped().iterdir() if entry.name.endswith(".toml"))
    )


def load(name_or_path: str | Path) -> Target:
    """A shipped target, or one from a TOML file.

    Args:
        name_or_path: a shipped name, or a path that ends in `.toml`. A file may say `extends = "NAME or PATH"`.

    Raises:
        UnknownName: no shipped target has that name.
        InvalidData: the file is missing, is no TOML, or breaks the profile's rules.
    """
    data, source = _merged(str(name_or_path), Path(), ())
    return _validated(data, source)


def as_target(target: Target | str | Path) -> Target:
    """A target, or what `load` makes of a name or a path.

    Raises:
        UnknownName: see `load`.
        InvalidData: likewise.
    """
    return target if isinstance(target, Target) else load(target)


def to_plain(target: Target) -> dict[str, Any]:
    """The target as JSON-ready data."""
    return target.model_dump(mode="json")


def from_plain(data: Mapping[str, Any]) -> Target:
    """Read what `to_plain` made.

    Raises:
        InvalidData: it breaks the profile's rules.
    """
    return _validated(dict(data), "profile")


def save(target: Target | str, path: str | Path) -> None:
    """Write a TOML file that `load` reads back as an equal target; one that nobody has edited since is replaced.

    Raises:
        UsageError: there is something else, or there can be no file.
    """
    text = to_toml(as_target(target))
    outputs.write(Path(path), _WRITTEN + hashlib.sha256(text.encode()).hexdigest() + "\n" + text, WRITTEN)


def _is_as_written(content: bytes) -> bool:
    """Whether a file is what `save` wrote: a profile is there to be edited, and what was edited is not replaced."""
    head, _, text = content.partition(b"\n")
    return head.decode(errors="replace") == _WRITTEN + hashlib.sha256(text).hexdigest()


#: A file that `save` wrote.
WRITTEN = outputs.FileKind("a target that hwnas wrote and nobody edited", _is_as_written)


def to_toml(target: Target) -> str:
    """The target as TOML text; defaults are left out."""
    import tomli_w

    return tomli_w.dumps(target.model_dump(exclude_defaults=True))


def _shipped() -> Any:
    return files("device_profiles") / "data"


def _merged(name: str, base: Path, seen: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    if name.endswith(".toml"):
        path = base / name
        content, source, folder = _content(path), str(path), path.parent
        this = str(path.resolve())
    else:
        if name not in names():
            raise UnknownName("target", name, names())
        content, source, folder = (_shipped() / f"{name}.toml").read_bytes(), name, base
        this = name
    if this in seen:
        raise InvalidData(
            f"targets extend each other in a circle: {' -> '.join((*seen, this))}", hint="Remove one 'extends'."
        )
    if len(seen) >= _LONGEST_CHAIN:
        raise InvalidData(
            f"more than {_LONGEST_CHAIN} targets extend each other: {seen[0]} ... {this}",
            hint="Write what is common into one file.",
        )
    data = parse_toml(content, source, hint=_HINT)
    parent = data.pop("extends", None)
    if parent is None:
        return data, source
    if not isinstance(parent, str):
        raise InvalidData(f"{source}: extends must be a text, got {shown(parent)}", hint=_HINT)
    merged, _ = _merged(parent, folder, (*seen, this))
    return _overlaid(merged, data), source


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, largest_bytes=LARGEST_TOML_BYTES, hint=_HINT)
    except InvalidData as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InvalidData(
                f"there is no target file {path}", hint="`hwnas devices list` shows the shipped targets."
            ) from error
        raise


def _overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        known = result.get(key)
        result[key] = _overlaid(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def _validated(data: dict[str, Any], source: str) -> Target:
    try:
        return Target.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part)[:100] for part in first["loc"]) or "the file"
        field = field if field.isprintable() else ascii(field)
        raise InvalidData(f"{source}: {field}: {first['msg']}, got {shown(first.get('input'))}", hint=_HINT) from (
            error
        )
