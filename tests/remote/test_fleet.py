"""Two boards behind real sshds, as one target: described, deployed to and measured together; one of them is lost."""

import json
import os
import signal
import subprocess
import sys

import pytest

import device_profiles
import profiler
from device_profiles.errors import UsageError
from profiler import deploying, events, transports
from profiler.conditions import conditions_of
from profiler.transports.ssh import CONFIG
from tests.remote.conftest import start_sshd

BUDGET = profiler.Budget(spread=1e-9, device_s=6.0, min_processes=4, max_processes=4, rounds=5, profile_runs=0)


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """Two boards by the names of their hosts, and their servers."""
    servers, settings = {}, ""
    for name in ("one", "two"):
        place, home = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp(f"home-{name}")
        _, servers[name] = start_sshd(place, home)
        settings += (place / "config").read_text().replace("Host board", f"Host {name}")
        python = home / "bin" / "python3"
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        enter = place / "enter"
        enter.write_text(enter.read_text().replace("&& exec", f"&& export PATH={python.parent}:$PATH && exec"))
    config = tmp_path_factory.mktemp("client") / "config"
    config.write_text(settings)
    before = os.environ.get(CONFIG)
    os.environ[CONFIG] = str(config)
    yield servers
    for name, server in servers.items():
        transports.load("ssh", name, {}).drop()
        server.kill()
        server.wait()
    os.environ.pop(CONFIG)
    os.environ.update({} if before is None else {CONFIG: before})


def told(*words):
    done = subprocess.run(
        [sys.executable, "-m", "hwnas", *words, "--json"], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def target(boards, tmp_path_factory):
    """Both boards as one target, with the agent on them."""
    path = tmp_path_factory.mktemp("profiles") / "pis.toml"
    code, added = told("devices", "add", "pis", "--ssh", "one", "--ssh", "two", "-o", str(path))
    assert code == 0 and added["target"]["access"]["fleet"] == ["two"], added
    code, made = told("devices", "deploy", str(path))
    assert code == 0 and [one["address"] for one in made["fleet"]] == ["one", "two"], made
    code, said = told("devices", "check", str(path), "--seconds", "1s")
    assert code in (0, 1) and [one["address"] for one in said["fleet"]] == ["one", "two"], said
    return device_profiles.load(path)


def test_two_boards_share_a_campaign(target, relu, tmp_path):
    with profiler.Store(tmp_path / "a.db") as store:
        outcome = profiler.measure([relu(64), relu(4096)], target=target, store=store, budget=BUDGET)
        counts = [of.address for of in store.devices(conditions_of(target)).values()]
    assert len(outcome.measurements) == 2 and not outcome.failures
    assert counts.count("one") >= 2 and counts.count("two") >= 2
    assert [one.address for one in outcome.devices] == ["one", "two"]


def test_a_board_that_is_lost_costs_nothing_but_itself(target, boards, relu, tmp_path, monkeypatch):
    monkeypatch.setattr("profiler.lasting.time.sleep", lambda seconds: None)
    gone = []

    def cut(event):
        if isinstance(event, events.ProcessFinished) and not gone:
            gone.append(True)
            found = subprocess.run(["pgrep", "-P", str(boards["two"].pid)], capture_output=True, text=True, check=False)
            boards["two"].kill()
            for pid in found.stdout.split():
                os.kill(int(pid), signal.SIGKILL)

    with profiler.Store(tmp_path / "a.db") as store:
        outcome = profiler.measure([relu(64)], target=target, store=store, budget=BUDGET, listener=cut)
    assert len(outcome.measurements) == 1 and outcome.measurements[0].latency.processes >= 4
    (left,) = [one for one in outcome.devices if one.aside is not None]
    assert left.address == "two" and "cannot be reached" in left.aside


def test_devices_that_differ_are_no_fleet(target, monkeypatch):
    facts = iter([{"machine": "aarch64", "cpus": 4}, {"machine": "aarch64", "cpus": 8}])
    monkeypatch.setattr(deploying, "detect", lambda transport: next(facts))
    with pytest.raises(UsageError, match="two and one are no equal devices: cpus is 8, not 4"):
        deploying.detect_alike(target)
