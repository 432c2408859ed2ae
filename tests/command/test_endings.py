"""Every process ends with a documented code: 1 is an answer, and nothing else is 1."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_profiles import system_errors
from device_profiles.errors import DeviceError, HwnasError, InvalidData
from hwnas_cli.answer import InternalError, answers, end

ROOT = Path(__file__).resolve().parents[2]
HWNAS = [sys.executable, "-m", "hwnas"]


def run(line, *, shell="", environment=None, **more):
    """A command as a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    command = [*HWNAS, *line]
    if shell:
        command = ["bash", "-c", f'"$@" {shell}', "bash", *command]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120, **more)


@pytest.mark.parametrize(
    "line", [["devices", "list"], ["devices", "list", "--json"], ["--help"], ["devices", "nothing"]]
)
def test_a_closed_pipe_changes_no_exit_code(line):
    for shell in ("| head -c0; exit ${PIPESTATUS[0]}", "2>&1 | head -c0; exit ${PIPESTATUS[0]}", ">&-", ">&- 2>&-"):
        found = run(line, shell=shell)
        assert found.returncode == (2 if "nothing" in line else 0), shell
        assert "Traceback" not in found.stderr and "Exception ignored" not in found.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("line", [["devices", "list"], ["--version"], ["nothing", "--json"]])
def test_an_answer_that_cannot_be_written_is_the_machines_fault(line):
    found = run(line, shell=">/dev/full")
    assert found.returncode == 3
    assert "error: cannot write the answer: No space left on device" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict", "cp037"])
