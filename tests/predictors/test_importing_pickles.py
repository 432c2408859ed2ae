"""The restricted pickle reader: data come through as they were, and nothing of a file is ever run."""

import collections
import functools
import io
import os
import pickle
import pickletools
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.errors import InvalidData
from predictors.tables import RawFile, _pickle_reader
from predictors.tables._pickle_reader import read_pickle


def read(data):
    return read_pickle(RawFile(Path("t.pickle"), data, "", len(data)))


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch):
    """If a file's code ran after all, the test fails instead of the machine."""

    def ran(*arguments, **options):
        pytest.fail(f"code of the file was run with {arguments}")

    for module, name in ((os, "system"), (os, "popen")):
        monkeypatch.setattr(module, name, ran)


class Calls:
    """Pickles as a call of a function, with a state if one is given."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def refused(data, said):
    with pytest.raises(InvalidData) as caught:
        read(data)
    assert said in caught.value.message, caught.value.message
    assert "nothing of it was run" in caught.value.message and "Do not load" in caught.value.hint


# -- what comes through


PLAIN = {
    "list": [1, -2, 3.5, True, False, None, 2**80, -(2**40)],
    "text": "caf\u00e9",
    "bytes": b"\x00\xff",
    "nested": {"a": {"b": [1.0, {"c": ("x", "y")}]}},
    "empty": [[], {}, "", b""],
    5: "a number as a key",
}


def as_lists(value):
    if isinstance(value, dict):
        return {key: as_lists(part) for key, part in value.items()}
    return [as_lists(part) for part in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("protocol", range(6))
def test_data_come_back_with_tuples_as_lists(protocol):
    assert read(pickle.dumps(PLAIN, protocol)) == as_lists(PLAIN)


ARRAYS = [
    np.arange(6, dtype=np.int32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(4, dtype=">f4"),
    np.array([True, False]),
    np.array(["ab", "cde"]),
    np.array([b"ab", b"c"]),
    np.float16(1.5) * np.ones(3, dtype=np.float16),
    np.empty(0),
    np.array(7.0),
    np.arange(20.0)[::3],
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_come_back(array, protocol):
    found = read(pickle.dumps([array], protocol))[0]
    assert np.array_equal(found, array) and found.shape == array.shape
    assert found.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_scalars_become_numbers_under_both_names_of_numpy(protocol, core):
    scalars = [np.float64(1.5), np.float32(0.25), np.int64(-3), np.bool_(True), np.uint8(255)]
    data = pickle.dumps(scalars, min(protocol, 3))  # without frames, the name may change its length
    if core == b"numpy.core":
        data = data.replace(b"numpy._core", core)
    assert core in data
    found = read(data)
    assert found == [1.5, 0.25, -3, True, 255] and not any(isinstance(value, np.generic) for value in found)


def test_bytes_of_python_2_are_latin1():
    assert read(b"(dp0\nS'caf\\xe9'\np1\nI1\ns.") == {"caf\u00e9": 1}


def test_a_shared_list_is_shared_not_copied():
    shared = [1.0] * 10
    for _ in range(12):
        shared = [shared] * 100  # 10**25 numbers, if it were written out
    found = read(pickle.dumps(shared))
    assert len(found) == 100 and found[0] is found[99]


@settings(max_examples=100, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ),
    protocol=st.integers(0, 5),
)
def test_any_data_come_back(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


# -- what is refused


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("echo run",), "system"),
        (eval, ("1",), "eval"),
        (exec, ("1",), "exec"),
        (getattr, ("a", "b"), "getattr"),
        (functools.partial, (print, "run"), "functools.partial"),
        (__import__, ("os",), "__import__"),
        (open, ("/tmp/run", "w"), "open"),
        (np.load, ("x",), "numpy.load"),
        (np.frombuffer, (b"1", "u1"), "numpy"),
        (collections.OrderedDict, (), "OrderedDict"),
        (bytearray, (10,), "bytearray"),
        (set, ([],), "set"),
        (complex, (1, 2), "complex"),
    ],
)
def test_calls_are_refused_by_name(function, arguments, name, protocol):
    data = pickle.dumps({"a": [Calls(function, *arguments)]}, protocol)
    refused(data, "the global ")
    with pytest.raises(InvalidData, match=name):
        read(data)


def test_a_global_in_the_old_and_in_the_new_form():
    refused(b"cos\nsystem\n(S'echo run'\ntR.", "the global os.system")
    refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x08echo run\x85R.", "the global os.system")
    refused(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "the global builtins.eval")
    refused(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "the global numpy.ndarray.tofile")
    refused(b"\x80\x04K\x01\x8c\x06system\x93.", "damaged or no pickle (UnpicklingError)")


class Plain:
    """An instance of a class."""


@pytest.mark.parametrize("protocol", range(6))
def test_instances_are_refused(protocol):
    with pytest.raises(InvalidData, match="nothing of it was run"):
        read(pickle.dumps(Plain(), protocol))


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (b"(S'echo'\nios\nsystem\n.", "INST"),
        (b"(cnumpy\ndtype\nS'f8'\no.", "OBJ"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "NEWOBJ"),
        (b"\x80\x04cnumpy\ndtype\n)}\x92.", "NEWOBJ_EX"),
        (b"Pid\n.", "PERSID"),
        (b"\x80\x02K\x01Q.", "BINPERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x05C\x01a\x98.", "READONLY_BUFFER"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"\x80\x04(\x91.", "FROZENSET"),
        (b"]0.", "POP"),
        (b"]2.", "DUP"),
        (b"\xee.", "0xee"),
    ],
)
def test_opcodes_that_tables_do_not_need_are_refused(data, opcode):
    refused(data, f"opcode {opcode}, ")


def test_every_opcode_is_allowed_or_refused_by_name():
    known = {ord(opcode.code) for opcode in pickletools.opcodes}
    allowed = set(_pickle_reader._Reader.dispatch)
    assert allowed < known
    for code in known - allowed:
        refused(bytes([code]) + b"\x00" * 16, "opcode ")


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_objects_are_refused(protocol):
    refused(pickle.dumps(np.array([{}, []], dtype=object), protocol), "numpy array of type 'O")
    refused(pickle.dumps(np.array([Calls(eval, "1")], dtype=object), protocol), "type 'O")


@pytest.mark.parametrize("dtype", [[("a", "f8"), ("b", "O")], "V8", "M8[s]", "m8[s]", "c16", ("f8", (2,))], ids=str)
def test_other_types_of_numpy_are_refused(dtype):
    with pytest.raises(InvalidData, match="type"):
        read(pickle.dumps(np.dtype(dtype)))


def test_subclasses_of_arrays_are_refused():
    refused(pickle.dumps(np.zeros(1).view(np.recarray)), "the global numpy")
    reconstruct = np.zeros(1).__reduce__()[0]
    refused(pickle.dumps(Calls(reconstruct, np.recarray, (0,), b"b")), "the global")
    refused(pickle.dumps(Calls(reconstruct, np.dtype, (0,), b"b")), "a subclass of numpy.ndarray")
    refused(pickle.dumps(Calls(reconstruct, "x", (0,), b"b")), "a subclass of numpy.ndarray")
    refused(pickle.dumps(Calls(np.ndarray, (10**12,))), "may only be named")


def array_with(state):
    return pickle.dumps(Calls(np.zeros(1).__reduce__()[0], np.ndarray, (0,), b"b", state=state))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ((1, (10**12,), np.dtype("f8"), False, b"12345678"), "strange shape"),
        ((1, (1000, 1000), np.dtype("f8"), False, b"12345678"), "claims 8000000 bytes and has 8"),
        ((1, (2,), np.dtype("f8"), False, b"12345678"), "claims 16 bytes and has 8"),
        ((1, (-1,), np.dtype("f8"), False, b""), "strange shape"),
        ((1, (1.0,), np.dtype("f8"), False, b"12345678"), "strange shape"),
        ((1, (2**20, 0), np.dtype("f8"), False, b""), "strange shape"),
        ((1, (1,) * 60, np.dtype("f8"), False, b"12345678"), "strange shape"),
        ((1, [1], np.dtype("f8"), False, b"12345678"), "strange shape"),
        ((1, (1,), "f8", False, b"12345678"), "an array of objects"),
        ((1, (1,), np.dtype("f8"), False, ["x"]), "an array of objects"),
        ((1, (1,), np.dtype("f8")), "unknown form"),
        ({"a": 1}, "unknown form"),
    ],
)
def test_arrays_that_lie_are_refused(state, said):
    refused(array_with(state), said)


def test_an_array_without_content_is_refused():
    refused(pickle.dumps([Calls(np.zeros(1).__reduce__()[0], np.ndarray, (0,), b"b")]), "without content")


def test_nothing_can_be_set_on_what_stands_for_a_function():
    refused(b"cnumpy\ndtype\n(dS'_function'\nS'x'\nsb.", "an attempt to change a function")
    refused(b"cnumpy\ndtype\n.", "a StandIn where data should be")
    refused(b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR.", "a DType where data should be")
    refused(b"](dS'a'\nI1\nsb.", "a state for list")
    refused(b"](tR.", "a call of list")
    refused(b"cnumpy\ndtype\n]R.", "a call of _StandIn")


@pytest.mark.parametrize("count", [20, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [(b"]", b"a"), (b"", b"\x85"), (b"}K\x01", b"s")], ids=["lists", "tuples", "dicts"]
)
def test_deep_nesting_is_refused(count, opening, closing):
    start = time.monotonic()
    refused(b"\x80\x02" + opening * count + b"N" + closing * count + b".", "nested deeper than 16")
    assert time.monotonic() - start < 60
    assert sys.getrecursionlimit() < 100_000


def test_a_deep_tuple_as_a_key_is_refused_before_it_is_hashed():
    refused(b"\x80\x02}N" + b"\x85" * 200_000 + b"K\x01s.", "nested deeper")


def test_a_container_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    refused(pickle.dumps(loop), "contains itself")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",  # BINBYTES8
        b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"x.",  # BINUNICODE8
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",  # BYTEARRAY8
        b"\x80\x03B\xff\xff\xff\x7fx.",  # BINBYTES
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",  # LONG4
        b"\x80\x02\x8b\xff\xff\xff\xffx.",  # LONG4, negative
        b"I" + b"9" * 100_000 + b"\n.",
        b"L" + b"9" * 100_000 + b"L\n.",
    ],
)
def test_claims_of_size_allocate_nothing(data):
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(InvalidData, match="nothing of it was run"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_a_large_memo_index_makes_no_room():
    assert read(b"]r\xff\xff\xff\x7f.") == []


def test_a_large_frame_makes_no_room():
    assert read(b"\x80\x04\x95" + (2**50).to_bytes(8, "little") + b"N.") is None


def test_the_number_of_containers_is_bounded(monkeypatch):
    monkeypatch.setattr(_pickle_reader, "LIMIT_OBJECTS", 1000)
    refused(b"\x80\x02(" + b"]" * 2000 + b"l.", "more than 1000 containers")
    monkeypatch.setattr(_pickle_reader, "LIMIT_BYTES", 100)
    with pytest.raises(InvalidData, match="100 are allowed"):
        read(pickle.dumps("x" * 200))


def test_encoding_again_and_again_is_bounded():
    text = b"X" + (10_000).to_bytes(4, "little") + b"a" * 10_000 + b"q\x00"
    call = b"c_codecs\nencode\nq\x01"
    again = b"h\x01h\x00\x85R" * 100
    refused(b"\x80\x02(" + text + call + again + b"l.", "more bytes than the file has")
    refused(pickle.dumps(Calls(__import__("_codecs").encode, "x", "rot13")), "another encoding")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_is_cut_short_is_refused(protocol):
    data = pickle.dumps([PLAIN, *ARRAYS], protocol)
    assert len(read(data)) == 11
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(InvalidData, match="nothing of it was run"):
            read(data[:end])


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_noise_is_data_or_refused(noise, position, byte):
    whole = bytearray(pickle.dumps([np.arange(3.0), {"a": (1, "b")}], 2))
    whole[position % len(whole)] = byte
    for data in (noise, bytes(whole), bytes(whole) + noise):
        try:
            read(data)
        except InvalidData as error:
            assert "nothing of it was run" in error.message


def test_the_danger_is_real():
    """The same file, loaded as pickles usually are, runs: the tests above do test something."""
    found = []

    class Loader(pickle.Unpickler):
        def find_class(self, module, name):
            found.append((module, name))
            return print

    Loader(io.BytesIO(pickle.dumps(Calls(eval, "1")))).load()
    assert found == [("builtins", "eval")]
