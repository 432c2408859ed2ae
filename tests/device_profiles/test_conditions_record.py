from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from device_profiles.conditions import Conditions
from device_profiles.errors import ConditionMismatch, SchemaMismatch

ONE = Conditions(
    device="A CPU",
    machine="x86_64",
    cpu_flags="0123",
    cores=2,
    kernel="6.1",
    governor="performance",
    runtime="fake",
    runtime_version="fake 1",
    numpy="2.4.6",
    threads=1,
    affinity=(1,),
    precision="fp32",
    optimisation="all",
    batch=1,
    cache_state="network",
    options=(("noise", "0.01"),),
    protocol=1,
)
OTHER: dict[str, Any] = {
    "cores": 4,
    "threads": 2,
    "batch": 8,
    "protocol": 2,
    "affinity": (0, 1),
    "options": (("noise", "0.02"),),
}


@pytest.mark.parametrize("name", [field.name for field in fields(Conditions)])
def test_every_fact_changes_the_id(name: str) -> None:
    changed = replace(ONE, **{name: OTHER.get(name, "other")})
    assert changed.id != ONE.id
    assert ONE.differences(changed) == {name: (getattr(ONE, name), getattr(changed, name))}
    with pytest.raises(ConditionMismatch) as caught:
        ONE.require_same(changed, what="a store")
    assert caught.value.expected == {name: getattr(ONE, name)}
    assert caught.value.got == {name: getattr(changed, name)}
    assert name in caught.value.message and "a store" in caught.value.message and name in caught.value.hint


def test_equal_facts_are_equal_conditions() -> None:
    again = replace(ONE)
    assert again == ONE and again.id == ONE.id
    assert len(ONE.id) == 16 and int(ONE.id, 16) >= 0
    assert ONE.differences(again) == {}
    ONE.require_same(again, what="a store")


def test_conditions_survive_json() -> None:
    assert Conditions.from_plain(json.loads(json.dumps(ONE.to_plain()))) == ONE


@pytest.mark.parametrize("name", [field.name for field in fields(Conditions)])
def test_a_missing_fact_is_refused(name: str) -> None:
    plain = ONE.to_plain()
    del plain[name]
    with pytest.raises(SchemaMismatch):
        Conditions.from_plain(plain)


@pytest.mark.parametrize("change", [{"weather": "fair"}, {"affinity": 3}, {"options": [["one"]]}])
def test_an_unknown_or_malformed_fact_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SchemaMismatch):
        Conditions.from_plain({**ONE.to_plain(), **change})
