"""A benchmark: any number of workers, killed and resumed, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from device_profiles.errors import ConditionMismatch, InvalidData, UnknownName, UsageError
from nas import benchmark, benchmark_page

TOML = """
output = "out"
seeds = 2
evaluations = 30
checkpoints = [10, 20]

[[problem]]
kind = "zdt1"
genes = 4
options = 21

[[problem]]
kind = "dtlz2"
label = "three"
objectives = 3
genes = 5
options = 11

[[strategy]]
name = "random"

[[strategy]]
name = "nsga2"
label = "evolution"
settings = { population = 8 }
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "compare.toml"
    path.write_text(TOML)
    return path


def scores(cells):
    return [(cell.problem, cell.strategy, cell.seed, cell.scores) for cell in cells]


def test_workers_change_nothing_and_what_is_done_is_kept(file, tmp_path):
    plan = benchmark.read(file)
    assert plan.marks == (10, 20, 30) and list(plan.problems) == ["zdt1", "three"]
    told = []
    cells = benchmark.run(plan, workers=2, progress=lambda what, done, total: told.append((done, total)))
    assert len(cells) == 8 and told[0] == (0, 8) and told[-1] == (8, 8)
    assert {(cell.problem, cell.strategy, cell.seed) for cell in cells} == {
        (problem, strategy, seed)
        for problem in ("zdt1", "three")
        for strategy in ("random", "evolution")
        for seed in (0, 1)
    }
    results = tmp_path / "out" / "results.jsonl"
    before = results.read_bytes()
    told.clear()
    assert scores(benchmark.run(plan, progress=lambda what, done, total: told.append((done, total)))) == scores(cells)
    assert told == [(8, 8)] and results.read_bytes() == before
    results.write_bytes(b"\n".join(before.splitlines()[:3]) + b'\n{"version": 1, "prob')  # killed while it wrote
    again = benchmark.run(plan, workers=1)
    assert scores(again) == scores(cells)
    assert all(json.loads(line) for line in results.read_text().splitlines())
    page = benchmark_page.write(plan, cells, tmp_path / "page.html").read_text()
    assert "evolution" in page and "three" in page and "plotly" in page
    means = benchmark_page.means(plan, cells, "ratio")
    mine = [cell.scores[20]["ratio"] for cell in cells if (cell.problem, cell.strategy) == ("three", "evolution")]
    assert means["three"]["evolution"][1][0] == pytest.approx(sum(mine) / 2)


def test_a_killed_benchmark_goes_on(file, tmp_path):
    results = tmp_path / "out" / "results.jsonl"
    script = tmp_path / "run.py"
    script.write_text(
        "from pathlib import Path\nfrom nas import benchmark\nif __name__ == '__main__':\n"
        f"    benchmark.run(benchmark.read(Path({str(file)!r})), workers=1)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    for _ in range(600):
        if results.exists() and results.read_text().count("\n") >= 2:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = results.read_text().count("\n")
    assert kept >= 2
    whole = benchmark.run(benchmark.read(file))
    results.unlink()
    assert scores(benchmark.run(benchmark.read(file))) == scores(whole)


def test_another_plan_is_refused_with_the_difference(file):
    benchmark.run(benchmark.read(file))
    file.write_text(TOML.replace("population = 8", "population = 12"))
    with pytest.raises(ConditionMismatch, match=r"evolution on zdt1 .*strategy: .*'population': 8.*12"):
        benchmark.run(benchmark.read(file))
    file.write_text(TOML.replace("seeds = 2", "seeds = 3"))  # more seeds are no other plan
    assert len(benchmark.run(benchmark.read(file), workers=2)) == 12


@pytest.mark.parametrize(
    ("before", "after", "error", "words"),
    [
        ("seeds = 2", "seedz = 2", UnknownName, "Did you mean 'seeds'"),
        ("seeds = 2", "seeds = 0", UsageError, "at least 1"),
        ('kind = "zdt1"', 'kind = "zdt"', UnknownName, "zdt1"),
        ("genes = 4", "gene = 4", UnknownName, "Did you mean 'genes'"),
        ('name = "random"', 'name = "randon"', UnknownName, "Did you mean 'random'"),
        ('name = "random"', 'nam = "random"', UnknownName, "Did you mean 'name'"),
        ("population = 8", "population = 1", UsageError, "population"),
        ("population = 8", "pop = 8", UsageError, "pop"),
        ('label = "three"', 'label = "zdt1"', UsageError, "two problems"),
        ('label = "evolution"', 'label = "random"', UsageError, "one label"),
        ('output = "out"', "", UsageError, "no output"),
        ("seeds = 2", "seeds = ", InvalidData, "no TOML"),
        ("seeds = 2", 'plugins = ["no.such.module"]', UsageError, "plugin"),
    ],
)
def test_bad_files_say_what_is_wrong(file, before, after, error, words):
    assert before in TOML
    file.write_text(TOML.replace(before, after, 1))
    with pytest.raises(error) as caught:
        benchmark.read(file)
    assert words in f"{caught.value} {caught.value.hint}"


def test_a_missing_file_and_a_line_that_is_no_result(file, tmp_path):
    with pytest.raises(InvalidData, match="there is no"):
        benchmark.read(tmp_path / "none.toml")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text("hello\n")
    with pytest.raises(InvalidData, match="line 1 of"):
        benchmark.run(benchmark.read(file))
