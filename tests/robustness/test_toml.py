"""Target profiles and benchmark plans of others: what is no such file is refused by name, at once."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiles import profile
from device_profiles.errors import HwnasError
from device_profiles.profile import Target, from_plain, to_plain
from nas.benchmark import plan as benchmark_plan
from profiler import transports

PROFILE = """
extends = "fake"
name = "board"
description = "a board"
batch = 1
energy = "none"

[access]
transport = "local"
address = ""

[runtime]
name = "fake"
threads = 2

[runtime.options]
noise = 0.01
slow = 0.5

[hardware.ram]
value = 8
source = "a label"
"""

PLAN = """
output = "out"
seeds = 2
evaluations = 30
batch = 5
checkpoints = [10, 20]
plugins = []

[[problem]]
kind = "zdt1"
label = "front"
group = "convex"
genes = 4
options = 21

[[strategy]]
name = "random"
label = "chance"
known = true

[[strategy]]
name = "nsga2"
features = false
settings = { population = 8 }
"""

#: What stands in the place of a value, or between lines.
VALUES = (
    "-1", "0", "true", '""', "[]", "{}", "nan", "inf", "-inf", "1e999", "9" * 5000, "0x" + "f" * 5000, "2026-11-28",
    "9223372036854775807", "-9223372036854775808", "99999999999999999999", "1000000000", '"../../x"', '"/etc/passwd"',
    '"\\u0000"', '"a\\nb"', '"\\u001b[2J"', '"-x"', '"fake.toml"', '"' + "x" * 100_000 + '"', "[" * 5000, "{a=" * 5000,
    "[1, 2, 3]", '["os", "sys"]', "0.5", '"nan"', '"none"', "[[[[1]]]]", "{a = {b = {c = 1}}}",
)  # fmt: skip
LINES = (
    "a" + ".a" * 20_000 + " = 1",
    "\n".join(f"a.b.k{i} = {i}" for i in range(20_000)),
    "[access.options]\nroot = '/tmp'",
    "[runtime.options]\nnoise = nan",
    '"" = 1',
    "[[problem]]",
    "[[problem]]\nkind = 'dtlz2'\nobjectives = 1000000\ngenes = 1000000",
    "[[strategy]]\nname = 'nsga2'\nlabel = 'x'\nsettings = { seed = 3 }",
    "[[strategy]]\nname = 'nsga2'\nlabel = 'x'\nsettings = { population = 1000000000 }",
    "[x]",
    "'''",
    '"""',
    "\0",
    "# comment",
    "extends = 'nowhere.toml'",
    "extends = ['fake']",
    "= 3",
)


def mutated(text: str, rng: np.random.Generator) -> bytes:
    """The file with one to three things wrong."""
    for _ in range(int(rng.integers(1, 4))):
        lines = text.splitlines()
        at = int(rng.integers(len(lines)))
        way = int(rng.integers(6))
        if way == 0 and "=" in lines[at]:
            lines[at] = lines[at].partition("=")[0] + "= " + VALUES[int(rng.integers(len(VALUES)))]
        elif way == 1:
            lines.insert(at, LINES[int(rng.integers(len(LINES)))])
        elif way == 2:
            del lines[at]
        elif way == 3:
            lines.insert(at, lines[int(rng.integers(len(lines)))])
        elif way == 4 and lines[at]:
            place = int(rng.integers(len(lines[at])))
            lines[at] = lines[at][:place] + chr(int(rng.integers(0, 0x300))) + lines[at][place + 1 :]
        elif way == 5 and "=" in lines[at]:
            key, _, value = lines[at].partition("=")
            lines[at] = f"{key.strip()}x = {value}"
        text = "\n".join(lines) or "#"
    content = bytearray(text.encode())
    if rng.random() < 0.1:
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def read_profile(path: Path) -> None:
    """Read one, and hold what comes to what a profile may say."""
    target: Target = profile.load(path)
    for name in (target.name, target.runtime.name, target.access.transport, target.energy):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name), name
    assert from_plain(to_plain(target)) == target
    transports.load(target.access.transport, target.access.address, dict(target.access.options))
    assert "root" not in target.access.options


def read_plan(path: Path) -> None:
    """Read one, and hold what comes to what a plan may say."""
    plan = benchmark_plan.read(path)
    assert plan.problems and plan.strategies and plan.seeds >= 1 and plan.marks[-1] == plan.evaluations


def hold(text: str, read: Callable[[Path], None], seeds: range, place: Path) -> dict[str, int]:
    """Read one mutated file for each seed."""
    counts = {"refused": 0, "read": 0}
    for seed in seeds:
        path = place / f"f{seed}.toml"
        path.write_bytes(mutated(text, np.random.default_rng(seed)))
        start = time.process_time()
        try:
            read(path)
            counts["read"] += 1
        except HwnasError as error:
            assert error.exit_code in (2, 4) and error.message and len(error.message) < 2000, f"seed {seed}: {error!r}"
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        assert time.process_time() - start < 2.0, f"seed {seed}: not at once"
        strange = [found.name for found in place.iterdir() if not re.fullmatch(r"f\d+\.toml", found.name)]
        assert not strange, f"seed {seed}: it wrote {strange}"
    return counts


KINDS: dict[str, tuple[str, Callable[[Path], Any]]] = {"profile": (PROFILE, read_profile), "plan": (PLAN, read_plan)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_file_is_read(kind: str, tmp_path: Path) -> None:
    text, read = KINDS[kind]
    (tmp_path / "f.toml").write_text(text)
    read(tmp_path / "f.toml")


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_refused_by_name(kind: str, tmp_path: Path) -> None:
    text, read = KINDS[kind]
    counts = hold(text, read, range(100), tmp_path)
    assert min(counts.values()) >= 5, counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutated_files(kind: str, tmp_path: Path) -> None:
    text, read = KINDS[kind]
    counts = hold(text, read, range(10_000, 12_000), tmp_path)
    assert min(counts.values()) >= 100, counts


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    _, read = KINDS[kind]
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "huge.toml").touch()
    os.truncate(tmp_path / "huge.toml", 1 << 36)
    for name in ("pipe", "folder", "zero", "huge", "nowhere", "x" * 300):
        with pytest.raises(HwnasError) as caught:
            read(tmp_path / f"{name}.toml")
        assert caught.value.exit_code == 4
