"""What there is, and which runs there are."""

import csv
import inspect
import os
import socket

import numpy as np
import pytest

import nas
import predictors
from hwnas_cli.commands.registered import first_line
from nas.study import summary
from nas.study.study import open_study
from profiler.lock import run_lock
from profiler.testing import convolution

SPACE = nas.spaces.load("nasbench201")


class Mine:
    """A space of mine.

    It has more to say.
    """


@pytest.mark.parametrize("what", ["spaces", "strategies", "predictors"])
def test_what_is_registered_has_a_line_each(ask, hwnas, what):
    code, answer = ask(what)
    names = [row["name"] for row in answer[what]]
    known = {
        "spaces": nas.spaces.names(),
        "strategies": (*nas.strategies.names(), *nas.gradient.names()),
        "predictors": predictors.names(),
    }
    assert code == 0 and names == list(known[what])
    assert all(row["text"].strip() and "\n" not in row["text"] for row in answer[what])
    assert len({row["text"] for row in answer[what]}) == len(names), "each says something of its own"
    lines = hwnas(what)[1].splitlines()
    assert [line.split()[0] for line in lines] == names


def test_a_line_is_the_first_of_a_docstring():
    assert first_line(Mine) == "A space of mine."
    make = nas.strategies.REGISTRY.get("nsga2")
    assert first_line(make) == inspect.getmodule(make).__doc__.splitlines()[0]


def test_settings_and_options_have_their_defaults(ask):
    strategies = {row["name"]: row for row in ask("strategies")[1]["strategies"]}
    assert strategies["nsga2"]["settings"]["population"] == 16 and strategies["nsga2"]["by"] == "ask and tell"
    assert strategies["gdas"]["by"] == "gradients" and "steps" in strategies["gdas"]["settings"]
    spaces = {row["name"]: row for row in ask("spaces")[1]["spaces"]}
    assert spaces["nasbench201"]["options"]["cells"] == 5
    assert {row["name"]: row["costs"] for row in ask("predictors")[1]["predictors"]}["simulation"] == ["memory"]


