"""What other programs use of a machine while it measures itself."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from profiler.neighbours import Since

_BUSY = "import time\nend = time.monotonic() + {s}\nwhile time.monotonic() < end: pass"


def test_what_this_program_and_its_children_use_is_no_neighbour(monkeypatch):
    """Whatever others of this machine do: their share is taken off by hand."""
    seen = []
    monkeypatch.setattr("profiler.neighbours._busy_s", lambda: seen[-1])
    seen.append(0.0)
    before = Since.now()
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", _BUSY.format(s=0.6)], check=True)  # a child that ended
    with subprocess.Popen([sys.executable, "-c", _BUSY.format(s=5)]) as child:  # and one that runs
        time.sleep(0.6)
        own = Since.now().own_s - before.own_s
        elapsed = time.monotonic() - start
        seen.append(own + 0.5 * elapsed)
        assert before.others_cpus() == pytest.approx(0.5, abs=0.15)
        seen.append(own * 0.5)
        assert before.others_cpus() == 0.0, "clocks of the system are coarse"
        child.kill()
    assert own > 0.5


def test_a_neighbour_is_seen():
    """A process of nobody's: its parent has ended, so it is no child of this one."""
    # -3 is subprocess.DEVNULL: who holds our pipes is waited for.
    command = f"[sys.executable, '-c', {_BUSY.format(s=20)!r}]"
    orphan = f"import subprocess, sys; print(subprocess.Popen({command}, stdout=-3, stderr=-3).pid)"
    before = Since.now()
    pid = int(subprocess.run([sys.executable, "-c", orphan], capture_output=True, text=True, check=True).stdout)
    neighbour = psutil.Process(pid)
    try:
        time.sleep(1.2)
        used = sum(neighbour.cpu_times()[:2])
        assert before.others_cpus() * (time.monotonic() - before.at_s) > 0.5 * used
    finally:
        neighbour.kill()


def test_less_than_a_second_tells_nothing():
    assert Since.now().others_cpus() is None
