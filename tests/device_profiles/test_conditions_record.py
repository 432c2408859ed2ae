from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from device_profiles.conditions import Conditions, Cpu, Gpu
from device_profiles.errors import ConditionMismatch, SchemaMismatch

CPU = Cpu(
    machine="x86_64",
    cpu_flags="0123",
    cores=2,
    kernel="6.1",
    governor="performance",
    numpy="2.4.6",
    threads=1,
    affinity=(1,),
)
GPU = Gpu(driver="600.1", capability="9.0", host="A CPU", kernel="6.1", threads=1, affinity=(1,))
ONE = Conditions(
    device="A CPU",
    own=CPU,
    runtime="fake",
    runtime_version="fake 1",
    precision="fp32",
    optimisation="all",
    cache_state="network",
    options=(("noise", "0.01"),),
    batch=1,
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
COMMON = [field.name for field in fields(Conditions) if field.name != "own"]
OWN = [(own, field.name) for own in (CPU, GPU) for field in fields(own)]


def _differ(one: Conditions, changed: Conditions, name: str, mine: Any, others: Any) -> None:
    assert changed.id != one.id
    assert one.differences(changed) == {name: (mine, others)}
    with pytest.raises(ConditionMismatch) as caught:
        one.require_same(changed, what="a store")
    assert caught.value.expected == {name: mine}
    assert caught.value.got == {name: others}
    assert name in caught.value.message and "a store" in caught.value.message and name in caught.value.hint


@pytest.mark.parametrize("name", COMMON)
def test_every_common_fact_changes_the_id(name: str) -> None:
    changed = replace(ONE, **{name: OTHER.get(name, "other")})
    _differ(ONE, changed, name, getattr(ONE, name), getattr(changed, name))


@pytest.mark.parametrize(("own", "name"), OWN)
def test_every_fact_of_a_kind_changes_the_id(own: Cpu | Gpu, name: str) -> None:
    one = replace(ONE, own=own)
    changed = replace(one, own=replace(own, **{name: OTHER.get(name, "other")}))
    _differ(one, changed, name, getattr(own, name), getattr(changed.own, name))


def test_kinds_of_devices_differ() -> None:
    differences = ONE.differences(replace(ONE, own=GPU))
    assert differences["kind"] == ("cpu", "gpu") and differences["driver"] == (None, "600.1")


def test_conditions_of_a_cpu_are_those_of_older_stores() -> None:
    assert ONE.id == "0b7232034ea1f7df"
    assert set(ONE.to_plain()) == {*COMMON, *(field.name for field in fields(Cpu))}


def test_equal_facts_are_equal_conditions() -> None:
    again = replace(ONE)
    assert again == ONE and again.id == ONE.id
    assert len(ONE.id) == 16 and int(ONE.id, 16) >= 0
    assert ONE.differences(again) == {}
    ONE.require_same(again, what="a store")


def test_conditions_survive_json() -> None:
    for one in (ONE, replace(ONE, own=GPU)):
        assert Conditions.from_plain(json.loads(json.dumps(one.to_plain()))) == one


@pytest.mark.parametrize("name", [*COMMON, *(field.name for field in fields(Cpu))])
def test_a_missing_fact_is_refused(name: str) -> None:
    plain = ONE.to_plain()
    del plain[name]
    with pytest.raises(SchemaMismatch):
        Conditions.from_plain(plain)


@pytest.mark.parametrize("change", [{"weather": "fair"}, {"kind": "tpu"}, {"affinity": 3}, {"options": [["one"]]}])
def test_an_unknown_or_malformed_fact_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SchemaMismatch):
        Conditions.from_plain({**ONE.to_plain(), **change})
