"""Campaigns on the simulated device, through the real agent in real processes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from device_profiles.errors import ConditionMismatch, DeviceBusy, DeviceError
from device_profiles.facts import Unavailable
from device_profiles.profile import Target, load
from profiler import Budget, Store, events, measure, reader, workers
from profiler.conditions import conditions_of
from profiler.lock import device_lock
from profiler.measurement import Measurement
from profiler.runtimes.fake import node_costs_ns
from profiler.subjects import Subject, from_bytes
from profiler.testing import convolution
from profiler.travelling import Travelling

ROOT = Path(__file__).resolve().parents[2]
#: One process is enough, with as few blocks as may be.
QUICK = Budget(spread=1.0, min_processes=1, rounds=5, profile_runs=1, memory=False)
MAX = Budget.max_processes

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test made a device look like is not remembered in the next."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "a.db") as opened:
        yield opened


class Log:
    """A listener that keeps events, and gives up on a campaign that does not end."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []

    def __call__(self, event: events.Event) -> None:
        self.events.append(event)
        if isinstance(event, events.ProcessStarted):
            assert event.number <= MAX, "the campaign does not end"

    def of(self, kind: Any) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def blocks(store: Store, target: Target) -> list[Any]:
    return store.blocks(conditions_of(target))


def processes(store: Store, target: Target) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row in blocks(store, target):
        found.setdefault(row.model, set()).add(row.process)
    return found


def truth_ms(subject: Subject, folder: Path) -> float:
    path = folder / "truth.onnx"
    path.write_bytes(subject.onnx())
    return sum(cost for _, _, cost in node_costs_ns(path)) / 1e6


def one(subjects: list[Subject], target: Target, store: Store, **more: Any) -> Measurement:
    outcome = measure(subjects, target=target, store=store, **more)
    assert outcome.failures == ()
    (found,) = outcome.measurements
    return found


# -- what is measured


def test_every_model_is_measured_in_fresh_processes_and_its_true_cost_is_in_the_interval(
    store: Store, fake: Make, subject: Make, tmp_path: Path
) -> None:
    subjects = [subject(64), subject(4), subject(256, "Sigmoid")]
    log = Log()
    outcome = measure(subjects, target=fake(), store=store, listener=log)
    assert outcome.failures == ()
    assert [row.model for row in outcome.measurements] == [each.id for each in subjects], "in the order asked for"
    assert [row.name for row in outcome.measurements] == [each.name for each in subjects]
    seen = processes(store, fake())
    for each, row in zip(subjects, outcome.measurements, strict=True):
        latency = row.latency
        assert len(seen[each.id]) == latency.processes >= 3
        assert latency.low_ms <= truth_ms(each, tmp_path) <= latency.high_ms
        assert latency.state == "stable" and latency.spread <= Budget.spread
        assert latency.blocks == sum(block.model == each.id for block in blocks(store, fake()))
        assert row.closure == pytest.approx(0.1, abs=0.03), "the fake's profiler adds a tenth"
        assert isinstance(row.memory.planned, int) and isinstance(row.memory.process, int)
        assert isinstance(row.energy_mj, Unavailable) and isinstance(row.memory.allocator, Unavailable)
    pids = [fact["pid"] for fact in store.process_facts(conditions_of(fake())) if fact["event"] == "started"]
    assert len(set(pids)) == len(pids) == len(log.of(events.ProcessStarted)), "each process is a fresh one"
    assert len(store.profiles(conditions_of(fake()))) == len(subjects), "profiled once each"


def test_the_true_cost_is_found_although_some_processes_run_in_a_slow_state(
    store: Store, fake: Make, subject: Make, tmp_path: Path
) -> None:
    def slow(seed: int) -> list[bool]:
        return [bool(np.random.default_rng([seed, process]).random() < 0.5) for process in (1, 2, 3)]

    seed = next(seed for seed in range(100) if slow(seed) == [True, False, True])
    target = fake(slow=0.5, slowdown=1.3, seed=seed)
    latency = one([subject(64)], target, store, budget=Budget(max_processes=3, memory=False)).latency
    assert latency.low_ms <= truth_ms(subject(64), tmp_path) <= latency.high_ms


