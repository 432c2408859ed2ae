"""Files of others: what is over the bounds is refused at once, what is within is read as it is."""

from __future__ import annotations

import json
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.errors import InvalidData
from device_profiles.reading import DEEPEST, MOST_KEYS, parse_json, parse_toml


@contextmanager
def at_once() -> Iterator[None]:
    """Within a second of computing, whatever else this machine does; ten where each line is counted."""
    start = time.process_time()
    yield
    assert time.process_time() - start < (1.0 if sys.gettrace() is None else 10.0)


JSON = {
    "lists": "[" * 100_000,
    "objects": '{"a":' * 100_000,
    "one too deep": "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
    "digits": "9" * 5000,
    "digits in a list": "[" + "1" * 65 + "]",
    "a key twice": "{" + ",".join(f'"k{i}":1' for i in range(100_000)) + ',"k99999":1}',
    "no text": b"\xff\xfe\x00",
    "cut short": '{"a": 1',
    "": "",
}


@pytest.mark.parametrize("name", JSON)
def test_json_over_the_bounds_is_refused_at_once(name: str) -> None:
    with at_once(), pytest.raises(InvalidData, match="as JSON"):
        parse_json(JSON[name], "a file")


def test_json_within_the_bounds_is_read() -> None:
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert parse_json(deep, "a file") == json.loads(deep)
    assert parse_json("9" * 64, "a file") == 10**64 - 1


TOML = {
    "dots": b"a" + b".a" * 20_000 + b" = 1",
    "dotted keys": b"".join(b"a.b.k%d = 1\n" % i for i in range(20_000)),
    "brackets": b"a = " + b"[" * 100_000,
    "braces": b"a = " + b"{a = " * 100_000,
    "tables": b"[[a]]\n" * (MOST_KEYS + 1),
    "digits": b"a = " + b"9" * 5000,
    "hexadecimal digits": b"a = 0x" + b"f" * 100_000,
    "65 bits": b"a = 9223372036854775808",
    "no number": b"a = nan",
    "no end": b"a = inf",
    "a date": b"a = 2026-11-28",
    "an open text": b'a = """' + b'\\"""' * 200_000,
    "another": b'a = "' + b'\\"' * 400_000,
    "size": b"#" * ((1 << 20) + 1),
    "a key twice": b"a = 1\na = 2",
    "no text": b"\xff",
    "a NUL": b"\0",
}


@pytest.mark.parametrize("name", TOML)
def test_toml_over_the_bounds_is_refused_at_once(name: str) -> None:
    with at_once(), pytest.raises(InvalidData, match="is not TOML"):
        parse_toml(TOML[name], "a file")


def test_brackets_and_dots_in_texts_and_comments_do_not_count() -> None:
    marks = "[{." * 1000
    text = f'a = \'{marks}\' # {marks}\n# {marks}\nb = """\n{marks}\n"""\nc = [\'{marks}\', "\\"{marks}"]\n'
    assert parse_toml(text.encode(), "a file") == tomllib.loads(text)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


def toml(value: Any) -> str:
    """The value inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if not isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@given(VALUES)
def test_whatever_a_file_says_is_read_as_it_is(value: Any) -> None:
    text = f"key = {toml(value)}\n"
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # DEL, which JSON leaves as it is
        return
    assert parse_toml(text.encode(), "a file") == expected
