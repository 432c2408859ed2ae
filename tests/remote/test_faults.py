"""Campaigns over links that break: whatever happens to jobs, each model ends measured or failed, and none twice."""

import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest

import profiler
from device_profiles.profile import from_plain
from profiler import transports
from profiler.transports.remote import RemoteTransport
from profiler.transports.ssh import SshTransport


class FaultyTransport(RemoteTransport):
    """A board whose link is `faulty.py`."""

    options: ClassVar[tuple[str, ...]] = (*RemoteTransport.options, "place", "seed", "share")
    explain = SshTransport.explain

    def command(self, remote):
        chosen = self.chosen
        script = Path(__file__).with_name("faulty.py")
        return [
            sys.executable,
            str(script),
            chosen["place"],
            str(chosen["seed"]),
            str(chosen["share"]),
            chosen["place"],
        ]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The transport, and no long waits."""
    monkeypatch.setitem(transports.REGISTRY._registered, "faulty", FaultyTransport)
    monkeypatch.setattr("profiler.lasting.LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr("profiler.reader.START_S", 8.0)
    monkeypatch.setattr("profiler.reader.LEAST_S", 8.0)
    monkeypatch.setattr("profiler.workers.LOAD_S", 8.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


def campaign(tmp_path, jobs, share, seed, monkeypatch, relu):
    """One model a job; counts of what became of them."""
    monkeypatch.setattr("profiler.workers.GROUP_SIZE", 1)
    place = tmp_path / "board"
    place.mkdir()
    options = {"place": str(place), "seed": seed, "share": share}
    target = from_plain(
        {
            "name": "board",
            "access": {"transport": "faulty", "address": "board", "options": options},
            "runtime": {"name": "fake"},
        }
    )
    budget = profiler.Budget(
        spread=9.0, device_s=8.0, min_processes=1, max_processes=1, rounds=3, profile_runs=0, memory=False
    )
    path, listed = tmp_path / "a.db", []
    with profiler.Store(path) as store:
        found = profiler.measure(
            [relu(4 + i) for i in range(jobs)], target=target, store=store, budget=budget, listener=listed.append
        )
    transports.of(target).drop()
    lost = Counter(type(event).__name__ for event in listed)["LinkLost"]
    faults = Counter((place / "faults").read_text().split()) if (place / "faults").exists() else Counter()
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT process, model, round, retry FROM blocks").fetchall()
        open_ones = database.execute("SELECT count(*) FROM processes WHERE state = 'running'").fetchone()[0]
    return found, faults, lost, rows, open_ones


@pytest.mark.parametrize("jobs", [16, pytest.param(200, marks=pytest.mark.slow)])
def test_no_job_is_lost_and_none_counts_twice(jobs, tmp_path, monkeypatch, relu):
    found, faults, lost, rows, open_ones = campaign(tmp_path, jobs, 0.35, 3, monkeypatch, relu)
    ends = [one.model for one in (*found.measurements, *found.failures)]
    print(  # noqa: T201 - the counts are what is asked for
        f"{jobs} jobs: {len(found.measurements)} measured, {len(found.failures)} failed; {lost} links; {dict(faults)}"
    )
    assert len(ends) == len(set(ends)) == jobs, "each ends measured or failed"
    assert all(one.reason for one in found.failures)
    assert len(rows) == len(set(rows)), "no block is kept twice"
    assert sum(faults.values()) >= jobs // 6 and open_ones == 0
    models = {one.model: Counter() for one in found.measurements}
    for process, model, *_ in rows:
        if model in models:
            models[model][process] += 1
    assert all(max(each.values()) >= 3 for each in models.values()), "what is measured is so by one whole process"


def test_without_faults_nothing_is_retried(tmp_path, monkeypatch, relu):
    found, faults, lost, *_ = campaign(tmp_path, 3, 0.0, 1, monkeypatch, relu)
    assert len(found.measurements) == 3 and not faults and lost == 0