def test_events_come_in_order(store: Store, fake: Make, subject: Make) -> None:
    log = Log()
    measure([subject(4), subject(8)], target=fake(), store=store, budget=QUICK, listener=log)
    kinds = [(kind.__name__, sum(1 for _ in group)) for kind, group in groupby(log.events, key=type)]
    assert [name for name, _ in kinds] == [
        "CampaignStarted",
        "ProcessStarted",
        "ModelLoaded",
        "BlockTaken",
        "ProcessFinished",
    ]
    assert dict(kinds)["ModelLoaded"] == 2 and dict(kinds)["BlockTaken"] == len(blocks(store, fake()))
    (started,) = log.of(events.CampaignStarted)
    assert (started.models, started.measured) == (2, 0) and started.budget_s > 0
    assert log.of(events.ProcessStarted) == [events.ProcessStarted(1, 2)]
    spent = [event.spent_s for event in log.of(events.BlockTaken)]
    assert spent == sorted(spent) and spent[0] > 0
    assert 0 < log.of(events.ProcessFinished)[0].widest < 1


def test_equal_models_are_measured_once_and_each_has_an_entry(store: Store, fake: Make, subject: Make) -> None:
    outcome = measure(
        [subject(4, name="a"), subject(4, name="b"), subject(4, name="a")], target=fake(), store=store, budget=QUICK
    )
    first, second = outcome.measurements
    assert (first.name, first.same_as, second.name, second.same_as) == ("a", None, "b", "a")
    assert first.latency == second.latency
    assert {row.model for row in blocks(store, fake())} == {subject(4).id}
    alone = measure([subject(4, name="b")], target=fake(), store=store, budget=QUICK).measurements
    assert [(one.name, one.latency) for one in alone] == [("b", first.latency)], "asked for alone it has its own name"


def test_more_models_than_one_worker_holds_are_measured_in_groups(
    store: Store, fake: Make, subject: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "GROUP_SIZE", 2)
    log = Log()
    subjects = [subject(channels) for channels in (4, 8, 16)]
    outcome = measure(subjects, target=fake(), store=store, budget=QUICK, listener=log)
    assert len(outcome.measurements) == 3
    assert [event.models for event in log.of(events.ProcessStarted)] == [2, 1]


def test_nothing_to_measure(store: Store, fake: Make) -> None:
    outcome = measure([], target=fake(), store=store)
    assert (outcome.measurements, outcome.failures) == ((), ())
    assert store.targets() == ()


# -- going on


def test_a_second_call_measures_nothing_new_and_more_models_extend_the_store(
    store: Store, fake: Make, subject: Make
) -> None:
    known = [subject(4), subject(8)]
    before = measure(known, target=fake(), store=store, budget=QUICK)
    taken = blocks(store, fake())
    log = Log()
    assert measure(known, target=fake(), store=store, budget=QUICK, listener=log) == before
    assert blocks(store, fake()) == taken
    (started,) = log.events
    assert (started.models, started.measured) == (2, 2)
    log = Log()
    outcome = measure([*known, subject(16)], target=fake(), store=store, budget=QUICK, listener=log)
    assert [event.models for event in log.of(events.ProcessStarted)] == [1], "only the new one"
    assert len(outcome.measurements) == 3
    assert blocks(store, fake())[: len(taken)] == taken
    assert {row.model for row in blocks(store, fake())[len(taken) :]} == {subject(16).id}


def test_a_tighter_spread_goes_on_until_no_process_may_be_added(store: Store, fake: Make, subject: Make) -> None:
    first = one([subject(4)], fake(), store, budget=Budget(rounds=5, memory=False)).latency
    taken = blocks(store, fake())
    budget = Budget(spread=1e-6, device_s=600.0, max_processes=first.processes + 1, rounds=5, memory=False)
    second = one([subject(4)], fake(), store, budget=budget).latency
    assert second.processes == first.processes + 1
    assert blocks(store, fake())[: len(taken)] == taken
    assert second.spread < first.spread


def test_the_budget_ends_a_campaign_but_not_before_the_least_processes(store: Store, fake: Make, subject: Make) -> None:
    budget = Budget(spread=1e-6, device_s=0.01, rounds=5, memory=False)
    assert one([subject(4)], fake(), store, budget=budget).latency.processes == 3
    assert one([subject(4)], fake(), store, budget=budget).latency.processes == 4, "another call is another budget"


