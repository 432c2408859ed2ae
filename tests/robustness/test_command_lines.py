"""Random command lines keep what every command promises; see `benchmarks.robustness_lines`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import robustness_lines as fuzzer

ROOT = Path(__file__).resolve().parents[2]


def fuzzed(count, seed, cache):
    """Of a process of its own: lines are forked from it, and this one may have threads."""
    command = [sys.executable, "-m", "benchmarks.robustness_lines", "--count", str(count), "--seed", str(seed)]
    environment = {**os.environ, "HWNAS_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    # Tests share their machine: what hangs is over any limit.
    shown = subprocess.run(
        [*command, "--limit", "60"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert shown.stdout, shown.stderr
    return json.loads(shown.stdout)


def test_no_command_line_breaks_a_promise(cache):
    found = fuzzed(30, 0, cache)
    assert found["broken"] == []
    assert sum(found["codes"].values()) == 30 and {"0", "2", "4"} <= found["codes"].keys()


@pytest.mark.slow
def test_no_command_line_of_many_breaks_a_promise(cache):
    found = fuzzed(2000, 1, cache)
    assert found["broken"] == []


def test_lines_are_drawn_from_all_that_is_registered_and_from_the_seed_alone():
    drawn = fuzzer.lines(3000, 0)
    assert drawn[:200] == fuzzer.lines(200, 0) != fuzzer.lines(200, 1)
    words = {word.partition("=")[0] for line in drawn for word in line}
    from hwnas_cli.app import command

    for name, one in command().commands.items():
        for leaf in getattr(one, "commands", {name: one}).values():
            options = [option for option in leaf.params if option.param_type_name == "option"]
            assert all(words & set(option.opts) for option in options if option.name != "help"), name


@pytest.mark.parametrize(
    ("line", "code", "out", "err", "changed", "promise"),
    [
        (["fit"], None, "", "", [], "did not end"),
        (["fit"], 2, "", "Traceback (most recent call last)", [], "traceback"),
        (["fit"], 3, "", "error: a fault of hwnas: KeyError", [], "fault of the toolkit"),
        (["fit"], 120, "", "error: x", [], "exit code 120"),
        (["fit"], 1, "", "error: x", [], "cannot be no"),
        (["fit"], 4, "", "", [], "without an error"),
        (["fit", "--json"], 2, "", "error: x", [], "not one JSON object"),
        (["fit", "--json"], 0, "{}\n{}", "", [], "not one JSON object"),
        (["fit", "--json"], 0, "[]", "", [], "with a schema"),
        (["fit", "--json"], 4, '{"schema": "hwnas.fit/1"}', "error: x", [], "in the object"),
        (["fit"], 2, "text", "error: x", [], "on standard output"),
        (["fit"], 4, "", "error: x", ["p/card.json"], "it wrote p/card.json"),
        (["compare"], 1, "text", "", [], ""),
        (["fit"], 4, "", "error: x", [], ""),
        (["fit", "--json"], 0, '{"schema": "hwnas.fit/1"}', "", ["out"], ""),
    ],
)
def test_what_a_promise_is(line, code, out, err, changed, promise):
    found = fuzzer.promise_broken(line, code, out, err, changed)
    assert promise in found and bool(promise) == bool(found)
