"""What PyTorch's exporter makes anew for each export although it stays the same is made once here: half of its time.

All of it is private to torch. Where another version has no such name, an export takes as long as torch takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any


@contextlib.contextmanager
def quicker() -> Iterator[None]:
    """Exports inside are those of outside, and take less than half as long."""
    with contextlib.ExitStack() as stack:
        for part in (_registry, _decompositions, _composite, _annotations):
            with contextlib.suppress(ImportError, KeyError):
                stack.enter_context(part())
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """An attribute is another, made of it, until the end."""
    before = owner.__dict__[name]
    setattr(owner, name, make(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def _registry() -> Any:
    """The sources of its 500 operators."""
    from torch.onnx._internal.exporter import _registration

    def once(made: Any) -> Any:
        return classmethod(lambda cls, *args, **kwargs: _read(made.__func__, cls, args, tuple(sorted(kwargs.items()))))

    return _replaced(_registration.ONNXRegistry, "from_torchlib", once)


@lru_cache(maxsize=4)
def _read(make: Any, cls: Any, args: tuple[Any, ...], kwargs: tuple[tuple[str, Any], ...]) -> Any:
    return make(cls, *args, **dict(kwargs))


def _decompositions() -> Any:
    """Which of torch's operators are taken apart, and how."""
    from torch.onnx._internal.exporter import _decomp

    def once(made: Any) -> Any:
        return lambda operators: dict(_table(made, frozenset(operators), _registrations()))

    return _replaced(_decomp, "create_onnx_friendly_decomposition_table", once)


@lru_cache(maxsize=4)
def _table(make: Any, operators: frozenset[Any], _: int) -> Any:
    return make(set(operators))


@contextlib.contextmanager
def _composite() -> Iterator[None]:
    """Which of torch's operators are made of others."""
    from torch.export import decomp_utils, exported_program

    def once(made: Any) -> Any:
        return lambda: set(_operators(made, _registrations()))

    name = "_collect_all_valid_cia_ops"
    with _replaced(exported_program, name, once), _replaced(decomp_utils, name, once):
        yield


@lru_cache(maxsize=4)
def _operators(make: Any, _: int) -> Any:
    return frozenset(make())


def _registrations() -> int:
    """How many operators are made of others: a user's library may bring more at any time."""
    import torch

    return len(torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd"))


class _Anything:
    """Stands for a type in annotations that nobody reads: the exporter evaluates 6,000 of them in each export."""

    def __getitem__(self, _: Any) -> _Anything:
        return self


def _annotations() -> Any:
    """Types of functions that register operators."""
    import torch._ops

    return _replaced(torch._ops, "Callable", lambda _: _Anything())