@pytest.mark.parametrize("command", ["search", "import"])
def test_help_names_what_is_registered(hwnas, command):
    said = " ".join(hwnas(command, "--help")[1].split())
    wanted = {
        "search": [part for kind in nas.evaluators.kinds() for part in kind.forms.split(" · ")],
        "import": predictors.tables.names(),
    }
    assert all(word in said for word in wanted[command])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs at different depths, a damaged one, and a folder that is none."""
    folder = tmp_path_factory.mktemp("runs")
    archs = SPACE.sample(60, np.random.default_rng(0))
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "error", "ms"])
        writer.writerows([SPACE.format(arch), 30 - arch.sum(), 1 + arch[0] + arch[3]] for arch in archs)
    table = folder / "t.csv"
    for name, evaluations in (("a", 20), ("deep/b", 30), ("damaged", 5)):
        nas.search(
            "nasbench201",
            objectives=[f"table:{table}:error", f"latency=table:{table}:ms"],
            folder=folder / name,
            strategy=["random", "nsga2"] if name == "a" else "random",
            evaluations=evaluations,
        ).study.store.close()
    (folder / "damaged" / "run.db").write_bytes(b"SQLite format 3\0 and nothing")
    (folder / "none").mkdir()
    return folder


def test_runs_below_a_folder(ask, hwnas, runs):
    before = {path: path.read_bytes() for path in sorted(runs.rglob("*")) if path.is_file()}
    code, answer = ask("runs", runs)
    assert code == 0 and [run["path"] for run in answer["runs"]] == [str(runs / "a"), str(runs / "deep" / "b")]
    first, second = answer["runs"]
    assert first["space"] == "nasbench201" and first["strategies"] == ["random", "nsga2"]
    assert (first["evaluations"], first["asked"], second["evaluations"], second["asked"]) == (40, 40, 30, 30)
    assert [objective["name"] for objective in first["objectives"]] == ["error", "latency"]
    assert first["front"] == len(front(runs / "a")) > 0
    assert first["states"] == {"asked": 0, "judged": 40, "failed": 0} and first["not_compared"] == 0
    (damaged,) = answer["damaged"]
    assert damaged["path"] == str(runs / "damaged") and damaged["reason"]
    shown = hwnas("runs", runs)[1]
    assert "40 of 40" in shown and "cannot be read" in shown and str(runs / "none") not in shown
    assert {path: path.read_bytes() for path in sorted(runs.rglob("*")) if path.is_file()} == before


def front(folder):
    study = open_study(folder)
    try:
        return study.front()
    finally:
        study.store.close()


def test_status_of_one_run(ask, hwnas, runs):
    code, answer = ask("status", runs / "a")
    (same,) = [run for run in ask("runs", runs)[1]["runs"] if run["path"] == answer["path"]]
    assert code == 0 and {key: answer[key] for key in same} == same
    assert "evaluations: 40 of 40" in hwnas("status", runs / "a")[1]
    assert ask("status", runs / "damaged")[0] == 4 and ask("status", runs / "none")[0] == 4


def test_what_was_asked_for_and_not_judged_yet_is_told_apart(ask, runs):
    study = open_study(runs / "deep" / "b")
    study.add_batch(1, "random", 9, np.zeros((4, 6), dtype=np.int64))
    study.store.close()
    answer = ask("status", runs / "deep" / "b")[1]
    assert (answer["evaluations"], answer["asked"]) == (30, 34)


def test_places_without_runs(ask, tmp_path):
    assert ask("runs", tmp_path)[1]["runs"] == []
    assert ask("runs", tmp_path / "nowhere")[0] == 4
    assert ask("runs", "nobody://me@here/runs")[0] == 2


def test_campaigns_of_a_store(ask, hwnas, tmp_path):
    (tmp_path / "m.onnx").write_bytes(convolution())
    assert ask("profile", "fake", "--model", tmp_path / "m.onnx", "--store", tmp_path / "a.db")[0] == 0
    before = (tmp_path / "a.db").read_bytes()
    code, answer = ask("runs", tmp_path / "a.db")
    (one,) = answer["campaigns"]
    assert code == 0 and answer["runs"] == answer["damaged"] == []
    assert (one["target"], one["state"], one["models"], one["failed"]) == ("fake", "finished", 1, 0)
    assert (one["host"], one["pid"]) == (socket.gethostname(), os.getpid()) and one["seen_at"].endswith("+00:00")
    assert one["blocks"] >= one["processes"] * 3 >= 9 and one["device_s"] > 0
    shown = hwnas("runs", tmp_path / "a.db")[1]
    assert "campaigns" in shown and "fake" in shown and "finished 20" in shown
    assert (tmp_path / "a.db").read_bytes() == before
    assert ask("runs", tmp_path / "m.onnx")[0] == 4


def test_who_searches_in_a_folder(ask, runs):
    with run_lock(runs / "a"):
        answer = ask("status", runs / "a")[1]
        assert (answer["state"], answer["host"], answer["pid"]) == ("running", socket.gethostname(), os.getpid())
    answer = ask("status", runs / "a")[1]
    assert (answer["state"], answer["pid"], answer["lab"], answer["study"]) == ("finished", None, None, None)


def test_what_was_probably_meant(ask, tmp_path):
    base = ["search", "--space", "nasbench201", "-o", tmp_path / "run", "--objective"]
    _, answer = ask(*base, "latncy:runs/x")
    assert "Did you mean 'latency:runs/x'?" in answer["error"]["hint"]
    for given, strategy, meant in (
        ("population=8", "nsga2", "nsga2.population"),
        ("populaton=8", "nsga2", "nsga2.population"),
        ("tau_first=8", "gdas", "gdas.tau_first"),
        ("folds=8", "auto", "nat.folds"),
        ("train_step=8", "nsga2", "train_steps"),
    ):
        code, answer = ask(*base, "macs", "--strategy", strategy, "--set", given)
        assert code == 2 and f"Did you mean {meant!r}?" in answer["error"]["hint"]


def test_runs_are_looked_for_a_few_folders_below(tmp_path):
    for place in ("a", "a/b/c", "a/b/c/d", "e/f/g/h"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for place in ("e/f/g", "e/f/g/h", "a/b/c/d"):
        (tmp_path / place / "run.db").touch()
    assert list(summary.below(tmp_path)) == [tmp_path / "e/f/g"]
