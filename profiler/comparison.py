"""Two sets of measurements side by side: a ratio, its interval, and a verdict; or why they cannot be compared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from device_profiles.errors import UnknownName
from profiler import deviations
from profiler.measurement import Deviation, Latency
from profiler.store import Store
from profiler.summary import Settled, reference_ns, settled

FASTER, SLOWER, NO_CHANGE, NOT_COMPARABLE = "faster", "slower", "no change", "not comparable"

#: What targets may differ in and be compared on purpose, with the conditions that go with it. Others are no choice of a
#: target but another machine or another way of measuring: the guard sentinel is then not the same work for both.
ACROSS: Mapping[str, tuple[str, ...]] = {
    "runtime": ("runtime", "runtime_version"),
    "threads": ("threads", "affinity"),
    "precision": ("precision",),
    "optimisation": ("optimisation",),
    "options": ("options",),
}

#: Runtimes whose clock is a counter: their times have nothing to do with those of a machine.
SIMULATED = ("fake", "replay")


@dataclass(frozen=True)
class Comparison:
    """One model under two sets of conditions.

    Attributes:
        first: name of the target that is compared with.
        second: name of the target that the verdict is of; the same name where two stores of one target are compared.
        key: the model's text form in its space, or its name.
        ratio: latency of the second over that of the first, or None.
        low: lower end of the 95 % interval of the ratio, or None.
        high: upper end, or None.
        verdict: `faster` or `slower` (of the second, where the interval excludes 1), `no change`, or `not comparable`.
        reason: why it is not comparable; empty otherwise.
        deviation: how far the second is from what ONNX defines, where it runs in fewer bits than fp32; or None.
    """

    first: str
    second: str
    key: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str
    reason: str = ""
    deviation: Deviation | None = None

    @property
    def target(self) -> str:
        """The target that the verdict is of."""
        return self.second


def compare(first: Store, second: Store, *, across: Sequence[str] = ()) -> list[Comparison]:
    """Compare every model of every target that either store has, in the order of the first.

    Numbers of different conditions are not compared: the reason says what differs.

    Args:
        first: the measurements to compare with.
        second: those that the verdicts are of.
        across: what targets may differ in, names of `ACROSS`. Then each target of the second store is compared with
            each of the first, or, where both are one store, all its other targets with its first.

    Raises:
        UnknownName: `across` has another name.
    """
    require_names(across)
    known = {**second.models(), **first.models()}
    rows: list[Comparison] = []
    for one, other in _pairs(first, second, on_purpose=bool(across)):
        mine, others = _Side(first, one), _Side(second, other)
        refusal = _refusal(mine, others, across)
        against_ns = None if refusal else _common_reference_ns(mine, others)
        left, right = mine.settled(against_ns), others.settled(against_ns)
        apart = others.deviations()
        for model in dict.fromkeys((*left.latencies, *right.latencies)):
            row = known[model]
            reason = refusal or mine.lack(left, model) or others.lack(right, model)
            key = row.arch or row.name
            if row.kernel is not None:
                continue
            if reason:
                rows.append(Comparison(one, other, key, None, None, None, NOT_COMPARABLE, reason))
            else:
                found = _compared(one, other, key, left.latencies[model], right.latencies[model])
                rows.append(replace(found, deviation=apart.get(model)))
    return rows


def require_names(across: Sequence[str]) -> None:
    """Refuse what targets cannot be compared across.

    Raises:
        UnknownName: a name is not in `ACROSS`.
    """
    for name in across:
        if name not in ACROSS:
            raise UnknownName("name for --across", name, ACROSS)


def fastest(rows: Sequence[Comparison]) -> dict[str, tuple[str, ...]]:
    """The targets that none is surely faster than, by model, the one with the lowest latency first.

    Args:
        rows: of `compare`, all with one target as their first; of others nothing can be told.
    """
    if len({row.first for row in rows}) != 1:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for key in dict.fromkeys(row.key for row in rows):
        # The interval of a ratio holds the doubt of both, so the first itself is known exactly.
        times = [(1.0, 1.0, 1.0, rows[0].first)]
        for row in rows:
            if row.key == key and row.ratio is not None and row.low is not None and row.high is not None:
                times.append((row.ratio, row.low, row.high, row.second))
        times.sort()
        if len(times) > 1:
            found[key] = tuple(name for _, low, _, name in times if low <= times[0][2])
    return found


class _Side:
    """A target in a store, which may not have it."""

    def __init__(self, store: Store, target: str) -> None:
        self.store = store
        self.target = target
        self.conditions = store.conditions(target)

    def settled(self, against_ns: float | None) -> Settled:
        """What is known of its models."""
        if self.conditions is None:
            return Settled({}, {}, None)
        return settled(self.store, self.conditions, against_ns=against_ns)

    def deviations(self) -> dict[str, Deviation]:
        """How far its models are from fp32, as far as that is known."""
        if self.conditions is None or not deviations.compared_in(self.conditions):
            return {}
        found = deviations.of_facts(self.store.process_facts(self.conditions))
        return {model: one for model, one in found.items() if isinstance(one, Deviation)}

    def lack(self, known: Settled, model: str) -> str:
        """Why there is no latency of a model, or nothing."""
        if model in known.latencies:
            return ""
        place = f"on target {self.target!r} in {self.store.url}"
        if model in known.failures:
            return f"it failed {place}: {known.failures[model][1]}"
        return f"it was not measured {place}"


def _pairs(first: Store, second: Store, *, on_purpose: bool) -> list[tuple[str, str]]:
    """Names of the targets to compare: of the first store, and of the second."""
    mine, others = first.targets(), second.targets()
    if not on_purpose:
        return [(name, name) for name in dict.fromkeys((*mine, *others))]
    if _same(first, second):
        return [(mine[0], name) for name in mine[1:]]
    return list(itertools.product(mine, others))


def _same(first: Store, second: Store) -> bool:
    if first is second or first.url == second.url:
        return True
    if "://" in first.url or "://" in second.url:
        return False
    return Path(first.url).samefile(second.url)


def _common_reference_ns(first: _Side, second: _Side) -> float | None:
    """One reference sentinel for both: their ratio is then free of what either knew of the device."""
    known = [reference_ns(side.store, side.conditions) for side in (first, second) if side.conditions is not None]
    return min((value for value in known if value is not None), default=None)


def _refusal(first: _Side, second: _Side, across: Sequence[str]) -> str:
    """Why nothing of two targets can be compared, and how it can; nothing if it can."""
    if first.conditions is None:
        return _absent(first, second)
    if second.conditions is None:
        return _absent(second, first)
    differences = first.conditions.differences(second.conditions)
    named = {fact for name in across for fact in ACROSS[name]}
    if differences.keys() <= named and not _is_made_up(differences):
        return ""
    return _told(differences, across)


def _absent(side: _Side, present: _Side) -> str:
    """A target that one store lacks; the other may well have measured the same models under another name."""
    reason = f"target {side.target!r} was not measured in {side.store.url}"
    assert present.conditions is not None, "one of the two has it"
    best: tuple[str, dict[str, tuple[Any, Any]]] | None = None
    for name in side.store.targets():
        differences = side.store.require_conditions(name).differences(present.conditions)
        if best is None or len(differences) < len(best[1]):
            best = name, differences
    if best is None:
        return reason
    return f"{reason}, which has {best[0]!r}: {_told(best[1], ())}"


def _told(differences: Mapping[str, tuple[Any, Any]], across: Sequence[str]) -> str:
    """What differs, and the option that would compare it all the same, if one would."""
    text = "; ".join(f"{name}: {left!r} and {right!r}" for name, (left, right) in differences.items())
    if _is_made_up(differences):
        return f"{text}; the times of a simulated runtime have nothing to do with those of a machine"
    needed = [name for name, facts in ACROSS.items() if name in across or differences.keys() & set(facts)]
    covered = {fact for name in needed for fact in ACROSS[name]}
    if not differences.keys() <= covered:
        return text
    flag = f"--across {','.join(needed or ['runtime'])} compares them"
    return f"{text}; {flag}" if text else f"under equal conditions; {flag}"


def _is_made_up(differences: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether one runtime of the two is simulated and the other is not."""
    return len({name in SIMULATED for name in differences.get("runtime", ())}) == 2


def _compared(one: str, other: str, key: str, first: Latency, second: Latency) -> Comparison:
    ratio = second.value_ms / first.value_ms
    # Each spread is that of a repeat, sqrt(2) times the error of the value itself.
    half = ratio * math.hypot(first.spread, second.spread) / math.sqrt(2.0)
    low, high = max(ratio - half, 0.0), ratio + half
    verdict = SLOWER if low > 1.0 else FASTER if high < 1.0 else NO_CHANGE
    return Comparison(one, other, key, ratio, low, high, verdict)