def test_any_encoding_of_the_streams_will_do(encoding, tmp_path):
    named = tmp_path / "ключ\u202e.toml"
    for line in (["devices", "show", str(named)], ["devices", "show", str(named), "--json"]):
        found = subprocess.run(
            [*HWNAS, *line],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert found.returncode == 4 and b"Traceback" not in found.stderr
        if "--json" in line:
            assert json.loads(found.stdout.decode(encoding.partition(":")[0]))["error"]["type"] == "InvalidData"


def test_a_name_that_is_no_text_is_refused_and_named():
    found = subprocess.run(
        [*HWNAS, "devices", "show", b"\xff\xfe", "--json"], cwd=ROOT, capture_output=True, check=False
    )
    error = json.loads(found.stdout)["error"]
    assert found.returncode == 2 and "udcff" in error["message"]


@pytest.mark.parametrize(
    "line",
    [
        ["profile", "fake", "--seed", "--json"],
        ["--json", "profile", "fake", "--samples", "two"],
        ["profile", "--json", "--nothing"],
        ["profile", "fake", "--json=1"],
        ["nothing", "--json"],
        ["devices", "--json"],
        ["devices", "show", "--json"],
        ["--json"],
        ["compare", "a", "b", "c", "--json"],
        ["fit", "fake", "-o", "--json"],
    ],
)
def test_options_that_cannot_be_read_are_one_object(hwnas, line):
    code, out, err = hwnas(*line)
    answer = json.loads(out)
    assert code == 2 and answer["error"]["type"] == "UsageError" and answer["error"]["message"]
    assert f"error: {answer['error']['message']}" in err and "hint:" in err


def test_help_and_version_are_answers(hwnas):
    assert json.loads(hwnas("--version", "--json")[1])["version"] in hwnas("--version")[1]
    assert "--samples" in json.loads(hwnas("profile", "--help", "--json")[1])["help"]
    assert hwnas("--version")[0] == hwnas("profile", "-h")[0] == 0


class Hooked:
    """A start that is slow at one place."""

    def __init__(self, folder, module):
        self.folder = folder
        (folder / "sitecustomize.py").write_text(
            "import sys, time\nclass Slow:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {module!r}:\n"
            "            print('here', file=sys.stderr, flush=True)\n"
            "            time.sleep(30)\n"
            "sys.meta_path.insert(0, Slow())\n"
        )

    def interrupted(self, line):
        env = {**os.environ, "PYTHONPATH": f"{self.folder}:{ROOT}"}
        process = subprocess.Popen(
            [*HWNAS, *line], env=env, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.mark.parametrize(
    "module", ["hwnas_cli.app", "typer", "device_profiles", "hwnas_cli.commands.search", "pydantic"]
)
def test_an_interrupt_of_the_start_ends_with_130(tmp_path, module):
    code, out, err = Hooked(tmp_path, module).interrupted(["devices", "list", "--json"])
    assert code == 130 and json.loads(out)["error"]["type"] == "Interrupted"
    assert "Traceback" not in err and "interrupted" in err


def test_interrupts_at_any_time_of_the_start(tmp_path):
    """Until Python itself is up the signal ends the process, which a shell calls 130, too."""
    line = [*HWNAS, "devices", "list", "--json"]
    # What counts covered branches begins before the first line of ours, and takes no interrupts.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    for delay_s in (0.05, 0.1, 0.2, 0.3, 0.45, 0.6):
        process = subprocess.Popen(line, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode == 1:  # Python itself was starting: its own modules were being read, and none of ours
            assert err.endswith("KeyboardInterrupt\n") and str(ROOT) not in err
            continue
        assert process.returncode in (0, 130, -signal.SIGINT)
        if process.returncode != -signal.SIGINT:
            assert json.loads(out)["schema"] == "hwnas.devices/1" and "Traceback" not in err


def test_an_interrupt_that_became_another_exception_is_one(tmp_path):
    (tmp_path / "swallows.py").write_text(
        "import os, signal, sys, time\n"
        "from hwnas_cli import interrupts\nfrom hwnas_cli.answer import answers, end\n"
        '@answers("x")\ndef command():\n'
        "    try:\n        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(20)\n"
        '    except BaseException:\n        raise ImportError("initialisation failed")\n'
        "interrupts.end_at_once()\ninterrupts.raise_from_here()\nsys.exit(end(command(), as_json=True))\n"
    )
    found = subprocess.run(
        [sys.executable, "swallows.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 130 and json.loads(found.stdout)["error"]["type"] == "Interrupted"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (OSError(28, "No space left on device", "x"), DeviceError, 3),
        (OSError(122, "Disk quota exceeded"), DeviceError, 3),
        (OSError(30, "Read-only file system", "x"), DeviceError, 3),
        (OSError(24, "Too many open files"), DeviceError, 3),
        (BrokenPipeError(32, "Broken pipe"), DeviceError, 3),
        (OSError(36, "File name too long", "x" * 300), InvalidData, 4),
        (NotADirectoryError(20, "Not a directory", "a/b"), InvalidData, 4),
        (PermissionError(13, "Permission denied", "a"), InvalidData, 4),
        (OSError("odd"), InvalidData, 4),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), InvalidData, 4),
        (MemoryError(), DeviceError, 3),
        (RecursionError(), InvalidData, 4),
        (KeyError("x"), InternalError, 3),
        (SystemExit(1), InternalError, 3),
        (HwnasError("x"), HwnasError, 3),
    ],
)
def test_whatever_a_command_raises_has_a_code_that_is_no_answer(capsys, error, kind, code):
    @answers("x")
    def command():
        raise error

    assert end(command(), as_json=True) == code
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["type"] == kind.__name__
    assert "error: " in shown.err and "Traceback" not in shown.err


def test_what_lies_in_the_cache_is_the_machines(monkeypatch, tmp_path):
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "c"))
    found = system_errors.of_system(PermissionError(13, "Permission denied", str(tmp_path / "c" / "locks")))
    assert isinstance(found, DeviceError) and "HWNAS_CACHE" in found.hint
    (tmp_path / "c").write_text("a file")
    line = ["profile", "fake", "--probes", "1", "--store", str(tmp_path / "a.db"), "--json"]
    shown = run(line, environment={"HWNAS_CACHE": str(tmp_path / "c")})
    assert shown.returncode == 3 and "HWNAS_CACHE" in json.loads(shown.stdout)["error"]["hint"]


def test_a_disk_that_is_full_for_a_page(tmp_path):
    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    shown = run(["devices", "detect", "-o", "d.toml", "--json"], cwd=tmp_path, preexec_fn=small_disk)
    assert shown.returncode == 3 and "d.toml" in json.loads(shown.stdout)["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_command_prints_is_no_answer(capsys):
    @answers("x")
    def command():
        from hwnas_cli.answer import Answer

        sys.stdout.write("a library talks")
        return Answer({"a": 1}, "text")

    assert end(command(), as_json=True) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"schema": "hwnas.x/1", "a": 1} and "a library talks" in shown.err


def test_names_do_not_move_the_cursor(hwnas):
    code, _, err = hwnas("devices", "show", "\x1b[2Jx\u202e.toml")
    assert code == 4 and "\x1b" not in err and "\u202e" not in err and "\\x1b[2Jx" in err
