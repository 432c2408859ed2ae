"""Equal devices that share a campaign: workers on each in turn, and the one that differs is set aside."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from device_profiles.errors import ConditionMismatch, InvalidData
from device_profiles.profile import Access, Target, from_plain, to_plain
from profiler import Budget, Store, events, measure, transports
from profiler.conditions import conditions_of
from profiler.runtimes.fake import node_costs_ns
from profiler.summary import latencies
from profiler.transports.local import LocalTransport
from profiler.transports.protocol import DeviceFull, LinkLost

QUICK = Budget(spread=0.05, device_s=4.0, min_processes=3, max_processes=4, rounds=6, profile_runs=0, memory=False)
Make = Callable[..., Any]


class Simulated:
    """A device of a fleet by its address: `odd` is 1.3 times as slow, `gone` is not there, `other` another machine,
    `full` has no space, and `lost` is lost with its second worker."""

    options, retries = (), 1
    busy: ClassVar[Counter[str]] = Counter()
    together = 0
    workers: ClassVar[Counter[str]] = Counter()

    def __init__(self, address: str, options: Any) -> None:
        self._address = address
        made = LocalTransport(address, options)
        self._run, self.check, self.held, self.drop = made.run, made.check, made.held, made.drop
        self._facts = made.facts

    def facts(self, runtime: str) -> Any:
        if self._address == "gone":
            raise LinkLost("gone cannot be reached", hint="Is it on?")
        return {**self._facts(runtime), **({"cores": 999} if self._address == "other" else {})}

    def run(self, folder: Path, environment: Any, silence_s: Any) -> Iterator[str]:
        type(self).workers[self._address] += 1
        if self._address == "full":
            raise DeviceFull("full has no space")
        if self._address == "lost" and self.workers["lost"] > 1:
            raise LinkLost("the link to lost is gone")
        job = json.loads((folder / "job.json").read_text())
        if self._address == "odd":
            job["options"] |= {"slow": 1.0, "slowdown": 1.3}
            (folder / "job.json").write_text(json.dumps(job))
        with _counted(self):
            yield from self._run(folder, environment, silence_s)


class _counted:
    def __init__(self, device: Simulated) -> None:
        self._device = device

    def __enter__(self) -> None:
        kind = type(self._device)
        kind.busy[self._device._address] += 1
        kind.together = max(kind.together, sum(kind.busy.values()))
        assert kind.busy[self._device._address] == 1, "a device runs one worker at a time"

    def __exit__(self, *_: Any) -> None:
        type(self._device).busy[self._device._address] -= 1


@pytest.fixture
def devices(fake: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Target]:
    """Makes a target of simulated devices by their addresses."""
    monkeypatch.setattr(transports.REGISTRY, "_registered", {})
    monkeypatch.setattr("profiler.lasting.time.sleep", lambda seconds: None)
    transports.REGISTRY.register("simulated", Simulated)
    monkeypatch.setattr(Simulated, "busy", Counter())
    monkeypatch.setattr(Simulated, "workers", Counter())
    monkeypatch.setattr(Simulated, "together", 0)

    def make(first: str, *others: str, **options: Any) -> Target:
        access = Access(transport="simulated", address=first, fleet=others)
        target: Target = fake(**options).model_copy(update={"access": access})
        return target

    return make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "a.db") as made:
        yield made


def of_device(store: Store, target: Target) -> Counter[str]:
    known = store.devices(conditions_of(target))
    return Counter(address for address, _, _ in known.values())


def test_workers_are_spread_over_all_devices_at_once(store: Store, devices: Make, subject: Make) -> None:
    target = devices("a", "b", "c")
    outcome = measure([subject(4), subject(8)], target=target, store=store, budget=QUICK)
    assert len(outcome.measurements) == 2 and not outcome.failures
    counts = of_device(store, target)
    assert counts.keys() == {"a", "b", "c"} and max(counts.values()) - min(counts.values()) <= 1
    assert Simulated.together > 1, "devices work side by side"
    assert [one.address for one in outcome.devices] == ["a", "b", "c"]
    for one in outcome.devices:
        assert one.aside is None and one.ratio is not None and one.ratio.low < 1.0 < one.ratio.high


def test_addresses_may_be_as_long_as_profiles_allow(store: Store, devices: Make, subject: Make) -> None:
    target = devices("a", "b" * 300)
    measure([subject(4)], target=target, store=store, budget=QUICK)
    assert of_device(store, target).keys() == {"a", "b" * 300}


def test_the_blocks_of_a_model_come_from_all_devices(
    store: Store, devices: Make, subject: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profiler.workers.GROUP_SIZE", 1)
    target = devices("a", "b", "c")
    subjects = [subject(4), subject(8), subject(12)]
    measure(subjects, target=target, store=store, budget=QUICK)
    known = store.devices(conditions_of(target))
    for one in subjects:
        seen = {known[row.process][0] for row in store.blocks(conditions_of(target)) if row.model == one.id}
        assert len(seen) >= 2, "groups that are as many as devices do not stay with one each"


def test_a_device_that_differs_is_set_aside_and_the_truth_remains(
    store: Store, devices: Make, subject: Make, tmp_path: Path
) -> None:
    target = devices("a", "b", "odd")
    told: list[events.Event] = []
    subjects = [subject(channels) for channels in (4, 8, 16, 32)]
    outcome = measure(subjects, target=target, store=store, budget=QUICK, listener=told.append)
    left = [event for event in told if isinstance(event, events.DeviceLeft)]
    assert [event.address for event in left] == ["odd"] and "1.3 times as long as the others" in left[0].reason
    odd = outcome.devices[-1]
    assert odd.address == "odd" and odd.aside == left[0].reason
    assert odd.ratio is not None and odd.ratio.low > 1.1
    conditions = conditions_of(target)
    kept = {row.process for row in store.blocks(conditions)}
    assert kept.isdisjoint(p for p, (address, _, _) in store.devices(conditions).items() if address == "odd")
    assert {row.process for row in store.blocks(conditions, aside=True)} > kept, "nothing is thrown away"
    for one in subjects:
        path = tmp_path / "model.onnx"
        path.write_bytes(one.onnx())
        truth = sum(cost for _, _, cost in node_costs_ns(path)) * 1.0067 / 1e6
        latency = latencies(store, conditions)[one.id]
        assert latency.low_ms <= truth <= latency.high_ms
    again: list[events.Event] = []
    measure([*subjects, subject(64)], target=target, store=store, budget=QUICK, listener=again.append)
    assert [event.address for event in again if isinstance(event, events.DeviceLeft)] == ["odd"], "it stays aside"
    assert all(a is not None for d, a, _ in store.devices(conditions).values() if d == "odd"), "and takes no worker"


def test_a_device_in_doubt_is_judged_by_three_workers_though_the_budget_is_spent(
    store: Store, devices: Make, subject: Make
) -> None:
    few = Budget(spread=1.0, device_s=1.0, min_processes=3, max_processes=3, rounds=6, profile_runs=0, memory=False)
    outcome = measure([subject(4), subject(8)], target=devices("a", "b", "odd"), store=store, budget=few)
    odd = outcome.devices[-1]
    assert odd.address == "odd" and odd.aside is not None and odd.processes == 3
    assert all(one.latency.processes >= 3 for one in outcome.measurements), "what it measured does not count"


def test_of_two_devices_the_first_counts(store: Store, devices: Make, subject: Make) -> None:
    outcome = measure([subject(4), subject(8)], target=devices("a", "odd"), store=store, budget=QUICK)
    assert [one.aside is None for one in outcome.devices] == [True, False]
    assert "as long as a (" in str(outcome.devices[1].aside)


@pytest.mark.slow
def test_another_chance_is_given_when_it_is_asked_for(store: Store, devices: Make, subject: Make) -> None:
    target = devices("a", "odd")
    measure([subject(4)], target=target, store=store, budget=QUICK)
    before = Simulated.workers["odd"]
    measure([subject(4), subject(8)], target=target, store=store, budget=QUICK)
    assert Simulated.workers["odd"] == before
    measure([subject(4), subject(8), subject(16)], target=target, store=store, budget=QUICK, retry=True)
    assert Simulated.workers["odd"] > before


@pytest.mark.parametrize(("bad", "words"), [("gone", "cannot be reached"), ("other", "cores is 999")])
def test_a_device_that_cannot_take_part_is_left_out(
    store: Store, devices: Make, subject: Make, bad: str, words: str
) -> None:
    outcome = measure([subject(4)], target=devices("a", bad, "b"), store=store, budget=QUICK)
    assert len(outcome.measurements) == 1
    assert of_device(store, devices("a", "b")).keys() == {"a", "b"}
    (left,) = [one for one in outcome.devices if one.aside]
    assert left.address == bad and words in str(left.aside) and left.processes == 0


@pytest.mark.parametrize("bad", ["lost", "full"])
def test_a_device_that_drops_out_costs_nothing_but_itself(store: Store, devices: Make, subject: Make, bad: str) -> None:
    subjects = [subject(4), subject(8)]
    budget = replace(QUICK, min_processes=6, max_processes=6)  # two workers for each of three devices
    outcome = measure(subjects, target=devices("a", bad, "b"), store=store, budget=budget)
    assert len(outcome.measurements) == 2 and not outcome.failures
    (left,) = [one for one in outcome.devices if one.aside]
    assert left.address == bad
    assert all(one.latency.processes >= 6 for one in outcome.measurements)


def test_with_no_device_left_it_is_an_error(store: Store, devices: Make, subject: Make) -> None:
    with pytest.raises(LinkLost, match="gone cannot be reached"):
        measure([subject(4)], target=devices("gone"), store=store, budget=QUICK)
    with pytest.raises(DeviceFull):
        measure([subject(4)], target=devices("full", "gone"), store=store, budget=QUICK)


def test_a_store_of_another_device_is_refused(store: Store, devices: Make, subject: Make) -> None:
    measure([subject(4)], target=devices("a"), store=store, budget=QUICK)
    with pytest.raises(ConditionMismatch):
        measure([subject(4)], target=devices("other"), store=store, budget=QUICK)
    outcome = measure([subject(8)], target=devices("other", "a", "b"), store=store, budget=QUICK)
    assert {one.address for one in outcome.devices if one.aside} == {"other"}


def test_an_interrupt_ends_all_devices(store: Store, devices: Make, subject: Make) -> None:
    def stop(event: events.Event) -> None:
        if isinstance(event, events.BlockTaken) and threading.current_thread().name.startswith("hwnas-device"):
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        measure([subject(4)], target=devices("a", "b"), store=store, budget=QUICK, listener=stop)
    assert time.monotonic() - began < 60.0
    outcome = measure([subject(4)], target=devices("a", "b"), store=store, budget=QUICK)
    assert len(outcome.measurements) == 1, "and the next call goes on"


def test_workers_of_a_later_call_draw_other_numbers(store: Store, fake: Make, subject: Make) -> None:
    """Else what they say is no second opinion: the same order of rounds, and on a simulated device the same noise."""
    few = Budget(spread=1e-9, device_s=1.0, min_processes=1, max_processes=1, rounds=6, profile_runs=0, memory=False)
    more = Budget(spread=1e-9, device_s=1.0, min_processes=2, max_processes=2, rounds=6, profile_runs=0, memory=False)
    for budget in (few, more):
        measure([subject(4)], target=fake(), store=store, budget=budget)
    times: dict[int, list[int]] = {}
    for row in store.blocks(conditions_of(fake())):
        times.setdefault(row.process, []).append(row.ns)
    first, second = times.values()
    assert first != second


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ({"transport": "ssh", "address": "pi@one", "fleet": ["pi@one"]}, "each device once"),
        ({"transport": "ssh", "address": "pi@one", "fleet": ["pi@two", "pi@two"]}, "each device once"),
        ({"transport": "ssh", "fleet": ["pi@two"]}, "first device"),
        ({"transport": "ssh", "address": "pi@one", "fleet": ["-oProxyCommand=x"]}, "fleet"),
    ],
)
def test_profiles_of_fleets_are_checked(access: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        from_plain({"name": "pis", "access": access, "runtime": {"name": "onnxruntime"}})


def test_a_fleet_is_not_of_this_machine(store: Store, subject: Make) -> None:
    access = {"transport": "local", "address": "a", "fleet": ["b"]}
    target = from_plain({"name": "pis", "access": access, "runtime": {"name": "onnxruntime"}})
    with pytest.raises(InvalidData, match="one device"):
        measure([subject(4)], target=target, store=store, budget=QUICK)


def test_a_fleet_is_written_and_read() -> None:
    access = {"transport": "ssh", "address": "pi@one", "fleet": ["pi@two"], "options": {"port": 2222}}
    target = from_plain({"name": "pis", "access": access, "runtime": {"name": "onnxruntime"}})
    assert from_plain(to_plain(target)) == target
    one, two = target.each_device()
    assert (one.access.address, two.access.address) == ("pi@one", "pi@two")
    assert two.access.options == {"port": 2222} and two.name == "pis" and two.access.fleet == ()
