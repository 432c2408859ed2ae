"""The one door where people's units come in and go out: `"40 ms"`, `"96 MiB"`, `"2 %"`, `"60s"`.

Inside the toolkit every quantity carries its unit in its name (`latency_ms`, `energy_mj`, `peak_bytes`), and durations
are integers of nanoseconds while they are sampled.
"""

from __future__ import annotations

import math
import re

from device_profiles.errors import UsageError

_NUMBER = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s]*)\s*$")

#: A year: nothing is measured for longer, and beyond lie numbers that no clock counts to.
LONGEST_S = 366 * 86400.0

#: Canonical unit of each quantity, and the factor that takes each accepted unit to it.
_FACTORS: dict[str, dict[str, float]] = {
    "ms": {"ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3, "ns": 1e-6, "min": 6e4},
    "mJ": {"mJ": 1.0, "J": 1e3, "uJ": 1e-3, "µJ": 1e-3, "Wh": 3.6e6},
    "bytes": {
        "B": 1.0, "bytes": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20,
        "GiB": 2.0**30,
    },
    "fraction": {"%": 1e-2},
}  # fmt: skip


def _split(text: str) -> tuple[float, str]:
    match = _NUMBER.match(text)
    if match is None:
        raise UsageError(
            f"cannot read {_cut(text)} as a number with a unit", hint="Write it like '40 ms', '96 MiB' or '2 %'."
        )
    value = float(match.group(1))
    if not math.isfinite(value):
        raise UsageError(f"{_cut(text)} is too large a number")
    return value, match.group(2)


def parse_quantity(text: str, unit: str) -> float:
    """Read a quantity and convert it to `unit`.

    Args:
        text: a number and a unit, such as `"40 ms"`; a number alone is already in `unit`.
        unit: the unit wanted: `ms`, `mJ`, `bytes` or `fraction`.

    Returns:
        The value in `unit`.

    Raises:
        UsageError: the text is no number, or its unit is not one of this quantity.
    """
    value, given = _split(text)
    factors = _FACTORS.get(unit, {})
    if given in ("", unit):
        return value
    if given not in factors:
        allowed = ", ".join(factors) or f"{unit!r} or a plain number"
        raise UsageError(f"{_cut(text)} is not in a unit of {unit}", hint=f"Allowed units: {allowed}.")
    converted = value * factors[given]
    if not math.isfinite(converted):
        raise UsageError(f"{_cut(text)} is too large a number")
    return converted


def _cut(text: str) -> str:
    """A text for a message; one of thousands of digits is no message."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def parse_duration_s(text: str) -> float:
    """A duration in seconds; a number alone is seconds.

    Raises:
        UsageError: the text is no duration, or is not above 0.
    """
    value, given = _split(text)
    seconds = value if given == "" else parse_quantity(text, "ms") / 1e3
    if not 0 < seconds <= LONGEST_S:
        raise UsageError(f"a duration must be above 0 and at most a year ({LONGEST_S:.0f} s), got {_cut(text)}")
    return seconds


def parse_fraction(text: str) -> float:
    """A fraction above 0: `"2%"` and `"0.02"` are the same.

    Raises:
        UsageError: the text is no fraction above 0.
    """
    value = parse_quantity(text, "fraction")
    if not 0 < value < math.inf:
        raise UsageError(f"a fraction must be above 0, got {_cut(text)}")
    return value


def format_quantity(value: float, unit: str) -> str:
    """A quantity for people, with three or four significant digits: `format_quantity(0.0123, "ms")` is `"12.3 us"`."""
    steps = {
        "ms": ((1e3, "s", 1e-3), (1.0, "ms", 1.0), (1e-3, "us", 1e3), (0.0, "ns", 1e6)),
        "mJ": ((1e3, "J", 1e-3), (1.0, "mJ", 1.0), (0.0, "uJ", 1e3)),
        "bytes": ((2.0**30, "GiB", 2.0**-30), (2.0**20, "MiB", 2.0**-20), (2.0**10, "KiB", 2.0**-10), (0.0, "B", 1.0)),
    }.get(unit)
    if steps is None:
        return f"{value:.4g} {unit}".strip()
    _, name, factor = next(step for step in steps if abs(value) >= step[0])
    scaled = value * factor
    return f"{scaled:.3g} {name}" if abs(scaled) < 999.5 else f"{scaled:.0f} {name}"
