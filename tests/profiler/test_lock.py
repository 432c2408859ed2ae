"""The lock of a device, in this process and in others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_profiles.errors import DeviceBusy, DeviceError
from device_profiles.profile import load
from profiler.lock import device_lock, device_of, lock_folder
from profiler.store import Store

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


def test_the_lock_is_that_of_the_device_whatever_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with device_lock("local"):
        monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
        with pytest.raises(DeviceBusy), device_lock("local"):
            raise AssertionError("held twice")
    assert not list(tmp_path.iterdir())


def test_locks_lie_in_a_place_that_does_not_depend_on_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWNAS_LOCKS")
    for name in ("HWNAS_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/elsewhere")
    assert lock_folder() == Path("/tmp/hwnas-locks")


def test_who_waits_goes_on_when_the_device_is_free(tmp_path: Path) -> None:
    with holder("local", tmp_path) as other:
        threading.Timer(0.3, other.kill).start()
        with device_lock("local", folder=tmp_path, wait=True):
            (path,) = tmp_path.iterdir()
            assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_lock_is_open_to_all_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    place = tmp_path / "locks"
    before = os.umask(umask)
    try:
        with device_lock("local", folder=place):
            (path,) = place.iterdir()
            assert path.stat().st_mode & 0o7777 == 0o666 and place.stat().st_mode & 0o7777 == 0o1777
    finally:
        os.umask(before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_two_users_share_a_lock(tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="hwnas-test-", dir="/tmp"))
    try:
        place.chmod(0o755)
        with device_lock("local", folder=place / "locks"):
            # The interpreter may lie where only root can read.
            code = HOLDER.replace("with", "import fcntl, os; os.umask(0o077); os.setgid(65534); os.setuid(65534)\nwith")
            command = [sys.executable, "-c", code, "local", str(place / "locks")]
            shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, input="")
            assert "DeviceBusy" in shown.stderr and str(os.getpid()) in shown.stderr
        shown = subprocess.run([*command[:3], "theirs", command[4]], capture_output=True, text=True, cwd=ROOT, input="")
        assert shown.stdout == "held\n", shown.stderr
        with device_lock("theirs", folder=place / "locks"):
            pass
    finally:
        shutil.rmtree(place)


def test_a_lock_follows_no_link(tmp_path: Path) -> None:
    with device_lock("local", folder=tmp_path / "locks"):
        (path,) = (tmp_path / "locks").iterdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path.unlink()
    path.symlink_to(victim)
    (tmp_path / "link").symlink_to(tmp_path / "locks")
    for folder in (tmp_path / "locks", tmp_path / "link"):
        with pytest.raises(DeviceError, match="cannot lock"), device_lock("local", folder=folder):
            raise AssertionError("followed")
    assert victim.read_text() == "mine"


def test_no_place_for_locks_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for folder in (tmp_path / "file", tmp_path / "file" / "locks", open_to_all, Path("/proc/none")):
        with pytest.raises(DeviceError) as caught, device_lock("local", folder=folder):
            raise AssertionError("held nothing")
        assert str(folder) in caught.value.message and "HWNAS_LOCKS" in caught.value.hint


def test_a_simulated_device_is_that_of_its_store_and_a_real_one_is_its_own(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as one, Store(tmp_path / "." / "a.db") as same, Store(tmp_path / "b.db") as other:
        fake, real = load("fake"), load("local-onnxruntime")
        assert device_of(fake, one) == device_of(fake, same) != device_of(fake, other)
        assert device_of(real, one) == device_of(real, other) == real.device_id
    with Store("sqlite://") as one, Store("sqlite://") as other:
        assert device_of(fake, one) != device_of(fake, other)
