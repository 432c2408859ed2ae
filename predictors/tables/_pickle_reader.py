"""Pickles of untrusted origin: containers, numbers, texts and plain numpy arrays, and nothing else.

A pickle is a program. This reader runs the part of the language that builds data: it keeps a list of allowed opcodes,
imports nothing (a global in the file is looked up in a fixed table of stand-ins that are written here), and calls
nothing but those stand-ins. numpy's own functions never see the file: arrays are made here from bytes whose length and
type were checked.
"""

from __future__ import annotations

import io

# The rules S301 and S403 of ruff (bandit's B301, B403) warn of pickle because loading one can run any code. Here no
# code of the file can run: no module is imported, `find_class` answers from a fixed table, and opcodes that make
# instances, follow persistent ids or extension codes, or take buffers from elsewhere are not in the dispatch table.
import pickle
import re
import struct
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import numpy as np

from device_profiles.errors import InvalidData
from predictors.tables.protocol import RawFile

#: Bytes of a pickle; HW-NAS-Bench has about 10 MB.
LIMIT_BYTES = 64 * 2**20

#: Containers and remembered objects; HW-NAS-Bench has about half a million.
LIMIT_OBJECTS = 5_000_000

#: Containers in containers; HW-NAS-Bench has four.
LIMIT_DEPTH = 16

_OPCODES = (
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2",
    "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT", "LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "DICT", "APPEND",
    "APPENDS", "SETITEM", "SETITEMS", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
)  # fmt: skip

_DTYPE = re.compile(r"^[<>|=]?(?:b1|[iu][1248]|f[248]|[SU]\d{1,4})$|^(?:bool|u?int(?:8|16|32|64)|float(?:16|32|64))$")

#: What reading a damaged or hostile pickle may raise; each means that the file is refused.
_FAILURES = (
    pickle.UnpicklingError, EOFError, KeyError, IndexError, AttributeError, TypeError, ValueError, OverflowError,
    MemoryError, RecursionError, ImportError, AssertionError, struct.error,
)  # fmt: skip


def read_pickle(file: RawFile) -> Any:
    """Dicts, lists, tuples, numbers, texts, bytes and numpy arrays; numpy's scalars come as Python's.

    Protocols 0 to 5, of Python 2 and 3, of numpy 1 and 2.

    Raises:
        InvalidData: it is no pickle, is damaged, or has anything else in it; nothing of it was run.
    """
    if len(file.data) > LIMIT_BYTES:
        raise InvalidData(
            f"{file.path} has {len(file.data)} bytes; {LIMIT_BYTES} are allowed for a pickle",
            hint="Cut the table down, or convert it to CSV.",
        )
    try:
        found = _Reader(file.data).load()
    except _Refused as refused:
        raise _error(file, refused.what) from refused
    except _FAILURES as error:
        # Texts of such errors may quote the file; the type says enough.
        raise _error(file, f"it is damaged or no pickle ({type(error).__name__})") from error
    return _checked(found, file)


class _Refused(Exception):
    """The file holds what is not allowed."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def _error(file: RawFile, what: str) -> InvalidData:
    return InvalidData(
        f"cannot read the pickle {file.path}: {what}; nothing of it was run",
        hint="Tables are dicts, lists, numbers, texts and numpy arrays. Do not load this file with pickle.load.",
    )


class _DType:
    """A numpy type as a pickle describes it; `BUILD` gives it its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = ""

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)):
            raise _Refused("a numpy type with fields or subarrays")
        order = _text(state[1])
        if order not in ("<", ">", "|", "="):
            raise _Refused("a numpy type of unknown byte order")
        self.order = order

    def make(self) -> np.dtype[Any]:
        """The type."""
        code = self.code
        return np.dtype(code if self.order in ("", "|") else self.order + code.lstrip("<>|="))


