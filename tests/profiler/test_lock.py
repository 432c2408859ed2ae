"""The lock of a device, in this process and in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_profiles.errors import DeviceBusy, DeviceError
from profiler.lock import device_lock

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from profiler.lock import device_lock
with device_lock(sys.argv[1], folder=Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(device: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a device until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, device, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_device_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with device_lock("local", folder=tmp_path / "deep" / "locks"):
            pass


def test_a_device_is_free_again_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"), device_lock("local", folder=tmp_path):
            raise RuntimeError("broken")


def test_the_same_device_is_refused_in_one_process_too(tmp_path: Path) -> None:
    with device_lock("local", folder=tmp_path):
        for _ in range(2):
            with pytest.raises(DeviceBusy), device_lock("local", folder=tmp_path):
                raise AssertionError("held twice")


def test_other_devices_are_free(tmp_path: Path) -> None:
    with device_lock("ssh:board-1", folder=tmp_path), device_lock("ssh:board-2", folder=tmp_path):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_busy_device_names_its_owner_and_for_how_long(tmp_path: Path) -> None:
    with holder("local", tmp_path) as other:
        with pytest.raises(DeviceBusy) as caught, device_lock("local", folder=tmp_path):
            raise AssertionError("held twice")
        error = caught.value
        assert f"'local' is being measured by process {other.pid}, for " in error.message
        assert error.message.endswith(" s") and "Wait" in error.hint
        assert isinstance(error, DeviceError) and error.exit_code == 3


def test_the_age_is_that_of_the_lock(tmp_path: Path) -> None:
    with device_lock("local", folder=tmp_path):
        (path,) = tmp_path.iterdir()
        path.write_text(json.dumps({"pid": 7, "since_s": time.time() - 3600}))
        with pytest.raises(DeviceBusy, match=r"process 7, for 36\d\d s"), device_lock("local", folder=tmp_path):
            raise AssertionError("held twice")


def test_an_owner_that_did_not_sign_is_another_process(tmp_path: Path) -> None:
    with device_lock("local", folder=tmp_path):
        (path,) = tmp_path.iterdir()
        for text in ("", "{", "{}", "[]"):
            path.write_text(text)
            with pytest.raises(DeviceBusy, match="by another process"), device_lock("local", folder=tmp_path):
                raise AssertionError("held twice")


def test_a_killed_owner_holds_nothing(tmp_path: Path) -> None:
    with holder("local", tmp_path) as other:
        other.kill()
        other.wait()
        with device_lock("local", folder=tmp_path):
            (path,) = tmp_path.iterdir()
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_refused_process_leaves_the_owner_its_signature(tmp_path: Path) -> None:
    with device_lock("local", folder=tmp_path):
        (path,) = tmp_path.iterdir()
        before = path.read_text()
        with pytest.raises(DeviceBusy), device_lock("local", folder=tmp_path):
            raise AssertionError("held twice")
        assert path.read_text() == before and json.loads(before)["pid"] == os.getpid()


def test_the_lock_lies_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    with device_lock("local"), pytest.raises(DeviceBusy), device_lock("local", folder=tmp_path / "locks"):
        raise AssertionError("held twice")
