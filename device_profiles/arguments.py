"""Arguments of code that a name stands for, looked at before it is called: what it raises then is its own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from types import UnionType
from typing import Any, Union, get_args, get_origin

from device_profiles.errors import UsageError

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}


def check_arguments(
    what: str, make: Callable[..., Any], given: Sequence[Any], settings: Mapping[str, Any], *, hint: str = ""
) -> None:
    """Refuse arguments that a function or class does not take, by its signature and the types that it says.

    Types are looked at where they are numbers (finite ones), texts, truth values, None, or sequences of these. An
    argument of no type is of that of its default, if that is a number: 1 stands for whole ones, 1.0 for all.

    Example:
        >>> from device_profiles.arguments import check_arguments
        >>> check_arguments("rule", lambda size: size, (), {"size": 3})

    Args:
        what: what is called, for the message: `strategy 'nsga2'`.
        make: the function or class.
        given: positional arguments.
        settings: keyword arguments.
        hint: of the error.

    Raises:
        UsageError: one is missing, too many, or of another type.
    """
    try:
        signature = inspect.signature(make, eval_str=True)
    except Exception:  # annotations that only a type checker can resolve: they are code, which raises anything
        try:
            signature = inspect.signature(make)
        except ValueError:  # code without a signature
            return
    try:
        bound = signature.bind(*given, **settings)
    except TypeError as error:
        raise UsageError(f"{what}: {error}", hint=hint) from error
    for name, value in bound.arguments.items():
        annotation = _type_of(signature.parameters[name])
        if name in settings and not _fits(value, annotation):
            wanted = _WORDS.get(annotation, f"of type {annotation}")
            raise UsageError(f"{what}: {name} must be {wanted}, got {value!r}", hint=hint)


def _type_of(parameter: inspect.Parameter) -> Any:
    kind = type(parameter.default)
    return kind if parameter.annotation is inspect.Parameter.empty and kind in (int, float) else parameter.annotation


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of a type; True of types that are not looked at."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        if isinstance(value, str):
            return arguments[:1] == (str,)
        return isinstance(value, Collection) and all(_fits(one, arguments[0]) for one in value)
    if annotation is float:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if annotation is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if annotation in (str, bool):
        return isinstance(value, annotation)
    return value is None if annotation in (None, type(None)) else True