def test_other_conditions_are_refused_and_the_store_stays(tmp_path: Path, fake: Make, subject: Make) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        measure([subject(4)], target=fake(), store=store, budget=QUICK)
    before = path.read_bytes()
    runtime = fake().runtime.model_copy(update={"threads": 2})
    others = [fake(noise=0.02), fake().model_copy(update={"runtime": runtime})]
    for other, name in zip(others, ("options", "threads"), strict=True):
        with Store(path) as store, pytest.raises(ConditionMismatch) as caught:
            measure([subject(4), subject(8)], target=other, store=store)
        assert name in caught.value.got and caught.value.hint
        assert path.read_bytes() == before


# -- models that cannot be measured


def test_a_model_that_the_runtime_refuses_is_listed_and_leaves_no_trace(
    store: Store, fake: Make, subject: Make
) -> None:
    log = Log()
    target = fake(unsupported="Sigmoid")
    subjects = [subject(4, "Sigmoid"), subject(4, "Relu")]
    outcome = measure(subjects, target=target, store=store, budget=QUICK, listener=log)
    assert [row.model for row in outcome.measurements] == [subject(4, "Relu").id]
    (failure,) = outcome.failures
    assert (failure.model, failure.name, failure.kind) == (subjects[0].id, "Sigmoid 4", "UnsupportedOperator")
    assert "Sigmoid" in failure.reason
    assert [event.model for event in log.of(events.ModelFailed)] == [subjects[0].id]
    assert set(store.models()) == {subject(4, "Relu").id}
    assert store.failures(conditions_of(target)) == {}


