"""A phone behind a real adb: its daemon is a stand-in, whose shell runs the same agent."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import device_profiles
import profiler
from device_profiles.errors import InvalidData
from device_profiles.profile import from_plain
from profiler import deploying, subjects, transports
from profiler.conditions import conditions_of
from profiler.testing import check_transport, convolution
from profiler.transports.adb import AdbTransport
from profiler.transports.protocol import NotDeployed, Unreachable
from tests.remote import adbd, arm

PROPERTIES = {"ro.product.model": "Made Up 9", "ro.product.manufacturer": "Nobody", "ro.product.cpu.abi": "arm64-v8a"}


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    """A phone that is plugged in; adb's server is one of its own."""
    if shutil.which("adb") is None:
        pytest.skip("there is no adb: apt install adb")
    root, programs = tmp_path_factory.mktemp("phone"), tmp_path_factory.mktemp("programs")
    cases = "".join(f'{name}) echo "{value}";;\n' for name, value in PROPERTIES.items())
    (programs / "getprop").write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\n')
    (programs / "getprop").chmod(0o755)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    before = {name: os.environ.get(name) for name in ("ANDROID_ADB_SERVER_PORT", "HOME")}
    os.environ |= {"ANDROID_ADB_SERVER_PORT": port, "HOME": str(root)}
    made = adbd.Phone(root, programs)
    try:
        connected = subprocess.run(
            ["adb", "connect", serial(made)], capture_output=True, text=True, timeout=60, check=True
        )
        assert "connected" in connected.stdout, connected
        yield made
    finally:
        subprocess.run(["adb", "kill-server"], capture_output=True, timeout=60, check=False)
        made.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def serial(phone):
    return f"127.0.0.1:{phone.port}"


def target_of(phone):
    return from_plain(
        {"name": "phone", "access": {"transport": "adb", "address": serial(phone)}, "runtime": {"name": "onnxruntime"}}
    )


def told(*words):
    done = subprocess.run(
        [sys.executable, "-m", "hwnas", *words, "--json"], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """What is pushed: a folder with a `bin/python3` that has numpy and the runtime."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    return folder


def test_a_phone_is_described_deployed_to_and_measured(phone, python, tmp_path):
    path = tmp_path / "phone.toml"
    code, added = told("devices", "add", "phone", "--adb", serial(phone), "-o", str(path))
    assert code == 0, added
    hardware = device_profiles.load(path).hardware
    assert hardware["board"].value == "Made Up 9" and hardware["abi"].value == "arm64-v8a"
    with pytest.raises(NotDeployed, match="no agent"):
        conditions_of(target_of(phone))
    code, made = told("devices", "deploy", str(path), "--python", str(python))
    assert code == 0 and made["kernel_ms"] > 0, made
    check_transport("adb", serial(phone))
    model = tmp_path / "model.onnx"
    model.write_bytes(convolution())
    budget = profiler.Budget(spread=1.0, max_processes=3, rounds=5, profile_runs=2, memory=False)
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure([subjects.from_file(model)], target=target_of(phone), store=store, budget=budget)
    assert found.measurements[0].latency.processes == 3 and not found.failures


def test_a_phone_that_is_unplugged_for_a_moment_goes_on(phone, tmp_path, monkeypatch):
    monkeypatch.setattr("profiler.lasting.LONGEST_WAIT_S", 0.2)
    model = tmp_path / "model.onnx"
    model.write_bytes(convolution("Sigmoid"))
    lost = []

    def listen(event):
        if type(event).__name__ == "BlockTaken" and not lost:
            phone.unplug()
            lost.append("unplugged")
        if type(event).__name__ == "LinkLost":
            lost.append(event.reason)
            subprocess.run(["adb", "connect", serial(phone)], capture_output=True, timeout=60, check=False)

    budget = profiler.Budget(spread=1e-9, min_processes=3, max_processes=3, rounds=30, profile_runs=0, memory=False)
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure(
            [subjects.from_file(model)], target=target_of(phone), store=store, budget=budget, listener=listen
        )
    assert len(lost) >= 2 and found.measurements[0].latency.processes >= 3 and not found.failures


def test_a_phone_that_is_not_there_says_so(phone, tmp_path):
    other = target_of(phone).model_copy(update={"access": device_profiles.Access(transport="adb", address="nobody")})
    with pytest.raises(Unreachable, match="cannot be reached") as caught:
        conditions_of(other)
    assert "adb devices" in caught.value.hint
    with pytest.raises(InvalidData, match="bin/python3"):
        transports.elsewhere_or_refuse(target_of(phone)).push(tmp_path)


@pytest.mark.parametrize("address", ["-s", "a b", "a;b", "$(x)", "", "a/b", "`x`"])
def test_nothing_of_a_serial_number_reaches_a_shell(address):
    with pytest.raises(InvalidData):
        AdbTransport(address)


@pytest.mark.slow
def test_the_phones_agent_is_of_arm(phone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("arm")
    (folder / "bin").mkdir()
    arm.python(folder / "bin")
    device = transports.elsewhere_or_refuse(target_of(phone))
    device.drop()
    device.push(folder)
    assert deploying.deploy(device, "onnxruntime").machine == "aarch64"
    conditions = conditions_of(target_of(phone))
    assert conditions.own.machine == "aarch64"
    assert Path(phone.root, "hwnas/base/bin/python3").exists()
