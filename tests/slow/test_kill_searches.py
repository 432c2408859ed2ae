"""`kill -9` at twenty random moments of a search by each strategy: its archive ends bit-identical."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from nas import strategies
from nas.study.study import open_study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS, EVALUATIONS = 20, 150

#: A search whose evaluations take some milliseconds each, committed batch by batch.
SCRIPT = """
import sys, time
import numpy as np
import nas
from nas import evaluators
from nas.objectives import Objective, Values

WEIGHTS = np.random.default_rng(0).random((2, 6, 5))


class Slow:
    free, identity = False, ""

    def __init__(self, name):
        self.objective = Objective(name, "", False, "counted", name)
        self.number = int(name[-1])

    def evaluate(self, archs):
        time.sleep(0.004 * len(archs))
        return Values(WEIGHTS[self.number][np.arange(6), archs].prod(axis=1))


class Kind:
    forms, settings = "slow0 slow1", ()

    def claims(self, spec):
        return spec in ("slow0", "slow1")

    def default_name(self, spec):
        return spec

    def open(self, name, spec, context):
        return Slow(spec)


evaluators.REGISTRY.register("slow", Kind())
nas.search(
    "nasbench201", objectives=["slow0", "slow1"], strategy=sys.argv[1], evaluations=int(sys.argv[3]), folder=sys.argv[2]
)
"""


def committed(folder):
    """Trials that were judged; 0 if the database is not there yet."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute("select count(*) from trials where result is not null").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def archive(folder):
    return [(trial.batch, trial.arch, trial.result) for trial in open_study(folder).trials()]


@pytest.mark.parametrize("name", strategies.names())
def test_a_search_that_is_killed_ends_on_the_same_archive(name, tmp_path):
    script = tmp_path / "search.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def command(run):
        return [sys.executable, str(script), name, str(tmp_path / run), str(EVALUATIONS)]

    moments = random.Random(name)
    for _ in range(KILLS):
        goal = committed(tmp_path / "killed") + moments.randint(1, 5)
        process = subprocess.Popen(command("killed"), env=environment, start_new_session=True)
        deadline = time.monotonic() + 120
        while committed(tmp_path / "killed") < goal:
            assert time.monotonic() < deadline and process.poll() is None, "it does not go on"
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.01))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command("killed"), check=True, env=environment)
    subprocess.run(command("whole"), check=True, env=environment)
    assert archive(tmp_path / "killed") == archive(tmp_path / "whole")
    assert len(archive(tmp_path / "whole")) == EVALUATIONS