def test_a_fault_over_one_model_costs_that_model_alone(
    store: Store, fake: Make, subject: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is at fault, hwnas or a runtime that raises what it should not."""
    graph = Travelling.graph

    def faulty(self: Travelling, one: Any) -> Any:
        return list[Any]().pop() if one.name.startswith("Sigmoid") else graph(self, one)

    monkeypatch.setattr(Travelling, "graph", faulty)
    subjects = [subject(4, "Sigmoid"), subject(4, "Relu")]
    outcome = measure(subjects, target=fake(), store=store, budget=QUICK)
    assert [row.model for row in outcome.measurements] == [subjects[1].id]
    (failure,) = outcome.failures
    assert (failure.name, failure.kind) == ("Sigmoid 4", "InternalError")
    assert failure.reason.startswith("a fault of hwnas: IndexError: pop from empty list (test_campaign.py:")
    assert failure.hint


def test_a_refusal_says_what_to_do(store: Store, fake: Make, subject: Make) -> None:
    target = fake(unsupported="Sigmoid")
    (failure,) = measure([subject(4, "Sigmoid")], target=target, store=store, budget=QUICK).failures
    assert failure.hint


def test_refused_models_alone_leave_the_store_empty(store: Store) -> None:
    target = load("local-onnxruntime")
    bad = from_bytes(convolution("NoSuchOperator"), name="bad")
    outcome = measure([bad], target=target, store=store, budget=QUICK)
    assert outcome.measurements == () and [failure.name for failure in outcome.failures] == ["bad"]
    assert "NoSuchOperator" in outcome.failures[0].reason
    assert store.targets() == () and store.models() == {}


MOODY = """
import os, signal, time
from dataclasses import replace
from pathlib import Path
import onnx
from device_profiles.errors import InvalidModel
from profiler.runtimes.fake import OPTIONS, FakeRuntime


def fail(error):
    raise error


TROUBLES = {
    "loses": lambda: fail(FileNotFoundError("m.onnx")),
    "memory": lambda: fail(MemoryError()),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "invalid": lambda: fail(InvalidModel("no model of mine", hint="Mend it.")),
}


class Moody(FakeRuntime):
    def fuse(self, model, options):
        return super().fuse(model, plain(options))

    def load(self, model, options, inputs=None):
        types = {node.op_type for node in onnx.load(model).graph.node}
        if options.options.get("crashes") in types:
            os.kill(os.getpid(), signal.SIGSEGV)
        if options.options.get("hangs") in types:
            time.sleep(3600)
        if options.options.get("raises") in types:
            raise RuntimeError("not today")
        trouble = Path(str(options.options.get("trouble", "")))
        if "Tanh" in types and trouble.is_file():
            TROUBLES[trouble.read_text()]()
        return super().load(model, plain(options), inputs)


def plain(options):
    known = {name: value for name, value in options.options.items() if name in OPTIONS}
    return replace(options, options=known)


RUNTIME = Moody
"""


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Make, reached: Make) -> Make:
    """Another distribution's runtime: the fake, but it crashes, hangs or raises at an operator."""
    root = tmp_path / "root"
    about = root / "moody-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: moody\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[hwnas.runtime]\nmoody = moody_runtime:RUNTIME\n")
    (root / "moody_runtime.py").write_text(MOODY)
    for package in ("device_profiles", "profiler"):
        (root / package).symlink_to(ROOT / package)
    monkeypatch.syspath_prepend(root)

    def make(**options: Any) -> Target:
        target = fake(**options)
        runtime = target.runtime.model_copy(update={"name": "moody"})
        return reached(target.model_copy(update={"runtime": runtime}), root)

    return make


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may be silent for seconds, not minutes."""
    monkeypatch.setattr(reader, "START_S", 5.0)
    monkeypatch.setattr(reader, "LEAST_S", 1.0)
    monkeypatch.setattr(workers, "LOAD_S", 5.0)


def test_a_runtime_that_crashes_names_the_model_and_the_others_are_measured(
    store: Store, moody: Make, subject: Make
) -> None:
    log = Log()
    subjects = [subject(4, "Relu"), subject(4, "Tanh"), subject(4, "Sigmoid")]
    budget = Budget(rounds=5, profile_runs=1)
    outcome = measure(subjects, target=moody(crashes="Tanh"), store=store, budget=budget, listener=log)
    assert [row.name for row in outcome.measurements] == ["Relu 4", "Sigmoid 4"]
    assert all(row.latency.processes >= 3 for row in outcome.measurements)
    assert all(isinstance(row.memory.process, int) for row in outcome.measurements)
    (failure,) = outcome.failures
    assert (failure.model, failure.kind) == (subjects[1].id, "RuntimeCrash")
    assert "was to load it" in failure.reason and str(-signal.SIGSEGV) in failure.reason
    assert [event.name for event in log.of(events.ModelFailed)] == ["Tanh 4"]
    conditions = conditions_of(moody(crashes="Tanh"))
    assert store.memory(conditions)[subjects[1].id] == (None, "the model could not be run")


def test_a_runtime_that_hangs_names_the_model_and_the_others_are_measured(
    store: Store, moody: Make, subject: Make, impatient: None
) -> None:
    budget = replace(QUICK, device_s=0.1)
    subjects = [subject(4, "Tanh"), subject(4, "Relu")]
    outcome = measure(subjects, target=moody(hangs="Tanh"), store=store, budget=budget, listener=Log())
    assert [row.name for row in outcome.measurements] == ["Relu 4"]
    assert [failure.name for failure in outcome.failures] == ["Tanh 4"]
    assert "to load it and run it once" in outcome.failures[0].reason and outcome.failures[0].kind == "TimedOut"


def test_what_a_runtime_raises_is_kept_as_the_reason_and_not_tried_again(
    store: Store, moody: Make, subject: Make
) -> None:
    subjects = [subject(4, "Tanh"), subject(4, "Relu")]
    outcome = measure(subjects, target=moody(raises="Tanh"), store=store, budget=QUICK)
    (failure,) = outcome.failures
    assert (failure.name, failure.kind, failure.reason) == ("Tanh 4", "RuntimeError", "not today")
    log = Log()
    assert measure(subjects, target=moody(raises="Tanh"), store=store, budget=QUICK, listener=log) == outcome
    assert log.of(events.ProcessStarted) == []


@pytest.mark.parametrize("trouble", ["loses", "memory", "killed"])
def test_what_may_have_passed_is_tried_again_by_the_next_call(
    store: Store, moody: Make, subject: Make, tmp_path: Path, trouble: str
) -> None:
    place = tmp_path / "trouble"
    place.write_text(trouble)
    target, subjects = moody(trouble=str(place)), [subject(4, "Tanh"), subject(4, "Relu")]
    outcome = measure(subjects, target=target, store=store, budget=QUICK, listener=Log())
    assert [row.name for row in outcome.measurements] == ["Relu 4"]
    assert [failure.name for failure in outcome.failures] == ["Tanh 4"]
    again = measure(subjects, target=target, store=store, budget=QUICK, listener=Log())
    assert [failure.name for failure in again.failures] == ["Tanh 4"], "it did not pass"
    place.unlink()
    log = Log()
    outcome = measure(subjects, target=target, store=store, budget=QUICK, listener=log)
    assert [row.name for row in outcome.measurements] == ["Tanh 4", "Relu 4"] and outcome.failures == ()
    assert [event.models for event in log.of(events.ProcessStarted)] == [1], "the other one is known"


@pytest.mark.parametrize("trouble", ["crashes", "invalid"])
def test_what_the_model_did_is_kept_until_it_is_asked_for_again(
    store: Store, moody: Make, subject: Make, tmp_path: Path, trouble: str
) -> None:
    place = tmp_path / "trouble"
    place.write_text(trouble)
    target, subjects = moody(trouble=str(place)), [subject(4, "Tanh"), subject(4, "Relu")]
    outcome = measure(subjects, target=target, store=store, budget=QUICK, listener=Log())
    assert [failure.name for failure in outcome.failures] == ["Tanh 4"] and outcome.failures[0].reason
    place.unlink()
    log = Log()
    assert measure(subjects, target=target, store=store, budget=QUICK, listener=log) == outcome
    assert log.of(events.ProcessStarted) == []
    outcome = measure(subjects, target=target, store=store, budget=QUICK, listener=Log(), retry=True)
    assert [row.name for row in outcome.measurements] == ["Tanh 4", "Relu 4"] and outcome.failures == ()


@pytest.mark.parametrize("enough", [1, 2])
def test_a_model_that_fails_after_it_was_measured_is_told_once(
    store: Store, moody: Make, subject: Make, tmp_path: Path, enough: int
) -> None:
    place = tmp_path / "trouble"
    target, subjects = moody(trouble=str(place)), [subject(4, "Tanh"), subject(4, "Relu")]
    assert len(measure(subjects, target=target, store=store, budget=QUICK, listener=Log()).measurements) == 2
    place.write_text("invalid")
    more = replace(QUICK, min_processes=enough, max_processes=2, spread=1e-6, device_s=60.0)
    outcome = measure(subjects, target=target, store=store, budget=more, listener=Log())
    assert set(store.failures(conditions_of(target))) == {subjects[0].id}
    found, failed = [row.name for row in outcome.measurements], [row.name for row in outcome.failures]
    assert (found, failed) == ((["Tanh 4", "Relu 4"], []) if enough == 1 else (["Relu 4"], ["Tanh 4"]))


# -- agents that break the protocol

AGENT = """
import json, os, sys, time
from pathlib import Path

