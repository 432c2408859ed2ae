from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.errors import UsageError
from device_profiles.units import format_quantity, parse_duration_s, parse_fraction, parse_quantity


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("40 ms", "ms", 40.0),
        ("40", "ms", 40.0),
        ("1.5s", "ms", 1500.0),
        ("250us", "ms", 0.25),
        ("250 µs", "ms", 0.25),
        ("5e5 ns", "ms", 0.5),
        ("2 min", "ms", 120_000.0),
        ("3 J", "mJ", 3000.0),
        ("1 Wh", "mJ", 3.6e6),
        ("96 MiB", "bytes", 96 * 1024 * 1024),
        ("96 MB", "bytes", 96_000_000),
        ("2kB", "bytes", 2000),
        ("2 KiB", "bytes", 2048),
        ("2 %", "fraction", 0.02),
        (".5", "fraction", 0.5),
        ("  -3 ms ", "ms", -3.0),
        ("7", "widgets", 7.0),
    ],
)
def test_a_quantity_is_converted_to_the_unit_asked_for(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "ms", "fast", "1,5 ms", "1 2 ms", "nan", "inf", "1e999 ms", "--3", "2e ms", "1ms2"]
)
def test_text_that_is_no_number_with_a_unit_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_quantity(text, "ms")


def test_a_wrong_unit_names_those_that_are_allowed() -> None:
    with pytest.raises(UsageError) as caught:
        parse_quantity("40 MiB", "ms")
    assert "us" in caught.value.hint and "min" in caught.value.hint
    with pytest.raises(UsageError):
        parse_quantity("40 ms", "fraction")
    with pytest.raises(UsageError):
        parse_quantity("40 ms", "widgets")


@pytest.mark.parametrize(("text", "seconds"), [("60", 60.0), ("60s", 60.0), ("2 min", 120.0), ("250 ms", 0.25)])
def test_a_duration_is_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0", "-1", "0 ms", "-5 s", "5 MiB", "soon"])
def test_a_duration_must_be_above_zero(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration_s(text)


def test_a_fraction_and_its_percentage_are_equal() -> None:
    assert parse_fraction("2%") == parse_fraction("0.02") == pytest.approx(0.02)
    for text in ("0", "0 %", "-1%", "2 ms"):
        with pytest.raises(UsageError):
            parse_fraction(text)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "ms", "12.3 us"),
        (40.0, "ms", "40 ms"),
        (1500.0, "ms", "1.5 s"),
        (0.0, "ms", "0 ns"),
        (5e-4, "ms", "500 ns"),
        (0.25, "mJ", "250 uJ"),
        (2048.0, "mJ", "2.05 J"),
        (1023.0, "bytes", "1023 B"),
        (1024.0, "bytes", "1 KiB"),
        (96 * 2.0**20, "bytes", "96 MiB"),
        (-1500.0, "ms", "-1.5 s"),
        (12.0, "widgets", "12 widgets"),
        (12.0, "", "12"),
    ],
)
def test_a_quantity_is_shown_in_its_natural_unit(value: float, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text


@given(value=st.floats(min_value=1e-6, max_value=1e12, allow_nan=False), unit=st.sampled_from(["ms", "mJ", "bytes"]))
def test_what_is_shown_reads_back_within_its_digits(value: float, unit: str) -> None:
    text = format_quantity(value, unit)
    assert parse_quantity(text, unit) == pytest.approx(value, rel=5.1e-3, abs=1e-7)
    number = text.split()[0]
    assert "e" not in number or value < 1e-3 or value > 1e12, "three or four digits, no exponent"


@given(value=st.floats(min_value=-1e9, max_value=1e9, allow_nan=False), unit=st.sampled_from(["ms", "mJ", "bytes"]))
def test_a_number_in_the_canonical_unit_is_taken_as_it_is(value: float, unit: str) -> None:
    assert parse_quantity(f"{value!r} {unit}", unit) == value
    assert parse_quantity(repr(value), unit) == value