class _Array:
    """A numpy array to be filled by `BUILD`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) in (4, 5)):
            raise _Refused("an array in an unknown form")
        shape, dtype, fortran, data = state[-4:]
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


class _StandIn:
    """What a global in a pickle becomes: callable, and nothing can be set on it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any] | None) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        if self._function is None:
            raise _Refused("a call of a type that may only be named")
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        raise _Refused("an attempt to change a function")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _make_dtype(code: Any, align: Any = False, copy: Any = True) -> _DType:
    if not isinstance(code, (str, bytes)) or not _DTYPE.match(_text(code)):
        shown = _text(code)[:20] if isinstance(code, (str, bytes)) else type(code).__name__
        raise _Refused(f"a numpy array of type {shown!r}; numbers and texts are allowed")
    return _DType(_text(code))


def _make_scalar(dtype: Any, data: Any = b"") -> Any:
    made = _array(data, dtype, (), "C")
    return made.item()


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not NDARRAY:
        raise _Refused("an array of a subclass of numpy.ndarray")
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    return _array(data, dtype, shape, "F" if _text(order) == "F" else "C")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    """An array on top of the file's own bytes: nothing is allocated on the word of the file."""
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _DType) or not isinstance(raw, (bytes, bytearray)):
        raise _Refused("an array of objects")
    whole = isinstance(shape, tuple) and all(type(size) is int and 0 <= size <= LIMIT_BYTES for size in shape)
    # An empty array may claim any number of empty rows.
    if not whole or len(shape) > LIMIT_DEPTH or (0 in shape and len(shape) > 1):
        raise _Refused("an array with a strange shape")
    made = dtype.make()
    claimed = made.itemsize
    for size in shape:
        claimed *= size
    if claimed != len(raw):
        raise _Refused(f"an array that claims {claimed} bytes and has {len(raw)}")
    flat = np.frombuffer(bytes(raw), dtype=made) if claimed else np.empty(0, dtype=made)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise _Refused("a text in another encoding than latin1")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    """How protocols 0 to 2 write empty bytes."""
    if arguments:
        raise _Refused("a call of bytes")
    return b""


NDARRAY = _StandIn(None)

_GLOBALS: dict[tuple[str, str], _StandIn] = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): _StandIn(_make_dtype),
    ("_codecs", "encode"): _StandIn(_encode),
    ("__builtin__", "bytes"): _StandIn(_no_bytes),
    ("builtins", "bytes"): _StandIn(_no_bytes),
}
for _core in ("core", "_core"):  # numpy 1, numpy 2
    _GLOBALS[f"numpy.{_core}.multiarray", "_reconstruct"] = _StandIn(_reconstruct)
    _GLOBALS[f"numpy.{_core}.multiarray", "scalar"] = _StandIn(_make_scalar)
    _GLOBALS[f"numpy.{_core}.numeric", "_frombuffer"] = _StandIn(_from_buffer)

# The reader in Python rather than the one in C: its opcodes can be taken away one by one, and it allocates no more than
# the file has, while C's makes room for whatever index or length the file claims.
_BASE: Any = pickle._Unpickler  # type: ignore[attr-defined, unused-ignore]
_CODES: dict[int, str] = {
    code[0]: name for name, code in vars(pickle).items() if isinstance(code, bytes) and len(code) == 1
}


class _Dispatch(dict[int, Callable[[Any], None]]):
    """Opcodes that are allowed; others are refused by name."""

    def __missing__(self, code: int) -> NoReturn:
        raise _Refused(f"opcode {_CODES.get(code, hex(code))}, which tables do not need")