job = json.loads(Path(sys.argv[1]).read_text())
model = job["candidates"][0]["id"]
Path(__file__).with_name("pid").write_text(str(os.getpid()))

def say(event, **fields):
    print(json.dumps({"event": event, "nonce": job["nonce"], **fields}), flush=True)

def block(number, **fields):
    good = {"candidate": model, "round": number, "calls": 4, "ns": 40_000_000, "retry": 0}
    good |= {"cpu_ns": 40_000_000, "switches": 0}
    say("block", **{**good, "sentinel_before_ns": 400_000, "sentinel_after_ns": 400_000, **fields})

def hang():
    time.sleep(3600)

say("started", protocol=2, pid=os.getpid())
say("loading", id=model)
say("loaded", id=model, warmup_calls=1, warmup_agreed=True, calls=4, call_ns=10_000_000)
for number in range(5):
    block(number)
"""


@pytest.fixture
def agent(stand_in: Callable[[str], Path], fake: Make, reached: Make) -> Callable[[str], Target]:
    """A target whose agent takes five blocks of the first model, and then does what it is told."""

    def make(then: str) -> Target:
        target: Target = reached(fake(), stand_in(AGENT + then + "\n"))
        return target

    return make


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_of(folder: Path) -> int:
    return int((folder / "stand-in" / "profiler" / "agent" / "pid").read_text())


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("job['nonce'] = 'other'; block(5); hang()", "another job"),
        ("print('no line of mine', flush=True); hang()", "no line of mine"),
        ("print('[1, 2]', flush=True); hang()", "no result"),
        ('print(\'{"event": "block"}\', flush=True); hang()', "no result"),
        ("say('block', candidate=model, round=5, calls=4); hang()", "no result"),
        ("say('failed', id=model); hang()", "no result"),
        ("sys.stdout.buffer.write(bytes([255, 254, 10])); sys.stdout.flush(); hang()", ""),
        ("block(5, surprise=1); hang()", ""),
        ("block(5, ns='fast'); hang()", ""),
        ("block(5, ns=None); hang()", ""),
        ("block(5, candidate='another'); hang()", ""),
        ("say('failed', id='another', kind='K', reason='R', hint='H'); hang()", ""),
        ("print('{\"event\": \"blo', end='', flush=True)", "no result"),
        ("sys.exit('out of paint')", "code 1: out of paint"),
        ("os.kill(os.getpid(), 9)", "code -9"),
        ("", ""),
    ],
    ids=[
        "another-job",
        "nonsense",
        "no-object",
        "no-nonce",
        "block-without-times",
        "failure-without-reason",
        "not-utf8",
        "unknown-field",
        "time-as-text",
        "time-missing",
        "another-model",
        "failure-of-another-model",
        "cut-in-a-line",
        "error",
        "killed",
        "cut-between-lines",
    ],
)
def test_an_agent_that_breaks_the_protocol_is_an_error_of_the_device(
    store: Store,
    agent: Callable[[str], Target],
    subject: Make,
    impatient: None,
    then: str,
    words: str,
) -> None:
    target = agent(then)
    with pytest.raises(DeviceError) as caught:
        measure([subject(4)], target=target, store=store, budget=Budget(device_s=0.1), listener=Log())
    assert words in caught.value.message and "silent" not in caught.value.message
    assert [row.ns for row in blocks(store, target)] == [40_000_000] * 5, "what was measured stays, and no more"


def test_an_agent_that_is_given_up_is_ended_at_once(
    store: Store, agent: Callable[[str], Target], subject: Make, tmp_path: Path
) -> None:
    target = agent("print('nonsense', flush=True); hang()")
    with pytest.raises(DeviceError) as caught:
        measure([subject(4)], target=target, store=store, budget=Budget(), listener=Log())
    assert not is_alive(pid_of(tmp_path)), f"{caught.value} is known, and the device is free"


def test_a_wrong_answer_while_a_model_loads_is_not_blamed_on_the_model(
    store: Store, agent: Callable[[str], Target], subject: Make
) -> None:
    target = agent("say('loading', id=model); job['nonce'] = 'other'; say('loaded', id=model); hang()")
    with pytest.raises(DeviceError, match="another job"):
        measure([subject(4)], target=target, store=store, budget=Budget(), listener=Log())
    assert store.failures(conditions_of(target)) == {}


def test_the_time_out_of_the_host_ends_the_process_and_what_was_measured_stays(
    store: Store, agent: Callable[[str], Target], subject: Make, tmp_path: Path, impatient: None
) -> None:
    target = agent("hang()")
    with pytest.raises(DeviceError, match="silent for"):
        measure([subject(4)], target=target, store=store, budget=Budget(device_s=0.1), listener=Log())
    assert not is_alive(pid_of(tmp_path))
    assert len(blocks(store, target)) == 5


def test_an_agent_that_measures_nothing_ends_the_campaign(
    store: Store, stand_in: Callable[[str], Path], fake: Make, reached: Make, subject: Make
) -> None:
    lazy = AGENT.partition('say("started"')[0] + 'say("finished")\n'
    target = reached(fake(), stand_in(lazy))
    with pytest.raises(DeviceError):
        measure([subject(4)], target=target, store=store, budget=Budget(device_s=0.01), listener=Log())


# -- interruptions


def test_a_second_campaign_on_the_device_is_refused_with_its_owner(
    store: Store, tmp_path: Path, fake: Make, subject: Make
) -> None:
    with device_lock("local"), Store(tmp_path / "b.db") as other:
        with pytest.raises(DeviceBusy) as busy:
            measure([subject(8)], target=load("local-onnxruntime"), store=other)
        assert other.targets() == ()
        assert f"process {os.getpid()}" in busy.value.message and busy.value.hint
        measure([subject(8)], target=fake(), store=store, budget=QUICK)


def test_a_simulated_device_is_held_by_the_store_that_it_fills(
    store: Store, tmp_path: Path, fake: Make, subject: Make
) -> None:
    caught: list[DeviceBusy] = []

    def second(event: events.Event) -> None:
        if isinstance(event, events.ProcessStarted):
            with Store(tmp_path / "b.db") as other:
                measure([subject(8)], target=fake(), store=other, budget=QUICK)
            with pytest.raises(DeviceBusy) as refused:
                measure([subject(8)], target=fake(), store=store)
            caught.append(refused.value)

    outcome = measure([subject(4)], target=fake(), store=store, budget=QUICK, listener=second)
    assert len(outcome.measurements) == 1
    (busy,) = caught
    assert f"process {os.getpid()}" in busy.message and busy.hint
    measure([subject(8)], target=fake(), store=store, budget=QUICK)


def test_an_interruption_keeps_what_was_finished_and_ends_the_worker(store: Store, fake: Make, subject: Make) -> None:
    workers: set[psutil.Process] = set()
    before = set(psutil.Process().children())
    subjects = [subject(channels) for channels in range(4, 14)]
    taken = 0

    def interrupt(event: events.Event) -> None:
        nonlocal taken
        taken += isinstance(event, events.BlockTaken)
        if taken == 7:
            workers.update(set(psutil.Process().children()) - before)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        measure(subjects, target=fake(), store=store, budget=QUICK, listener=interrupt)
    assert caught.value is not None, "the traceback lives on, as in a notebook"
    assert not any(is_alive(worker.pid) for worker in workers)
    kept = blocks(store, fake())
    assert len(kept) == 7
    outcome = measure(subjects, target=fake(), store=store, budget=QUICK)
    assert len(outcome.measurements) == 10
    assert blocks(store, fake())[:7] == kept


ROWS = "select id, process, model, round, retry, calls, ns from blocks order by id"


def committed(path: Path) -> list[tuple[int, ...]]:
    """Blocks in a store, without disturbing who writes."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(ROWS).fetchall()
    except sqlite3.OperationalError:
        return []


