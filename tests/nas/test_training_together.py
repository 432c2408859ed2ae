"""Two processes train shared weights: as one would, each with half of every minibatch."""

import os
import socket
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import nas
from device_profiles.errors import DeviceError, UsageError
from hwnas_cli import train_shared
from nas.weights import going, processes

pytestmark = pytest.mark.usefixtures("one_thread")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = ("gpt", "uneven", "broken", "bf16", "norm")
SPACE = "nasbench201:cells=1,channels=4,resolution=8"
WORDS = ["--space", SPACE, "--objective", "accuracy", "params", "--data", "digits", "--set", "train_steps=3",
         "images=100", "--evaluations", "2", "--strategy", "random", "--seed", "5"]  # fmt: skip


def alone():
    spec = spec_from_file_location("two_processes", HERE / "two_processes.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder in which two processes have trained."""
    folder = tmp_path_factory.mktemp("together")
    said = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    script = [sys.executable, str(HERE / "two_processes.py"), str(folder)]
    started = [
        subprocess.Popen(script, env=environment(RANK=str(rank), **said), stderr=subprocess.PIPE) for rank in (0, 1)
    ]
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    return folder


@pytest.mark.parametrize("name", CASES)
def test_both_end_with_the_same_weights_bit_for_bit(together, name):
    first, second = (load_file(together / f"{name}.{rank}.end") for rank in (0, 1))
    assert first.keys() == second.keys() and len(first) > 3
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    kept = going.below("weights", load_file(together / f"{name}.safetensors"))
    assert all(torch.equal(tensor, kept[key]) for key, tensor in first.items()), "and so does the checkpoint"


@pytest.mark.parametrize("name", [pytest.param("gpt", marks=pytest.mark.slow), "uneven", "broken"])
def test_without_normalisation_they_end_where_one_does(together, tmp_path, name):
    found, wanted = load_file(together / f"{name}.0.end"), alone().trained(name, tmp_path)
    assert found.keys() == wanted.keys()
    moved = 0.0
    for key, tensor in wanted.items():
        np.testing.assert_allclose(found[key].numpy(), tensor.numpy(), rtol=1e-5, atol=1e-5)
    space, *_ = alone().cases()[name]
    fresh = nas.weights.supernets.of(space, seed=0)
    fresh.load_state_dict({**fresh.state_dict(), "_extra_state": going.below(
        "weights", load_file(together / f"{name}.safetensors"))["_extra_state"]}, strict=False)  # fmt: skip
    for key, tensor in fresh.state_dict().items():
        if key in wanted:
            moved = max(moved, float((tensor - wanted[key]).abs().max()))
    assert moved > 1e-3, "they were trained"


def test_normalisation_takes_each_share_by_itself(together, tmp_path):
    found, wanted = load_file(together / "norm.0.end"), alone().trained("norm", tmp_path)
    assert any(not np.allclose(found[key].numpy(), tensor.numpy(), atol=1e-4) for key, tensor in wanted.items())


def test_a_step_that_is_no_number_in_one_is_left_out_in_all(together, tmp_path):
    alone().trained("broken", tmp_path)
    here, there = (going.facts(folder / "broken.safetensors") for folder in (tmp_path, together))
    assert here == there and 0 < int(here["skipped"]) < 10


def test_the_identity_is_that_of_one_process_so_that_one_goes_on(together, tmp_path, monkeypatch):
    taken = []
    space, examples, plan = alone().cases()["norm"]
    found = nas.weights.training.train(
        space, examples, plan, checkpoint=together / "norm.safetensors",
        progress=lambda done, total: taken.append(done),
    )  # fmt: skip
    assert taken == [plan.steps], "nothing was trained again"
    kept = load_file(together / "norm.0.end")
    assert all(torch.equal(tensor, kept[key]) for key, tensor in found.state_dict().items() if torch.is_tensor(tensor))


def test_what_cannot_be_trained_together_is_refused_in_all(together):
    for rank in (0, 1):
        other, few, diverged = (together / f"said.{rank}").read_text().splitlines()
        assert other.startswith("HwnasError: processes that train together differ in weights that they use")
        assert few == "UsageError: a minibatch of 1 examples cannot be shared by 2 processes"
        assert diverged.startswith("Diverged: training of shared weights diverged at step 10 of 20")


# -- as a command


@pytest.mark.slow
def test_torchrun_trains_what_the_same_search_finds(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hwnas_cli.train_shared"]
    ended = subprocess.run(
        [sys.executable, *command, *WORDS, "-o", str(run)], env=environment(), cwd=ROOT, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == f"shared weights are in {run / 'supernet.safetensors'}; go on with hwnas search"
    before = (run / "supernet.safetensors").read_bytes()
    told = []
    nas.search(
        SPACE, objectives=["accuracy", "params"], strategy="random", evaluations=2, data="digits", seed=5,
        settings={"train_steps": 3, "images": 100}, folder=run,
        progress=lambda what, done, total: told.append((done, total)) if "training" in what else None,
    )  # fmt: skip
    assert told == [(3, 3)], "nothing was left to train"
    assert (run / "supernet.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (WORDS[:2], "--objective"),
        (["--space", SPACE, "--objective", "params"], "none of params has shared weights"),
        ([*WORDS, "--set", "precision=fp16"], "on a GPU alone"),
    ],
)
def test_what_cannot_be_trained_is_said(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        train_shared.main([*words, "-o", str(tmp_path / "run")])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_a_search_of_several_processes_is_refused(tmp_path, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="torchrun has started 2") as caught:
        nas.search(SPACE, objectives=["params"], folder=tmp_path / "run")
    assert "hwnas_cli.train_shared" in caught.value.hint and not (tmp_path / "run").exists()


# -- the group


def test_who_is_who_is_what_torchrun_says():
    said = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert processes.count(said) == 4
    assert processes.count({}) == processes.count({**said, "MASTER_PORT": ""}) == 1
    with pytest.raises(UsageError, match="four"):
        processes.count({**said, "WORLD_SIZE": "four"})


def test_every_row_is_in_one_share_and_factors_make_means_those_of_all():
    rows = torch.arange(7.0)
    shares = [processes.Group(rank, 3).share(rows, rows)[0] for rank in range(3)]
    assert torch.cat(shares).tolist() == rows.tolist()
    mean = sum(processes.Group(0, 3).factor(len(one), 7) * one.mean() for one in shares) / 3
    assert float(mean) == pytest.approx(3.0)
    assert processes.Group().share(rows)[0] is rows and processes.Group().factor(7, 7) == 1


def test_buckets_hold_every_gradient_once(monkeypatch):
    monkeypatch.setattr(processes, "_BUCKET", 5)
    slopes = [torch.zeros(n) for n in (2, 3, 1, 9, 4)]
    assert [[len(one) for one in bucket] for bucket in processes._buckets(slopes)] == [[2, 3], [1], [9], [4]]


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(DeviceError, match="process 1 has no GPU"):
        processes.joined(torch.device("cuda"))
