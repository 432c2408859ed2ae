from __future__ import annotations

from pathlib import Path

import pytest

import device_profiles.host as host
from device_profiles.facts import Unknown
from device_profiles.profile import Fact, Target, load, save

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu avx2 avx512f
bogomips\t:

processor\t: 1
model name\t: Another core
"""


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_facts_come_with_their_sources(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu/cpu0"
    root = lay(
        tmp_path,
        {
            "proc/cpuinfo": CPUINFO,
            f"{cpu}/cpufreq/scaling_governor": "performance\n",
            f"{cpu}/cpufreq/cpuinfo_max_freq": "3200000\n",
            f"{cpu}/cache/index0/size": "32K\n",
            f"{cpu}/cache/index3/size": "30M\n",
        },
    )
    facts = host.host_facts(root)
    assert facts["cpu_model"] == Fact(value="Some CPU @ 2.00GHz", source="/proc/cpuinfo")
    assert facts["cpu_flags"] == Fact(value="fpu avx2 avx512f", source="/proc/cpuinfo")
    governor = facts["governor"]
    assert isinstance(governor, Fact) and governor.value == "performance"
    assert governor.source == str(root / cpu / "cpufreq/scaling_governor")
    assert [getattr(facts[name], "value", None) for name in ("l1d_cache", "l2_cache", "l3_cache")] == [
        "32K",
        None,
        "30M",
    ]
    l2 = facts["l2_cache"]
    assert isinstance(l2, Unknown) and "index2" in l2.reason


def test_what_cannot_be_read_is_unknown_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.platform, "processor", lambda: "")
    facts = host.host_facts(tmp_path)
    for name in ("cpu_model", "cpu_flags", "governor", "max_frequency_khz", "l1d_cache", "l2_cache", "l3_cache"):
        found = facts[name]
        assert isinstance(found, Unknown), name
        assert found.reason
        assert str(found) == f"unknown: {found.reason}"
    assert "No such file" in facts["governor"].reason  # type: ignore[union-attr]
    assert isinstance(facts["cpus"], Fact) and int(facts["cpus"].value) >= 1


def test_an_arm_cpu_is_named_by_its_own_keys(tmp_path: Path) -> None:
    root = lay(tmp_path, {"proc/cpuinfo": "Features\t: fp asimd\nModel\t\t: Raspberry Pi 5\n"})
    facts = host.host_facts(root)
    assert facts["cpu_model"] == Fact(value="Raspberry Pi 5", source="/proc/cpuinfo")
    assert facts["cpu_flags"] == Fact(value="fp asimd", source="/proc/cpuinfo")


def test_this_machine_becomes_a_target_that_can_be_saved(tmp_path: Path) -> None:
    target = host.detect()
    assert target.runtime == load("local-onnxruntime").runtime
    assert all(fact.source for fact in target.hardware.values())
    save(target, tmp_path / "local.toml")
    assert load(tmp_path / "local.toml") == target


def test_a_machine_whose_cpu_has_no_name_becomes_a_target_too(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"cpu_model": Unknown("nobody says"), "cpus": Fact(value=4, source="a test")}
    monkeypatch.setattr(host, "host_facts", lambda: facts)
    target = host.detect()
    assert isinstance(target, Target)
    assert target.hardware == {"cpus": Fact(value=4, source="a test")}