def test_a_campaign_that_was_killed_goes_on_and_no_committed_block_is_lost(
    tmp_path: Path, fake: Make, conv_net: Callable[..., bytes]
) -> None:
    path = tmp_path / "a.db"
    models = [tmp_path / f"{channels}.onnx" for channels in range(4, 12)]
    for channels, model in enumerate(models, start=4):
        model.write_bytes(conv_net(channels))
    command = [sys.executable, "-m", "hwnas", "profile", "fake", "--store", str(path), "--json", "--model"]
    command += [str(model) for model in models]
    process = subprocess.Popen(
        [*command, "--spread", "0.01%"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0, cwd=ROOT
    )
    deadline = time.monotonic() + 180
    try:
        while len(seen := committed(path)) < 30:
            assert time.monotonic() < deadline, "too few blocks"
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                raise AssertionError("it ended too early to be killed")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    at_death = committed(path)
    assert at_death[: len(seen)] == seen
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    answer = json.loads(shown.stdout)
    assert [row["model"] for row in answer["measurements"]] == [str(model) for model in models]
    assert answer["failed"] == []
    after = committed(path)
    assert after[: len(at_death)] == at_death
    for channels, row in enumerate(answer["measurements"], start=4):
        latency = row["latency_ms"]
        (tmp_path / "truth.onnx").write_bytes(conv_net(channels))
        cost_ms = sum(cost for _, _, cost in node_costs_ns(tmp_path / "truth.onnx")) / 1e6
        assert latency["low"] <= cost_ms <= latency["high"] and latency["processes"] >= 3
    with Store(path, create=False) as store, store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall() == []
