"""A benchmark: any number of workers, killed and resumed, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from device_profiles.errors import ConditionMismatch, DeviceError, InvalidData, PluginError, UnknownName, UsageError
from nas import strategies
from nas.benchmark import page as benchmark_page
from nas.benchmark import run

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
    plan = run.read(file)
    assert plan.marks == (10, 20, 30) and list(plan.problems) == ["zdt1", "three"]
    told = []
    cells = run.run(plan, workers=2, progress=lambda what, done, total: told.append((done, total)))
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
    assert scores(run.run(plan, progress=lambda what, done, total: told.append((done, total)))) == scores(cells)
    assert told == [(8, 8)] and results.read_bytes() == before
    results.write_bytes(b"\n".join(before.splitlines()[:3]) + b'\n{"version": 1, "prob')  # killed while it wrote
    again = run.run(plan, workers=1)
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
        "from pathlib import Path\nfrom nas.benchmark import run as benchmark\nif __name__ == '__main__':\n"
        f"    benchmark.run(benchmark.read(Path({str(file)!r})), workers=1)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    for _ in range(600):
        if results.exists() and results.read_text().count("\n") >= 2:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = results.read_text().splitlines(keepends=True)
    finished = [line for line in kept if line.endswith("\n")]
    assert len(finished) >= 2
    whole = run.run(run.read(file))
    assert results.read_text().startswith("".join(finished)) and results.read_text().count("\n") == 8
    results.unlink()
    assert scores(run.run(run.read(file))) == scores(whole)


def test_another_plan_is_refused_with_the_difference(file):
    run.run(run.read(file))
    file.write_text(TOML.replace("population = 8", "population = 12"))
    with pytest.raises(ConditionMismatch, match=r"evolution on zdt1 .*strategy: .*'population': 8.*12"):
        run.run(run.read(file))
    file.write_text(TOML.replace("seeds = 2", "seeds = 3"))  # more seeds are no other plan
    assert len(run.run(run.read(file), workers=2)) == 12


def test_a_table_that_has_changed_is_another_plan_and_one_that_moved_is_not(tmp_path):
    def plan(folder, values):
        folder.mkdir(exist_ok=True)
        rows = "".join(f'"0,0,0,0,{i // 5},{i % 5}",{i},{value}\n' for i, value in enumerate(values))
        (folder / "t.csv").write_text("arch,a,b\n" + rows)
        (folder / "c.toml").write_text(
            f'output = "{tmp_path / "out"}"\nseeds = 1\nevaluations = 10\n'
            'problem = [{ kind = "table", file = "t.csv", search = ["a", "b"] }]\nstrategy = [{ name = "random" }]\n'
        )
        return run.read(folder / "c.toml")

    cells = run.run(plan(tmp_path / "first", range(20, 0, -1)))
    assert run.run(plan(tmp_path / "second", range(20, 0, -1))) == cells
    with pytest.raises(ConditionMismatch, match="content"):
        run.run(plan(tmp_path / "second", range(40, 20, -1)))


def test_problems_of_a_group_are_shown_as_one(file, tmp_path):
    file.write_text(
        TOML.replace('label = "three"', 'label = "three"\ngroup = "all"').replace('"zdt1"', '"zdt1"\ngroup = "all"')
    )
    plan = run.read(file)
    cells = run.run(plan)
    means = benchmark_page.means(plan, cells, "ratio")
    mine = [cell.scores[30]["ratio"] for cell in cells if cell.strategy == "random"]
    assert list(means) == ["all"] and len(mine) == 4
    mean, error = means["all"]["random"][-1]
    assert mean == pytest.approx(np.mean(mine)) and error == pytest.approx(np.std(mine, ddof=1) / 2)
    page = benchmark_page.write(plan, cells, tmp_path / "page.html").read_text()
    assert f"{mean:.4f} ± {error:.4f}" in page and "2 problems (zdt1, three)" in page and "IGD+ @30" in page
    file.write_text(TOML)
    assert run.run(run.read(file)) == cells  # how they are shown is no other plan


PLUGIN = """
import os
import numpy as np
from nas.strategies import REGISTRY

