"""Options are values of constructors: widths, kernels, anything that is a number or a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from device_profiles.errors import UsageError

Value = TypeVar("Value", int, float, str)
#: A module that chooses, and which of its parts is being built: of a choice its option, of a repeat its place.
Within = tuple[Any, str | int]


@dataclass
class Building:
    """One run of a factory.

    Attributes:
        given: values of options by name; of those that are not named, the first.
        seen: values of all options that were asked for.
        where: for each of them the parts inside of which it was asked for, each time.
        inside: the parts that are being built now, outermost first.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    seen: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    where: dict[str, list[tuple[Within, ...]]] = field(default_factory=dict)
    inside: tuple[Within, ...] = ()


_NOW: ContextVar[Building | None] = ContextVar("building", default=None)


def Option(name: str, values: Sequence[Value]) -> Value:
    """The value that the network which is being built has: one of `values`, a gene of its space.

    Call it in the factory. Outside of a space's making it is the first value, so that the factory makes a network by
    itself. One name may be asked for again, with the same values: it is one gene.

    Args:
        name: of the gene.
        values: distinct whole numbers, numbers or texts; numbers that ascend or descend are an order.

    Raises:
        UsageError: they are not, or the name has others already.
    """
    found = tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else ()
    wrong = [one for one in found if not _is_value(one)]
    if not found or wrong or len({str(one) for one in found}) < len(found):
        raise UsageError(
            f"option {name!r} needs distinct numbers or texts, got {wrong[0] if wrong else values!r}",
            hint="Of modules, make a nas.nn.Choice.",
        )
    building = _NOW.get()
    if building is None:
        return found[0]
    if building.seen.setdefault(name, found) != found:
        raise UsageError(
            f"option {name!r} has the values {found} and, elsewhere, {building.seen[name]}",
            hint="Give each option a name of its own, or the same values.",
        )
    building.where.setdefault(name, []).append(building.inside)
    value: Value = building.given.get(name, found[0])
    return value


def _is_value(one: Any) -> bool:
    if isinstance(one, float):
        return math.isfinite(one)
    return isinstance(one, (int, str)) and not isinstance(one, bool)


@contextmanager
def building(given: Mapping[str, Any]) -> Iterator[Building]:
    """A run of a factory in which options have these values."""
    now = Building(given)
    token = _NOW.set(now)
    try:
        yield now
    finally:
        _NOW.reset(token)


@contextmanager
def inside(owner: Any, part: str | int) -> Iterator[None]:
    """What is built in the block is a part of a choice or a repeat."""
    now = _NOW.get()
    if now is None:
        yield
        return
    before, now.inside = now.inside, (*now.inside, (owner, part))
    try:
        yield
    finally:
        now.inside = before
