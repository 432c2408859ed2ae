"""The agent as a child process: its lines, its end, and what it leaves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from device_profiles.errors import DeviceError, InvalidData
from profiler import transports
from profiler.transports.local import LocalTransport

LONG_S = 120.0
START = """
import json, os, subprocess, sys, time
from pathlib import Path

here = Path(__file__).parent

def say(*words):
    print(*words, flush=True)

"""


@pytest.fixture
def run(stand_in: Callable[[str], Path], tmp_path: Path) -> Callable[..., Iterator[str]]:
    """Runs an agent of the given source: `run(source, timeout_s)`."""
    folder = tmp_path / "job"
    folder.mkdir()

    def start(source: str, timeout_s: float = LONG_S, environment: dict[str, str] | None = None) -> Iterator[str]:
        transport = LocalTransport(root=stand_in(START + source))
        return transport.run(folder, environment or {}, lambda: timeout_s)

    return start


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"


def is_alive(pid: str | int) -> bool:
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def agents_folder(tmp_path: Path) -> Path:
    return tmp_path / "stand-in" / "profiler" / "agent"


def test_the_agent_gets_the_job_the_variables_and_no_input(run: Callable[..., Iterator[str]], tmp_path: Path) -> None:
    source = "say(json.dumps([sys.argv[1:], os.getcwd(), os.environ['SIZE'], os.environ['PATH'], sys.stdin.read()]))"
    (line,) = run(source, environment={"SIZE": "4"})
    arguments, folder, size, path, typed = json.loads(line)
    assert arguments == [str(tmp_path / "job" / "job.json")] and Path(folder) == tmp_path / "job"
    assert (size, path, typed) == ("4", os.environ["PATH"], "")
    assert list((tmp_path / "job").iterdir()) == [], "it leaves no files of its own"


def test_lines_come_as_they_are_written(run: Callable[..., Iterator[str]], tmp_path: Path) -> None:
    source = """
say("first")
while not (here / "go").exists():
    pass
say("second")
"""
    lines = run(source)
    assert next(lines) == "first\n"
    (agents_folder(tmp_path) / "go").write_text("")
    assert list(lines) == ["second\n"]


def test_what_it_says_on_standard_error_is_no_line(run: Callable[..., Iterator[str]]) -> None:
    source = """
sys.stderr.write("warning " * 200_000)
say("result")
"""
    assert list(run(source)) == ["result\n"], "and a lot of it does not block"


def test_a_failure_brings_its_code_and_the_end_of_standard_error(run: Callable[..., Iterator[str]]) -> None:
    source = """
say("result")
for number in range(9):
    print(f"line {number}", file=sys.stderr)
sys.exit(7)
"""
    lines = run(source)
    assert next(lines) == "result\n"
    with pytest.raises(DeviceError) as caught:
        next(lines)
    assert "code 7" in caught.value.message
    assert [f"line {number}" in caught.value.message for number in range(9)] == [False] * 4 + [True] * 5


def test_a_failure_without_a_word(run: Callable[..., Iterator[str]]) -> None:
    with pytest.raises(DeviceError, match="code 3: no message"):
        list(run("sys.exit(3)"))


def test_an_agent_that_is_killed(run: Callable[..., Iterator[str]]) -> None:
    with pytest.raises(DeviceError, match="code -9"):
        list(run("os.kill(os.getpid(), 9)"))


def test_an_agent_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "profiler").mkdir()
    (tmp_path / "profiler" / "__init__.py").write_text("")
    with pytest.raises(DeviceError, match=r"No module named profiler\.agent"):
        list(LocalTransport(root=tmp_path).run(tmp_path, {}, lambda: LONG_S))


CHILD = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
say(os.getpid(), child.pid)
"""


@pytest.mark.parametrize("then", ["time.sleep(3600)", ""], ids=["it-hangs", "its-child-holds-the-line"])
def test_the_time_out_ends_the_agent_and_what_it_started(run: Callable[..., Iterator[str]], then: str) -> None:
    lines = run(CHILD + then, timeout_s=2.0)
    agent, child = next(lines).split()
    with pytest.raises(DeviceError, match="silent for 2 s") as caught:
        next(lines)
    assert caught.value.hint
    wait_for(lambda: not is_alive(agent) and not is_alive(child))


def test_closing_ends_the_agent_and_what_it_started(run: Callable[..., Iterator[str]]) -> None:
    lines: Any = run(CHILD + "time.sleep(3600)")
    agent, child = next(lines).split()
    assert is_alive(agent) and is_alive(child)
    lines.close()
    assert not is_alive(agent)
    wait_for(lambda: not is_alive(child))


def test_bytes_that_are_no_text_are_a_line_or_an_error_of_the_device(run: Callable[..., Iterator[str]]) -> None:
    try:
        lines = list(run("sys.stdout.buffer.write(bytes([255, 254, 10]))"))
    except DeviceError:
        return
    assert len(lines) == 1


@pytest.mark.parametrize("name", ["root", "PYTHONPATH", "environment", ""])
def test_no_profile_chooses_the_code_that_runs(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"has no option .*; it has none") as caught:
        transports.load("local", "", {name: str(tmp_path)})
    assert "[access.options]" in caught.value.hint
