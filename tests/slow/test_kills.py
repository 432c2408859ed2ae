"""`kill -9` at random moments: a campaign and a search end as if nothing had happened."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper
from scipy.stats import halfnorm

from profiler import Store
from profiler.runtimes.fake import node_costs_ns

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
#: Of a call on the simulated device, which is never faster than its cost: its noise is half a normal, of 1 %.
MEDIAN = 1.0 + 0.01 * halfnorm.median()
#: After this something is wrong.
LONG_S = 600.0


def query(path, sql):
    """Committed rows of a database that someone else writes; none if it is not there yet."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return []


def killed(command, committed, more, after_s):
    """Start a command and kill it `after_s` after `more` rows were committed; False if it ended before."""
    before = len(committed())
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0, cwd=ROOT, env=environment()
    )
    deadline = time.monotonic() + LONG_S
    try:
        while len(committed()) < before + more:
            assert time.monotonic() < deadline, "it does not go on"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
            return False
        return True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finished(command):
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def environment():
    """One thread, so that sums of floats come out the same."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def convolution(channels):
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])
    shapes = {"x": [1, 3, 8, 8], "y": [1, channels, 6, 6]}
    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items())
    weight = numpy_helper.from_array(np.ones((channels, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def test_a_campaign_that_is_killed_over_and_over_measures_everything_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    moments = random.Random(0)
    path = tmp_path / "a.db"
    models = [tmp_path / f"{channels}.onnx" for channels in range(3, 43)]
    for channels, model in enumerate(models, start=3):
        model.write_bytes(convolution(channels))
    command = [sys.executable, "-m", "hwnas", "profile", "fake", "--store", str(path), "--json", "--model"]
    command += [str(model) for model in models]

    endless = [*command, "--spread", "0.01%", "--budget", "600s"]

    def blocks():
        return query(path, "select id, process, model, round, retry, calls, ns from blocks order by id")

    kills, known = 0, []
    for _ in range(KILLS):
        # Sometimes before anything is committed, sometimes late in a process.
        kills += killed(endless, blocks, moments.randrange(60), 0.1 * moments.random())
        now = blocks()
        assert now[: len(known)] == known, "what was committed stays"
        known = now
    assert kills == KILLS and known
    answer = finished(command)
    assert [row["model"] for row in answer["measurements"]] == [str(model) for model in models]
    assert answer["failed"] == []
    for model, row in zip(models, answer["measurements"], strict=True):
        truth_ms = MEDIAN * sum(cost for _, _, cost in node_costs_ns(model)) / 1e6
        assert row["latency_ms"]["low"] <= truth_ms <= row["latency_ms"]["high"]
        assert row["latency_ms"]["processes"] >= 3
    assert blocks()[: len(known)] == known
    with Store(path, create=False) as store, store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall() == []
    assert [entry.name for entry in tmp_path.glob("a.db*")] == ["a.db"], "no side files"
    taken = blocks()
    again = finished(command)
    assert blocks() == taken and again["measurements"] == answer["measurements"]


def test_a_search_that_is_killed_over_and_over_ends_like_one_that_was_not(tmp_path):
    moments = random.Random(0)

    def command(run):
        base = [sys.executable, "-m", "hwnas", "search", "--space", "nasbench201:cells=1,channels=4,resolution=8"]
        base += ["--objective", "accuracy", "--objective", "macs", "--data", "digits", "--evaluations", "60"]
        return [*base, "--set", "train_steps=20", "--set", "images=100", "-o", str(tmp_path / run), "--json"]

    def trials(run):
        sql = "select id, batch, arch, result from trials where result is not null order by id"
        return query(tmp_path / run / "run.db", sql)

    kills, known = 0, []
    for _ in range(KILLS):
        kills += killed(command("killed"), lambda: trials("killed"), moments.randrange(6), 0.1 * moments.random())
        now = trials("killed")
        assert now[: len(known)] == known, "what was judged stays"
        known = now
    assert kills == KILLS and known
    answers = [{**finished(command(run)), "path": ""} for run in ("killed", "whole")]
    assert trials("killed") == trials("whole") and len(trials("whole")) == 60
    assert answers[0] == answers[1] and answers[0]["front"]