class First:
    def __init__(self, problem, *, seed, ends=False):
        self.choices, self.ends, self.asked = problem.choices, ends, 0

    def ask(self, n):
        if self.ends:
            os._exit(7)
        n = min(n, 15 - self.asked)
        self.asked += n
        return np.zeros((n, len(self.choices)), dtype=np.int64)

    def tell(self, archs, costs):
        assert os.environ["OMP_NUM_THREADS"] == "1"

REGISTRY.register("first", First)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "my_searches.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    yield
    strategies.REGISTRY._registered.pop("first", None)
    sys.modules.pop("my_searches", None)


def test_a_plugin_brings_a_strategy_that_may_run_out(file, plugin):
    file.write_text(
        TOML.replace("[[problem]]", 'plugins = ["my_searches"]\n[[problem]]', 1).replace('"random"', '"first"')
    )
    cells = run.run(run.read(file), workers=2)
    mine = [cell for cell in cells if cell.strategy == "first"]
    assert len(mine) == 4
    for cell in mine:  # 15 were asked for: what it had then stands for the rest
        assert list(cell.scores) == [10, 20, 30] and cell.scores[20] == cell.scores[30]
        assert cell.scores[30]["distinct"] == 1


def test_a_plugin_that_asks_for_what_is_not_in_the_space_is_named(file, plugin, tmp_path):
    broken = (tmp_path / "my_searches.py").read_text().replace("np.zeros(", "-1 + np.zeros(")
    (tmp_path / "my_searches.py").write_text(broken)
    text = TOML.replace("[[problem]]", 'plugins = ["my_searches"]\n[[problem]]', 1)
    file.write_text(text.replace('"random"', '"first"'))
    with pytest.raises(PluginError, match=r"strategy 'first' failed when it was asked for .* outside of the space"):
        run.run(run.read(file))


def test_a_worker_that_ends_is_said_and_what_is_finished_is_kept(file, plugin, tmp_path):
    text = TOML.replace("[[problem]]", 'plugins = ["my_searches"]\n[[problem]]', 1)
    file.write_text(text + '[[strategy]]\nname = "first"\nsettings = { ends = true }\n')
    with pytest.raises(DeviceError, match="a process ended before") as caught:
        run.run(run.read(file))
    assert "kept" in caught.value.hint
    kept = (tmp_path / "out" / "results.jsonl").read_text()
    assert kept.count("\n") == 2 and "first" not in kept


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
        ("seeds = 2", "seeds = ", InvalidData, "not TOML"),
        ("seeds = 2", 'plugins = ["no.such.module"]', UsageError, "plugin"),
        ("seeds = 2", 'plugins = "os"', UsageError, "a list"),
        ("[10, 20]", "[10, 200]", UsageError, "in 1..30"),
        ("[10, 20]", '"all"', UsageError, "a list"),
        ("[[problem]]\nkind", "[problem]\nkind", InvalidData, "not TOML"),
        ('kind = "zdt1"', "kind = 1", UsageError, "no kind"),
        ("genes = 4", 'genes = "4"', UsageError, "genes must be a whole number"),
        ('label = "three"', "label = 3", UsageError, "label must be a text"),
        ('label = "evolution"', 'known = "yes"', UsageError, "true or false"),
        ("population = 8", "seed = 8", UsageError, "no setting"),
    ],
)
def test_bad_files_say_what_is_wrong(file, before, after, error, words):
    assert before in TOML
    file.write_text(TOML.replace(before, after, 1))
    with pytest.raises(error) as caught:
        run.read(file)
    assert words in f"{caught.value} {caught.value.hint}"


def test_a_missing_file_and_a_line_that_is_no_result(file, tmp_path):
    with pytest.raises(InvalidData, match="there is no"):
        run.read(tmp_path / "none.toml")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text("hello\n")
    with pytest.raises(InvalidData, match="line 1 of"):
        run.run(run.read(file))
