"""ETDump, the file of ExecuTorch's event tracer: a flatbuffer, read with Python's own `struct`.

ExecuTorch's reader imports its exporter and starts a process; on a device there is neither. The tables are those of
`executorch/devtools/etdump/etdump_schema_flatcc.fbs`, fields in their order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

#: Fields of `ETDump`, `RunData`, `Event` and `ProfileEvent` by their places in the schema.
_RUNS = 1
_RUN_NAME, _RUN_EVENTS = 0, 3
_PROFILE_EVENT = 0
_NAME, _INSTRUCTION, _DELEGATE_NAME, _START, _END = 0, 2, 4, 6, 7
#: A file with its own size in front.
_PREFIX = 4


@dataclass(frozen=True)
class Event:
    """Something that took time.

    Attributes:
        name: of the operator inside of a delegate, else what ExecuTorch calls it.
        instruction: of the program, by number.
        within: whether it ran inside of a delegate.
        ns: that it took.
    """

    name: str
    instruction: int
    within: bool
    ns: int


def read(content: bytes) -> list[tuple[Event, ...]]:
    """The events of each run, in order; loading is no run."""
    root = _PREFIX + _unsigned(content, _PREFIX)
    return [
        tuple(_event(content, event) for event in _vector(content, run, _RUN_EVENTS))
        for run in _vector(content, root, _RUNS)
        if _text(content, run, _RUN_NAME) == "Execute"
    ]


def _event(content: bytes, table: int) -> Event:
    """An event of a profile; others are not recorded without a debug buffer."""
    place = _field(content, table, _PROFILE_EVENT)
    if not place:
        return Event("", -1, False, 0)
    own = place + _unsigned(content, place)
    delegate_name = _text(content, own, _DELEGATE_NAME)
    spent = _number(content, own, _END, "<Q") - _number(content, own, _START, "<Q")
    instruction = _number(content, own, _INSTRUCTION, "<i", default=-1)
    return Event(delegate_name or _text(content, own, _NAME), instruction, bool(delegate_name), spent)


def _unsigned(content: bytes, place: int) -> int:
    (value,) = struct.unpack_from("<I", content, place)
    return int(value)


def _field(content: bytes, table: int, number: int) -> int:
    """Where a field of a table is; 0 if it is left out."""
    (back,) = struct.unpack_from("<i", content, table)
    directory = table - back
    (size,) = struct.unpack_from("<H", content, directory)
    entry = 4 + 2 * number
    if entry >= size:
        return 0
    (offset,) = struct.unpack_from("<H", content, directory + entry)
    return table + int(offset) if offset else 0


def _number(content: bytes, table: int, number: int, form: str, default: int = 0) -> int:
    place = _field(content, table, number)
    return int(struct.unpack_from(form, content, place)[0]) if place else default


def _text(content: bytes, table: int, number: int) -> str:
    place = _field(content, table, number)
    if not place:
        return ""
    start = place + _unsigned(content, place)
    return content[start + 4 : start + 4 + _unsigned(content, start)].decode()


def _vector(content: bytes, table: int, number: int) -> Iterator[int]:
    """Where the tables of a vector are."""
    place = _field(content, table, number)
    if place:
        start = place + _unsigned(content, place)
        for entry in range(start + 4, start + 4 + 4 * _unsigned(content, start), 4):
            yield entry + _unsigned(content, entry)
