"""What people read of a campaign is of a length that they read; the data has all of it."""

from dataclasses import replace

import numpy as np
import pytest

import device_profiles
import nas
import profiler
from hwnas_cli import profiled
from nas.spaces.export import subject
from profiler.closures import UNEXPLAINED

CAUSE = "the profiler makes the network 60% slower (9 kernels)"


@pytest.fixture(scope="module")
def measured():
    space = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
    with profiler.Store("sqlite://") as store:
        networks = [subject(space, space.sample(1, np.random.default_rng(0))[0])]
        return profiler.measure(networks, target=device_profiles.load("fake"), store=store).measurements[0]


def answer(measurements, failures=()):
    outcome = profiler.Outcome(tuple(measurements), tuple(failures))
    return profiled.answer_of("fake", "a.db", outcome, [], None, profiler.Budget())


def closures(measured, values):
    """Measurements with these closures; the third and the last of them are unexplained."""
    notes = [CAUSE] * len(values)
    notes[2] = notes[-1] = UNEXPLAINED
    return [
        replace(measured, arch=f"net{i}", closure=value, closure_note=note)
        for i, (value, note) in enumerate(zip(values, notes, strict=True))
    ]


def test_a_few_closures_are_each_said(measured):
    text = answer(closures(measured, [0.3, 0.9, -0.4])).text
    assert [line.split(":")[0] for line in text.splitlines() if ": closure" in line] == ["net2", "net1", "net0"]
    assert "more, closures" not in text


def test_many_closures_are_said_by_their_range(measured):
    values = [0.3 + i / 100 for i in range(40)]
    found = answer(closures(measured, values))
    each = [line for line in found.text.splitlines() if ": closure" in line]
    assert [line.split(":")[0] for line in each] == ["net39", "net2", "net38", "net37", "net36"]
    assert each[0].endswith(UNEXPLAINED) and each[-1] == f"net36: closure +66%: {CAUSE}"
    assert "and 35 more, closures +30% to +65%; --json has all" in found.text.splitlines()
    assert [row["closure"] for row in found.data["measurements"]] == values


def test_unexplained_ones_beyond_those_that_are_shown_are_counted(measured):
    many = [replace(one, closure_note=UNEXPLAINED) for one in closures(measured, [0.5] * 8)]
    assert "and 3 more, closures +50% to +50%, 3 of them unexplained; --json has all" in answer(many).text


def test_usual_closures_are_not_told_apart(measured):
    assert "closure " not in answer([measured] * 3).text.replace("closure\n", "")


@pytest.mark.parametrize("kind", ["failed", "same"])
def test_no_kind_of_line_fills_the_screen(measured, kind):
    if kind == "failed":
        failures = [profiler.Failure(f"m{i}", f"m{i}", None, "RuntimeFailed", "it broke", "") for i in range(70)]
        found = answer([measured], failures)
        assert len(found.data["failed"]) == 70 and "1 measured, 70 failed" in found.text
        mark = "failed: m"
    else:
        found = answer([measured, *(replace(measured, name=f"m{i}", arch=None, same_as="m") for i in range(70))])
        mark = "measured as m, which is equal to it"
    lines = found.text.splitlines()
    assert sum(mark in line for line in lines) == profiled.MOST_ROWS
    assert "... and 50 more; --json has all" in lines


@pytest.mark.parametrize(("cpus", "said"), [(None, False), (0.1, False), (0.9, True)])
def test_other_programs_are_said_where_they_used_much(measured, cpus, said):
    outcome = profiler.Outcome((measured,), (), others_cpus=cpus)
    found = profiled.answer_of("fake", "a.db", outcome, [], None, profiler.Budget())
    assert any(line.startswith("other programs used 0.9 CPUs") for line in found.text.splitlines()) == said
    assert found.data.get("others_cpus") == cpus and ("others_cpus" in found.data) == (cpus is not None)


@pytest.mark.parametrize(
    ("spent", "given", "said"), [(816.0, 90.0, True), (92.0, 20.0, True), (100.0, 90.0, False), (9.0, 1.0, False)]
)
def test_device_time_beyond_the_budget_is_said_with_its_reason(measured, spent, given, said):
    outcome = profiler.Outcome((measured,), (), device_s=spent, budget_s=given)
    found = profiled.answer_of("fake", "a.db", outcome, [], None, profiler.Budget())
    line = f"took {spent:.0f} s of device time where {given:.0f} s were given: 3 fresh processes are the least"
    assert (line in found.text) == said
    assert (found.data["device_s"], found.data["budget_s"]) == (spent, given)


def test_a_campaign_tells_its_device_time():
    space = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
    networks = [subject(space, arch) for arch in space.sample(2, np.random.default_rng(2))]
    with profiler.Store("sqlite://") as store:
        budget = profiler.Budget(device_s=3.0)
        found = profiler.measure(networks, target=device_profiles.load("fake"), store=store, budget=budget)
        known = store.device_s(store.require_conditions("fake"))
    assert found.budget_s == 3.0 and 0.0 < known <= found.device_s


def test_a_simulated_device_has_no_neighbours(measured):
    space = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
    networks = [subject(space, space.sample(1, np.random.default_rng(1))[0])]
    with profiler.Store("sqlite://") as store:
        fake = profiler.measure(networks, target=device_profiles.load("fake"), store=store)
    with profiler.Store("sqlite://") as store:
        budget = profiler.Budget(device_s=1.0)
        here = profiler.measure(networks, target=device_profiles.load("local-onnxruntime"), store=store, budget=budget)
    assert fake.others_cpus is None and here.others_cpus is not None and here.others_cpus >= 0.0
