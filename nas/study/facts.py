"""What the facts of a study may be: those that are read are checked, so that a damaged run is refused, not followed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from nas.objectives import Constraint, Objective


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_result(plain: Any) -> bool:
    """Whether it is `{objective: [value, low, high]}`; what is not known is None."""
    return isinstance(plain, dict) and all(
        isinstance(triple, list) and len(triple) == 3 and all(part is None or is_number(part) for part in triple)
        for triple in plain.values()
    )


def is_finalist(facts: Any) -> bool:
    """Whether they are facts of an architecture that was chosen: those that are read are what they should be."""
    if not isinstance(facts, dict):
        return False
    measured, onnx, accuracy = facts.get("measured"), facts.get("onnx"), facts.get("test_accuracy")
    latency = measured.get("latency_ms") if isinstance(measured, dict) else None
    return (
        (measured is None or isinstance(measured, dict))
        and (latency is None or is_latency(latency))
        and (onnx is None or (isinstance(onnx, str) and not onnx.startswith("/") and ".." not in onnx.split("/")))
        and (accuracy is None or is_number(accuracy))
        and isinstance(facts.get("model", ""), str)
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


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


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
    "reference": _list_of(is_number, least=1),
    "reference_rule": _is_whole,
}
