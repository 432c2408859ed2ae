from __future__ import annotations

from pathlib import Path

import pytest

from device_profiles import checks
from device_profiles.cache import cache_folder


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("HWNAS_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "hwnas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "hwnas"
    assert not (tmp_path / "xdg").exists()


def test_the_doctor_looks_at_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {check.name: check for check in checks.doctor()}
    assert {"python", "numpy", "onnxruntime", "pinning", "timer", "cache"} <= set(found)
    assert found["python"].ok and found["numpy"].ok
    assert all(check.detail for check in found.values())


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PACKAGES", ("no-such-package",))
    found = {check.name: check for check in checks.doctor()}["no-such-package"]
    assert not found.ok
    assert found.hint == "pip install no-such-package"


def test_a_disk_without_space_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LEAST_DISK_BYTES", 1 << 80)
    found = {check.name: check for check in checks.doctor()}["cache"]
    assert not found.ok
    assert "HWNAS_CACHE" in found.hint
