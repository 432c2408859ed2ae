"""YAML of untrusted origin, read from the stream of events: two levels of mappings with scalars, or a small tree.

No object is ever constructed from a tag and no alias is followed, so neither can do harm; PyYAML's safe loader is used
for its scanner and parser alone. Depth and number of events are bounded while they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from device_profiles.errors import DeviceError, InvalidData, InvalidTable
from predictors.tables.protocol import RawFile

#: Mappings in one another: keys, and their fields.
DEPTH = 2

#: A table of a million blocks has fewer.
LIMIT_EVENTS = 10_000_000

#: Mappings and lists in one another in a tree.
TREE_DEPTH = 12

#: What a tree is made of: texts, lists, and mappings.
Node = str | list["Node"] | dict[str, "Node"]


def read_mappings(file: RawFile) -> dict[str, dict[str, str]]:
    """A mapping of keys to mappings of fields to scalars, all as text.

    Raises:
        InvalidData: it is no YAML, has aliases or tags, or is nested deeper.
        InvalidTable: it has another form, or a key is there twice.
        DeviceError: PyYAML is missing.
    """
    with _parsed(file) as (events, yaml):
        return _assemble(_mappings(events, yaml, file), yaml, file)


def read_tree(file: RawFile) -> dict[str, Node]:
    """A mapping of texts to texts, lists and mappings, down to `TREE_DEPTH`; null and an empty scalar are "".

    Raises:
        InvalidData: it is no YAML, has aliases or tags, or is nested deeper.
        InvalidTable: it is no mapping, or a key is there twice or is no text.
        DeviceError: PyYAML is missing.
    """
    root: list[Node] = []
    # Of each container around: itself, and the key that waits for its value.
    around: list[tuple[list[Node] | dict[str, Node], list[str]]] = [(root, [])]

    def put(value: Node, where: str) -> None:
        container, waiting = around[-1]
        if isinstance(container, list):
            container.append(value)
        elif waiting:
            container[waiting.pop()] = value
        elif not isinstance(value, str):
            raise InvalidTable(f"{where}: a key that is no text", hint="Fetch the file again.")
        elif value in container:
            raise InvalidTable(f"{where}: {value[:80]!r} is there twice", hint="Keep one of the two.")
        else:
            waiting.append(value)

    with _parsed(file) as (events, yaml):
        for event, where in events:
            if isinstance(event, yaml.ScalarEvent):
                is_null = event.implicit[0] and event.value in ("null", "Null", "NULL", "~")
                put("" if is_null else str(event.value), where)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                if len(around) > TREE_DEPTH:
                    raise InvalidData(f"{where}: nested deeper than {TREE_DEPTH}", hint="Fetch the file again.")
                inner: list[Node] | dict[str, Node] = {} if isinstance(event, yaml.MappingStartEvent) else []
                put(inner, where)
                around.append((inner, []))
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                around.pop()
    if len(root) != 1 or not isinstance(root[0], dict):
        raise InvalidTable(f"{file.path} is no mapping", hint="Fetch the file again.")
    return root[0]


@contextmanager
def _parsed(file: RawFile) -> Iterator[tuple[Iterator[tuple[Any, str]], Any]]:
    """Events, each with the line that it is in, and PyYAML; what cannot be read is refused by name."""
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise DeviceError("PyYAML is missing", hint="pip install hwnas[yaml]") from error

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = file.text
    try:
        yield _safe(yaml.parse(text, Loader=loader), yaml, file), yaml
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())[:200]
        raise InvalidData(f"cannot read {file.path} as YAML: {said}", hint="Fetch the file again.") from error


def _safe(events: Any, yaml: Any, file: RawFile) -> Iterator[tuple[Any, str]]:
    """Events of which none is dangerous."""
    for number, event in enumerate(events):
        where = f"{file.path}, line {event.start_mark.line + 1}"
        if number > LIMIT_EVENTS:
            raise InvalidData(f"{file.path} has more than {LIMIT_EVENTS} parts", hint="Cut the table down.")
        if isinstance(event, yaml.AliasEvent):
            raise InvalidData(
                f"{where}: alias *{event.anchor}; tables have none",
                hint="Aliases can make a small file grow without bound, so they are not followed. Write values out.",
            )
        if getattr(event, "tag", None):
            raise InvalidData(f"{where}: tag {event.tag[:60]}; nothing is made of tags", hint="Remove the tag.")
        yield event, where


def _mappings(events: Iterator[tuple[Any, str]], yaml: Any, file: RawFile) -> Iterator[tuple[Any, int]]:
    """Scalars and starts of mappings with the number of mappings around each."""
    depth = 0
    for event, where in events:
        if isinstance(event, yaml.SequenceStartEvent):
            raise _other_form(file, event)
        if isinstance(event, yaml.MappingStartEvent) and depth == DEPTH:
            raise InvalidData(
                f"{where}: nested deeper than key and field",
                hint="A table maps each block's key to mean, var, count.",
            )
        if isinstance(event, yaml.ScalarEvent | yaml.MappingStartEvent):
            yield event, depth
        if isinstance(event, yaml.MappingStartEvent):
            depth += 1
        elif isinstance(event, yaml.MappingEndEvent):
            depth -= 1


def _assemble(events: Iterator[tuple[Any, int]], yaml: Any, file: RawFile) -> dict[str, dict[str, str]]:
    """Keys stand in one mapping, fields and values in two."""
    found: dict[str, dict[str, str]] = {}
    key, field = "", None
    open_key = False
    for event, depth in events:
        is_scalar = isinstance(event, yaml.ScalarEvent)
        if is_scalar and depth == 1 and not open_key:
            key, open_key = str(event.value), True
            if key in found:
                raise InvalidTable(f"{file.path} has {key[:80]!r} twice", hint="Keep one of the two.")
        elif not is_scalar and depth == 1 and open_key:
            found[key], open_key = {}, False
        elif is_scalar and depth == 2 and field is None:
            field = str(event.value)
            if field in found[key]:
                raise InvalidTable(f"{file.path}: {key[:80]!r} has {field!r} twice", hint="Keep one of the two.")
        elif is_scalar and depth == 2 and field is not None:
            found[key][field], field = str(event.value), None
        elif is_scalar or depth:
            raise _other_form(file, event)
    if not found:
        raise InvalidTable(f"{file.path} has no entries", hint="Give a file with values in it.")
    return found


def _other_form(file: RawFile, event: Any) -> InvalidTable:
    return InvalidTable(
        f"{file.path}, line {event.start_mark.line + 1}: not a mapping of keys to mappings of fields",
        hint="A table maps each block's key to mean, var, count.",
    )
