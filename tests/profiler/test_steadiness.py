"""What would disturb a campaign on a device: judged from what it said of itself."""

from pathlib import Path

import numpy as np
import pytest

from profiler import steadiness
from profiler.agent import checks

CALM = {
    "sentinel_ns": [100_000 + n % 7 for n in range(200)], "load": 0.1, "governor": "performance",
    "before_c": {"cpu 0": 45.0}, "after_c": {"cpu 0": 48.0}, "free_bytes": 50 << 30, "swapping": False, "cpus": 4,
    "runtime": "1.0",
}  # fmt: skip


def test_a_calm_device_has_nothing_to_mend():
    found = steadiness.judge(CALM)
    assert found.disturbances == () and found.slow_share == 0.0
    assert found.sentinel_ms == pytest.approx(0.1, rel=1e-3) and found.spread < 1e-3


@pytest.mark.parametrize(
    ("said", "what", "remedy"),
    [
        ({"missing": "not installed; pip"}, "cannot be used", "deploy"),
        ({"sentinel_ns": [100_000] * 70 + [130_000] * 30}, "slower state 30%", "stop other programs"),
        ({"load": 1.5}, "load 1.5", "stop them"),
        ({"governor": "powersave"}, "'powersave'", "cpupower"),
        ({"after_c": {"cpu 0": 85.0}}, "85 C", "cool_below_c"),
        ({"after_c": {"cpu 0": 60.0}}, "rose by 15 C", "cool_below_c"),
        ({"swapping": True}, "swaps", "memory"),
        ({"free_bytes": 1 << 20}, "0.0 GiB", "free some"),
    ],
)
def test_each_disturbance_has_its_remedy(said, what, remedy):
    found = steadiness.judge({**CALM, **said}).disturbances
    assert len(found) == 1 and what in found[0][0] and remedy in found[0][1]


def test_what_nobody_knows_disturbs_nothing():
    assert steadiness.judge({**CALM, "governor": "", "before_c": {}, "after_c": {}}).disturbances == ()


def test_thermal_zones_are_read_in_degrees(tmp_path: Path):
    zones = {"cpu-thermal": "48123\n", "gpu": "51\n", "broken": "x\n", "off": "-274000\n"}
    for number, (kind, temp) in enumerate(zones.items()):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(kind + "\n")
        (zone / "temp").write_text(temp)
    assert checks.temperatures_c(tmp_path) == {"cpu-thermal 0": 48.123, "gpu 1": 51.0}


def test_where_no_zone_may_be_read_the_battery_counts(tmp_path: Path, monkeypatch):
    said = tmp_path / "dumpsys"
    said.write_text("#!/bin/sh\necho '  level: 80'\necho '  temperature: 312'\n")
    said.chmod(0o755)
    monkeypatch.setattr(checks, "_DUMPSYS", str(said))
    assert checks.temperatures_c(tmp_path) == {"battery": 31.2}


def test_watching_says_all_that_is_judged():
    said = checks.watch(0.2, "onnxruntime")
    assert said.keys() == CALM.keys() and len(said["sentinel_ns"]) >= 5
    assert np.isfinite(steadiness.judge(said).sentinel_ms)
    assert "missing" in checks.watch(0.0, "executorch") or "runtime" in said
