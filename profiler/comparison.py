"""Two sets of measurements side by side: a ratio, its interval, and a verdict; or why they cannot be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

from profiler.measurement import Latency, Measurement
from profiler.store import Store
from profiler.summary import measurements, reference_ns

FASTER, SLOWER, NO_CHANGE, NOT_COMPARABLE = "faster", "slower", "no change", "not comparable"


@dataclass(frozen=True)
class Comparison:
    """One model on one target, in two stores.

    Attributes:
        target: name of the target.
        key: the model's text form in its space, or its name.
        ratio: latency in the second store over that in the first, or None.
        low: lower end of the 95 % interval of the ratio, or None.
        high: upper end, or None.
        verdict: `faster` or `slower` (of the second, where the interval excludes 1), `no change`, or `not comparable`.
        reason: why it is not comparable; empty otherwise.
    """

    target: str
    key: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str
    reason: str = ""


def compare(first: Store, second: Store) -> list[Comparison]:
    """Compare every model of every target that either store has, in the order of the first.

    Numbers of different conditions are not compared: the reason says what differs.
    """
    rows: list[Comparison] = []
    for target in dict.fromkeys((*first.targets(), *second.targets())):
        reason = _refusal(first, second, target)
        against_ns = None if reason else _common_reference_ns(first, second, target)
        mine, others = _by_model(first, target, against_ns), _by_model(second, target, against_ns)
        for model in dict.fromkeys((*mine, *others)):
            known = mine.get(model) or others[model]
            key = known.arch or known.name
            if reason or model not in mine or model not in others:
                missing = "it was not measured in " + (second.url if model in mine else first.url)
                rows.append(Comparison(target, key, None, None, None, NOT_COMPARABLE, reason or missing))
            else:
                rows.append(_compared(target, key, mine[model].latency, others[model].latency))
    return rows


def _common_reference_ns(first: Store, second: Store, target: str) -> float | None:
    """One reference sentinel for both: their ratio is then free of what either knew of the device."""
    known = [reference_ns(store, store.require_conditions(target)) for store in (first, second)]
    return min((value for value in known if value is not None), default=None)


def _by_model(store: Store, target: str, against_ns: float | None) -> dict[str, Measurement]:
    conditions = store.conditions(target)
    if conditions is None:
        return {}
    return {one.model: one for one in measurements(store, conditions, against_ns=against_ns)}


def _refusal(first: Store, second: Store, target: str) -> str:
    mine, others = first.conditions(target), second.conditions(target)
    if mine is None or others is None:
        return f"target {target!r} was not measured in {first.url if mine is None else second.url}"
    differences = mine.differences(others)
    return "; ".join(f"{name}: {left!r} and {right!r}" for name, (left, right) in differences.items())


def _compared(target: str, key: str, first: Latency, second: Latency) -> Comparison:
    ratio = second.value_ms / first.value_ms
    # Each spread is that of a repeat, sqrt(2) times the error of the value itself.
    half = ratio * math.hypot(first.spread, second.spread) / math.sqrt(2.0)
    low, high = max(ratio - half, 0.0), ratio + half
    verdict = SLOWER if low > 1.0 else FASTER if high < 1.0 else NO_CHANGE
    return Comparison(target, key, ratio, low, high, verdict)
