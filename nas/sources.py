"""What a function, a class or a constant says, as text and as a digest: equal texts do the same anywhere.

Code of the user is described by its source without comments, and what it reads by its values; code of libraries by its
name. A helper that a function calls is a part of it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

#: Hexadecimal digits of a digest.
DIGITS = 16
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice)
#: Of the toolkit and what it computes with; their names say enough.
_LIBRARIES = ("torch", "numpy", "nas", "profiler", "predictors", "device_profiles", *sys.stdlib_module_names)


def digest(*texts: str) -> str:
    """16 hexadecimal digits of texts."""
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode() + b"\0")
    return found.hexdigest()[:DIGITS]


def describe(thing: Any) -> str:
    """A function, a class, or a value, as text; objects of no such kind are what their class is called."""
    return _described(thing, set())


def _described(thing: Any, seen: set[int]) -> str:
    if isinstance(thing, _PLAIN):
        return repr(thing)
    if isinstance(thing, (list, tuple, set, frozenset, dict)):
        return _container(thing, seen)
    if _is_array(thing):
        return _array(thing)
    if type(thing).__module__ == "torch":  # a dtype, a device, a layout
        return repr(thing)
    if isinstance(thing, ModuleType):
        return f"import {thing.__name__}"
    if isinstance(thing, (partial, MethodType, staticmethod, classmethod, property)):
        return _wrapped(thing, seen)
    if isinstance(thing, FunctionType):
        return _once(thing, seen, _function)
    if isinstance(thing, type):
        return _once(thing, seen, _class)
    if is_dataclass(thing):
        return f"{_named(type(thing))}({_described([getattr(thing, one.name) for one in fields(thing)], seen)})"
    own = getattr(thing, "__qualname__", None)  # of what is written in C
    return f"{getattr(thing, '__module__', '')}.{own}" if isinstance(own, str) else _once(type(thing), seen, _class)


def _container(thing: Any, seen: set[int]) -> str:
    if id(thing) in seen:
        return "..."
    inner = {*seen, id(thing)}
    if isinstance(thing, dict):
        parts = [f"{_described(key, inner)}: {_described(value, inner)}" for key, value in thing.items()]
    else:
        parts = [_described(one, inner) for one in thing]
    kind = "set" if isinstance(thing, (set, frozenset)) else type(thing).__name__
    return f"{kind}({', '.join(sorted(parts) if kind == 'set' else parts)})"


def _wrapped(thing: Any, seen: set[int]) -> str:
    if isinstance(thing, partial):
        return f"partial({_described([thing.func, thing.args, thing.keywords], seen)})"
    if isinstance(thing, property):
        return f"property({_described([thing.fget, thing.fset], seen)})"
    if isinstance(thing, MethodType):
        return f"{_described(thing.__func__, seen)} of {_described(thing.__self__, seen)}"
    return _described(thing.__func__, seen)


def _once(thing: Any, seen: set[int], say: Any) -> str:
    """By its name where it is of a library, or was said before."""
    if id(thing) in seen or _is_of_library(thing):
        return _named(thing)
    seen.add(id(thing))
    return str(say(thing, seen))


def _named(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _is_of_library(thing: Any) -> bool:
    module = str(getattr(thing, "__module__", "") or "")
    if module.partition(".")[0] in _LIBRARIES:
        return module != "__main__"
    return "site-packages" in Path(getattr(sys.modules.get(module), "__file__", None) or "").parts


def _class(thing: type, seen: set[int]) -> str:
    said = [thing.__qualname__]
    for name, value in sorted(vars(thing).items()):
        if isinstance(value, (FunctionType, staticmethod, classmethod, property, *_PLAIN)) and name not in _UNSAID:
            said.append(f"{name} = {_described(value, seen)}")
    return f"class({'; '.join(said)}; {', '.join(_described(base, seen) for base in thing.__bases__)})"


#: Of a class, where it stands and what is said of it.
_UNSAID = (
    "__doc__",
    "__module__",
    "__qualname__",
    "__firstlineno__",
    "__static_attributes__",
    "__dict__",
    "__weakref__",
)


def _function(thing: FunctionType, seen: set[int]) -> str:
    cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
    read = {name: _content(cell) for name, cell in cells}
    read |= {name: thing.__globals__[name] for name in _names(thing.__code__) if name in thing.__globals__}
    around = "; ".join(f"{name} = {_described(value, seen)}" for name, value in sorted(read.items()))
    defaults = _described((thing.__defaults__, thing.__kwdefaults__), seen)
    return f"function({_source(thing)}; {defaults}; {around})"


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a function that is still being made
        return None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _source(thing: FunctionType) -> str:
    """Without comments and layout; of what has no source, what the interpreter runs."""
    try:
        text = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        return _compiled(thing.__code__)
    try:
        return ast.unparse(ast.parse(text))
    except SyntaxError:  # a lambda in the midst of a statement
        return text.strip()


def _compiled(code: CodeType) -> str:
    constants = [_compiled(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _is_array(thing: Any) -> bool:
    torch = sys.modules.get("torch")
    return isinstance(thing, (np.ndarray, np.generic)) or (torch is not None and isinstance(thing, torch.Tensor))


def _array(thing: Any) -> str:
    """Type, shape and content, of NumPy's and torch's alike."""
    try:
        content = thing.detach().cpu().contiguous().numpy() if hasattr(thing, "detach") else thing
        told = hashlib.sha256(bytes(content.tobytes())).hexdigest()[:DIGITS]
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):  # without content, or of an odd type
        told = ""
    return f"array({thing.dtype}, {tuple(thing.shape)}, {told})"
