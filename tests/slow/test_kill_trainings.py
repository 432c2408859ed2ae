"""`kill -9` at random moments of a training: it ends on the same weights, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas.study.study import open_study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = 5

SCRIPT = """
import sys
import nas

nas.search(
    "nasbench201:cells=1,channels=4,resolution=8",
    objectives=["accuracy:trained"],
    strategy="random",
    evaluations=1,
    data="digits",
    settings={"train_epochs": 60, "train_batch": 16, "images": 160, "augment": "crop"},
    folder=sys.argv[1],
)
"""


def start(folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], env=environment, start_new_session=True)


def saved(folder):
    """When the state was written last."""
    return max((path.stat().st_mtime_ns for path in folder.glob("trained/*.going")), default=0)


def test_a_training_that_is_killed_ends_on_the_same_weights(tmp_path):
    killed, whole, moments = tmp_path / "killed", tmp_path / "whole", random.Random(0)
    for _ in range(KILLS):
        process, before, until = start(killed), saved(killed), time.monotonic() + 120
        while saved(killed) == before:
            assert time.monotonic() < until and process.poll() is None, "it does not go on"
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not list(killed.glob("trained/*.safetensors")), "it was killed before the end"
    for folder in (killed, whole):
        assert start(folder).wait() == 0
    one, other = (load_file(next(folder.glob("trained/*"))) for folder in (killed, whole))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    results = [[trial.result for trial in open_study(folder).trials()] for folder in (killed, whole)]
    assert results[0] == results[1]
