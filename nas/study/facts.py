"""What the facts of a study may be: those that are read are checked, so that a damaged run is refused, not followed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from device_profiles.reading import shown
from nas.objectives import Constraint, Objective


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_result(plain: Any) -> bool:
    """Whether it is `{objective: [value, low, high]}`, maybe with a coverage behind; what is not known is None."""
    return isinstance(plain, dict) and all(
        isinstance(parts, list)
        and len(parts) in (3, 4)
        and all(part is None or is_number(part) for part in parts)
        and all(share is not None and 0.0 <= share <= 1.0 for share in parts[3:])
        for parts in plain.values()
    )


def is_finalist(facts: Any) -> bool:
    """Whether they are facts of an architecture that was chosen: those that are read are what they should be."""
    if not isinstance(facts, dict):
        return False
    measured, onnx = facts.get("measured"), facts.get("onnx")
    scores = [facts.get(name) for name in ("test_accuracy", "test_perplexity")]
    latency = measured.get("latency_ms") if isinstance(measured, dict) else None
    return (
        (measured is None or isinstance(measured, dict))
        and (latency is None or is_latency(latency))
        and (onnx is None or (isinstance(onnx, str) and not onnx.startswith("/") and ".." not in onnx.split("/")))
        and all(score is None or is_number(score) for score in scores)
        and isinstance(facts.get("model", ""), str)
        and isinstance(facts.get("test_right", {}), dict)
        and _are_ratios(facts.get("ratios", {}))
    )


def _are_ratios(plain: Any) -> bool:
    return isinstance(plain, dict) and all(
        isinstance(ends, list) and len(ends) == 3 and all(map(is_number, ends)) for ends in plain.values()
    )


def is_latency(plain: Any, *, whole: bool = False) -> bool:
    """Whether it is a measured latency; `whole`: with its interval."""
    if not isinstance(plain, dict) or not is_number(plain.get("value")):
        return False
    ends = [plain.get(name) for name in ("low", "high")]
    return all(is_number(end) or (end is None and not whole) for end in ends)


def _is_objective(plain: Any) -> bool:
    if not isinstance(plain, dict) or plain.keys() != {field.name for field in fields(Objective)}:
        return False
    texts = all(isinstance(plain[name], str) for name in ("name", "unit", "source", "spec"))
    return texts and isinstance(plain["maximise"], bool)


def _is_constraint(plain: Any) -> bool:
    if not isinstance(plain, dict) or plain.keys() != {field.name for field in fields(Constraint)}:
        return False
    return isinstance(plain["name"], str) and is_number(plain["bound"]) and isinstance(plain["upper"], bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_settings(value: Any) -> bool:
    return isinstance(value, dict) and _is_whole(value.get("replicates", 1))


def _list_of(check: Callable[[Any], bool], *, least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(check, value))


def _is_request(value: Any) -> bool:
    """Whether it says how much was asked for, and of which strategies."""
    return isinstance(value, dict) and _is_whole(value.get("evaluations")) and isinstance(value.get("strategies"), list)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """How what a run is about differs from what is asked for now, each in words.

    Args:
        known: facts of the run, see `nas.study.plan.facts`.
        wanted: those asked for.
    """
    found = [
        f"{key}: the run has {shown(known[key])}, asked is {shown(wanted[key])}"
        for key in ("version", "space", "seed", "data")
        if known.get(key) != wanted.get(key)
    ]
    before, now = (_named(facts) for facts in (known, wanted))
    found += [f"objective {name}: the run has it, it is not asked for" for name in before if name not in now]
    found += [f"objective {name}: it is asked for, the run does not have it" for name in now if name not in before]
    for name in (name for name in now if name in before):
        if before[name][0] != now[name][0]:
            found.append(f"objective {name}: the run has {before[name][0]['spec']}, asked is {now[name][0]['spec']}")
        elif before[name][1] != now[name][1]:
            found.append(f"objective {name}: what {now[name][0]['spec']} reads has changed since")
    if not found and [*before] != [*now]:
        found.append(f"objectives: the run has them in the order {', '.join(before)}")
    targets = [_target(facts.get("target")) for facts in (known, wanted)]
    if known.get("target") != wanted.get("target"):
        more = "" if targets[0] != targets[1] else ", with another profile"
        found.append(f"target: the run has {targets[0]}, asked is {targets[1]}{more}")
    old, new = known.get("settings") or {}, wanted.get("settings") or {}
    found += [
        f"setting {key}: the run has {_given(old, key)}, asked is {_given(new, key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    return found


def _named(facts: Mapping[str, Any]) -> dict[str, tuple[dict[str, Any], str]]:
    """Objectives by name, each with the digest of what it reads."""
    objectives, sources = facts.get("objectives") or [], facts.get("sources") or []
    return {
        one["name"]: (one, source) for one, source in zip(objectives, [*sources, *[""] * len(objectives)], strict=False)
    }


def _given(settings: Mapping[str, Any], key: str) -> str:
    return shown(settings[key]) if key in settings else "none"


def _target(plain: Any) -> str:
    return str(plain.get("name", "another")) if isinstance(plain, dict) else "none"


#: By the key of the fact.
CHECKS: dict[str, Callable[[Any], bool]] = {
    "space": lambda value: isinstance(value, str) and value != "",
    "objectives": _list_of(_is_objective),
    "constraints": _list_of(_is_constraint),
    "seed": _is_whole,
    "data": _is_text,
    "target": lambda value: value == "" or isinstance(value, dict),
    "settings": _are_settings,
    "store": _is_text,
    "asked": _list_of(_is_request),
    "reference": _list_of(is_number, least=1),
    "reference_rule": _is_whole,
}
