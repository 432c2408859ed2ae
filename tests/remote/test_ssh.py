"""A board behind a real sshd: described, deployed to, measured; and what goes wrong there."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest

import device_profiles
import profiler
from device_profiles.errors import DeviceBusy, DeviceError, InvalidData, InvalidModel, UsageError
from device_profiles.profile import save
from profiler import deploying, subjects, transports
from profiler.conditions import conditions_of
from profiler.fusing import fused_graph
from profiler.testing import check_transport, convolution
from profiler.transports.protocol import HostKeyChanged, HostKeyUnknown, LinkLost, NotDeployed, Unreachable
from profiler.transports.ssh import SshTransport

QUICK = profiler.Budget(spread=1.0, max_processes=3, rounds=5, profile_runs=2, memory=False)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(convolution())
    return path


def told(*words):
    done = subprocess.run(
        [sys.executable, "-m", "hwnas", *words, "--json"], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


def test_a_board_without_an_agent_says_what_to_do(board):
    with pytest.raises(NotDeployed, match="no agent") as caught:
        conditions_of(board.target())
    assert "hwnas devices deploy" in caught.value.hint


@pytest.mark.slow
def test_wheels_come_from_the_folder_that_is_carried_over(board, tmp_path):
    device = transports.elsewhere_or_refuse(board.target())
    with pytest.raises(InvalidData, match="no wheel"):
        deploying.deploy(device, "onnxruntime", wheels=tmp_path)
    with zipfile.ZipFile(tmp_path / "tiny_of_ours-1.5-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_of_ours.py", "")
        about = "tiny_of_ours-1.5.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-of-ours\nVersion: 1.5\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    said = deploying._sent(device, "deploy", ["tiny-of-ours"], deploying._bundle(tmp_path))
    assert said["packages"] == {"tiny-of-ours": "1.5"} and said["installed"] == ["tiny-of-ours"]
    again = deploying._sent(device, "deploy", ["tiny-of-ours"], deploying._bundle(tmp_path))
    assert again["installed"] == [], "what is there is not installed again"
    with pytest.raises(DeviceError, match="cannot install nobody-has-this"):
        deploying._sent(device, "deploy", ["nobody-has-this"], deploying._bundle(tmp_path))
    shutil.rmtree(board.home / ".hwnas")


def test_the_command_describes_a_board_deploys_to_it_and_checks_it(deployed, tmp_path):
    path = tmp_path / "board.toml"
    code, added = told("devices", "add", "board", "--ssh", "board", "-o", str(path))
    assert code == 0, added
    target = device_profiles.load(path)
    assert target.access.transport == "ssh" and target.hardware["cpus"].value >= 1
    assert "ssh" in target.hardware["machine"].source
    code, made = told("devices", "deploy", str(path))
    assert code == 0 and made["kernel_ms"] > 0 and made["packages"].keys() >= {"numpy", "onnxruntime"}
    assert made["installed"] == [], "what is there is not installed again"
    code, said = told("devices", "check", str(path), "--seconds", "1s")
    assert code in (0, 1) and said["sentinel_ms"] > 0 and said["runtime"]
    assert all(one["remedy"] for one in said["disturbances"]) and said["steady"] == (code == 0)


def test_a_board_keeps_the_protocol_of_transports(deployed):
    check_transport("ssh", "board")


def test_networks_on_a_board_are_measured_like_those_here(deployed, model, tmp_path):
    target = deployed.target()
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure([subjects.from_file(model)], target=target, store=store, budget=QUICK)
        assert not found.failures and found.measurements[0].latency.processes == 3
        again = conditions_of(target)
        assert store.require_conditions("board") == again
    here = conditions_of(device_profiles.load("local-onnxruntime"))
    assert again.differences(here).keys() <= {"affinity"}, "it is this machine, whichever way one goes"


def test_what_was_sent_is_not_sent_again(deployed, model):
    device = transports.of(deployed.target())
    assert deployed.home.joinpath(".hwnas/files").is_dir()
    fused_graph(model, deployed.target())
    kept = set(deployed.home.joinpath(".hwnas/files").iterdir())
    fused_graph(model, deployed.target())
    assert set(deployed.home.joinpath(".hwnas/files").iterdir()) == kept
    device.drop()


def test_the_fused_graph_is_the_boards_own(deployed, model):
    there = fused_graph(model, deployed.target())
    here = fused_graph(model, device_profiles.load("local-onnxruntime"))
    assert there.to_json() == here.to_json()
    broken = model.with_name("broken.onnx")
    broken.write_bytes(b"\x08\x0anothing")
    with pytest.raises(InvalidModel):
        fused_graph(broken, deployed.target())


def test_a_cut_link_costs_that_job_and_nothing_else(deployed, model, tmp_path, monkeypatch):
    monkeypatch.setattr("profiler.lasting.LONGEST_WAIT_S", 0.1)
    lost, cuts = [], []

    def cut():
        while len(cuts) < 2:
            time.sleep(1.0)
            deployed.cut()
            cuts.append(time.monotonic())

    def listen(event):
        if type(event).__name__ == "LinkLost":
            lost.append(event)

    thread = threading.Thread(target=cut)
    thread.start()
    budget = profiler.Budget(spread=1e-9, min_processes=5, max_processes=5, rounds=40, profile_runs=0, memory=False)
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure(
            [subjects.from_file(model)], target=deployed.target(), store=store, budget=budget, listener=listen
        )
    thread.join()
    assert lost and not found.failures and found.measurements[0].latency.processes >= 5


def test_one_at_a_time_measures_on_a_board(deployed):
    device = transports.of(deployed.target())
    other = SshTransport("board", {"cool_below_c": 119})  # a link of its own
    with device.held(wait=False):
        with pytest.raises(DeviceBusy, match="is being measured"), other.held(wait=False):
            raise AssertionError("two of them")
        deployed.cut()
        with contextlib.suppress(LinkLost):  # told once, to who waits for an answer; another link is made in silence
            device.facts("onnxruntime")
        assert device.facts("onnxruntime")
        with pytest.raises(DeviceBusy), other.held(wait=False):
            raise AssertionError("the lock was lost with its link")
    with other.held(wait=False):
        assert other.facts("onnxruntime")
    other.drop()


def test_an_agent_of_another_version_is_refused(deployed):
    path = deployed.home / ".hwnas/agent/profiler/version_of_before.py"
    path.write_text("")
    transports.of(deployed.target()).drop()
    with pytest.raises(NotDeployed, match="another version"):
        conditions_of(deployed.target())
    path.unlink()
    assert conditions_of(deployed.target())


def test_a_changed_and_an_unknown_host_key_are_told_apart(deployed):
    known = deployed.place / "known"
    right = known.read_text()
    transports.of(deployed.target()).drop()
    try:
        known.write_text("")
        with pytest.raises(HostKeyUnknown, match="is not known") as caught:
            conditions_of(deployed.target())
        assert "ssh board" in caught.value.hint
        other = (deployed.place / "user.pub").read_text()
        known.write_text(f"[127.0.0.1]:{deployed.port} {other}")
        with pytest.raises(HostKeyChanged, match="key has changed"):
            conditions_of(deployed.target())
    finally:
        known.write_text(right)


def test_a_key_that_the_board_does_not_know_is_refused(deployed):
    allowed = deployed.place / "authorized"
    right = allowed.read_text()
    transports.of(deployed.target()).drop()
    allowed.write_text("")
    try:
        with pytest.raises(DeviceError, match="no key of ours") as caught:
            conditions_of(deployed.target())
        assert "ssh-copy-id" in caught.value.hint
    finally:
        allowed.write_text(right)


def test_a_host_that_is_off_is_unreachable(deployed):
    target = deployed.target(port=1)
    with pytest.raises(Unreachable, match="cannot be reached"):
        conditions_of(target)
    assert issubclass(Unreachable, LinkLost)


@pytest.mark.parametrize("address", ["-oProxyCommand=x", "a b", "a;b", "$(x)", "a@b@c", "user@-host", "`x`", "a|b", ""])
def test_nothing_of_an_address_reaches_a_shell(address):
    with pytest.raises(InvalidData):
        SshTransport(address)


@pytest.mark.parametrize("options", [{"port": 0}, {"port": "22"}, {"port": True}, {"cool_below_c": "x"}])
def test_options_of_a_link_are_checked(options):
    with pytest.raises(InvalidData):
        SshTransport("host", options)


def test_a_profile_cannot_name_a_command():
    with pytest.raises(InvalidData, match="no option"):
        transports.load("ssh", "host", {"command": "x"})


def test_this_machine_needs_no_deployment(tmp_path):
    with pytest.raises(UsageError, match="is this machine"):
        transports.elsewhere_or_refuse(device_profiles.load("local-onnxruntime"))
    code, answer = told("devices", "add", "x", "-o", str(tmp_path / "x.toml"))
    assert code == 2 and not (tmp_path / "x.toml").exists() and "--ssh" in answer["error"]["message"]


def test_a_job_of_a_hundred_kernels_travels_at_once(deployed, relu, tmp_path):
    rng = np.random.default_rng(0)
    ones = [relu(int(n + 1)) for n in rng.permutation(100)]
    budget = profiler.Budget(spread=1.0, min_processes=1, max_processes=1, rounds=3, profile_runs=0, memory=False)
    seen = []
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure(ones, target=deployed.target(), store=store, budget=budget, listener=seen.append)
    assert len(found.measurements) == 100
    assert sum(type(event).__name__ == "ProcessStarted" for event in seen) == 2, "64 and 36"


def test_profiles_of_boards_are_read_back_as_they_were_written(tmp_path, board):
    path = tmp_path / "b.toml"
    save(board.target(port=2222), path)
    assert device_profiles.load(path) == board.target(port=2222)