class _Reader(_BASE):  # type: ignore[misc]
    """A `pickle.Unpickler` that builds data alone."""

    dispatch: ClassVar[_Dispatch] = _Dispatch(
        {getattr(pickle, name)[0]: _BASE.dispatch[getattr(pickle, name)[0]] for name in _OPCODES}
    )

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), fix_imports=False, encoding="latin1")
        self._objects = 0
        self._encoded = 0
        self._budget = 4 * len(data) + 4096
        self._depths: dict[int, int] = {}

    def find_class(self, module: Any, name: Any) -> _StandIn:
        """A stand-in; nothing is imported."""
        found = _GLOBALS.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if found is None:
            raise _Refused(f"the global {str(module)[:60]}.{str(name)[:60]}")
        return found

    def count(self) -> None:
        """Bound how much a short file can ask for."""
        self._objects += 1
        if self._objects > LIMIT_OBJECTS:
            raise _Refused(f"more than {LIMIT_OBJECTS} containers")

    def check_depth(self) -> None:
        """Bound tuples in tuples while they are made: to hash a deep one would overflow the C stack."""
        made = self.stack[-1]
        depth = 1 + max((self._depths.get(id(part), 0) for part in made if type(part) is tuple), default=0)
        if depth > LIMIT_DEPTH:
            raise _Refused(f"containers nested deeper than {LIMIT_DEPTH}")
        self._depths[id(made)] = depth

    def reduce(self) -> None:
        """Call a stand-in with a tuple, and bound the bytes that calls make."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not _StandIn or type(arguments) is not tuple:
            raise _Refused(f"a call of {type(function).__name__}")
        made = function(*arguments)
        if isinstance(made, bytes):
            self._encoded += len(made)
            if self._encoded > self._budget:
                raise _Refused("more bytes than the file has")
        self.stack.append(made)

    def build(self) -> None:
        """Fill a type or an array; nothing else has a state."""
        state, made = self.stack.pop(), self.stack[-1]
        if type(made) not in (_DType, _Array, _StandIn):
            raise _Refused(f"a state for {type(made).__name__}")
        made.__setstate__(state)


def _then(name: str, after: Callable[[Any], None]) -> None:
    original = _Reader.dispatch[getattr(pickle, name)[0]]

    def load(reader: Any) -> None:
        original(reader)
        after(reader)

    _Reader.dispatch[getattr(pickle, name)[0]] = load


for _name in ("EMPTY_LIST", "EMPTY_DICT", "LIST", "DICT", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "MARK"):
    _then(_name, _Reader.count)
for _name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
    _then(_name, _Reader.count)
    _then(_name, _Reader.check_depth)
_Reader.dispatch[pickle.REDUCE[0]] = _Reader.reduce
_Reader.dispatch[pickle.BUILD[0]] = _Reader.build


def _checked(found: Any, file: RawFile) -> Any:
    """The same with arrays in place of what stood for them; depth and types are bounded."""
    # What is there once is copied once: a few lists that hold each other many times would have no end otherwise.
    done: dict[int, Any] = {}
    open_at: set[int] = set()

    def key_of(key: Any) -> Any:
        if not isinstance(key, (str, int, float, bytes)):
            raise _error(file, f"a key of type {type(key).__name__}")
        return _text(key) if isinstance(key, bytes) else key

    def walk(value: Any, depth: int) -> Any:
        if value is None or isinstance(value, (bool, int, float, str, bytes, bytearray, np.ndarray)):
            return value
        if isinstance(value, _Array):
            if value.value is None:
                raise _error(file, "an array without content")
            return value.value
        if not isinstance(value, (dict, list, tuple)):
            raise _error(file, f"a {type(value).__name__.lstrip('_')} where data should be")
        if depth > LIMIT_DEPTH:
            raise _error(file, f"containers nested deeper than {LIMIT_DEPTH}")
        if id(value) in open_at:
            raise _error(file, "a container that contains itself")
        if id(value) not in done:
            open_at.add(id(value))
            if isinstance(value, dict):
                done[id(value)] = {key_of(key): walk(part, depth + 1) for key, part in value.items()}
            else:
                done[id(value)] = [walk(part, depth + 1) for part in value]
            open_at.discard(id(value))
        return done[id(value)]

    return walk(found, 1)
