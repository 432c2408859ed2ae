"""Energy from a meter to a prediction: windows, what is kept of them, and what is said where there are none."""

import sys

import numpy as np
import pytest
from scipy.stats import t as student

import device_profiles
import predictors
import profiler
from device_profiles.errors import InvalidData, UnknownName
from device_profiles.facts import Unavailable
from device_profiles.profile import Fact
from profiler import energies, meters
from profiler.kernels import kernel_subjects
from profiler.measurement import MeteredEnergy
from profiler.meters.command import VARIABLE, CommandMeter
from profiler.meters.modelled import Modelled
from profiler.meters.protocol import Energy

#: Prints 2 W, and 10 W more for each second of CPU time that the work takes in a second.
METER = """
import os, time
parent, tick = os.getppid(), os.sysconf("SC_CLK_TCK")
def cpu():
    return sum(map(int, open(f"/proc/{parent}/stat").read().rpartition(")")[2].split()[11:13])) / tick
last, at = cpu(), time.perf_counter()
while True:
    time.sleep(0.02)
    now, when = cpu(), time.perf_counter()
    print(2.0 + 10.0 * (now - last) / (when - at), flush=True)
    last, at = now, when
"""
QUICK = profiler.Budget(
    spread=9.0, device_s=600.0, max_processes=3, rounds=3, profile_runs=2, memory=False, windows=2, window_s=0.5
)


@pytest.fixture
def metered(monkeypatch, tmp_path):
    """A target with a power meter on its plug."""
    script = tmp_path / "meter.py"
    script.write_text(METER)
    monkeypatch.setenv(VARIABLE, f"{sys.executable} '{script}'")
    return device_profiles.load("local-onnxruntime").model_copy(update={"energy": "command"})


def test_energy_is_measured_kept_told_and_not_taken_again(metered, subject, tmp_path):
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure([subject(8), subject(256)], target=metered, store=store, budget=QUICK)
        rows = store.metered(store.require_conditions(metered.name))
        seen = []
        profiler.measure([subject(8), subject(256)], target=metered, store=store, budget=QUICK, listener=seen.append)
    assert not any(type(event).__name__ == "ProcessStarted" for event in seen), "windows that are there are enough"
    small, large = (one.energy_mj for one in found.measurements)
    assert isinstance(small, MeteredEnergy) and isinstance(large, MeteredEnergy), small
    assert small.windows == large.windows == 2 and all(len(taken) == 2 for taken in rows.values())
    assert 0 < small.value_mj < large.value_mj < large.gross_mj
    assert small.low_mj <= small.value_mj <= small.high_mj and not small.modelled
    assert "meter.py" in small.sensor
    for one in found.measurements:  # 10 W beside idling, while it runs
        assert 0.5 < one.energy_mj.value_mj / (10.0 * one.latency.typical_ms) < 2.0
    plain = found.measurements[0].to_plain()["energy_mj"]
    assert plain.keys() == {"value", "low", "high", "gross", "sensor", "update_ms", "windows", "modelled"}


def test_a_meter_that_cannot_be_read_costs_the_energy_alone(subject, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    target = device_profiles.load("local-onnxruntime").model_copy(update={"energy": "command"})
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure([subject(8)], target=target, store=store, budget=QUICK).measurements[0]
    assert isinstance(found.energy_mj, Unavailable) and VARIABLE in found.energy_mj.reason
    assert found.latency.processes == 3
    with pytest.raises(UnknownName, match="no-such-meter"), profiler.Store(tmp_path / "b.db") as store:
        other = target.model_copy(update={"energy": "no-such-meter"})
        profiler.measure([subject(8)], target=other, store=store)


def test_what_nobody_asked_for_says_how_to_ask(subject, fake, tmp_path):
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure([subject(8)], target=fake(), store=store, budget=QUICK).measurements[0]
    assert isinstance(found.energy_mj, Unavailable) and "--energy" in found.energy_mj.reason


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("print('x')", "not a power"),
        ("print(-1)", "not a power"),
        ("print('nan')", "not a power"),
        ("", "it ended"),
        ("print(1)", "it ended"),
    ],
)
def test_a_command_that_prints_no_power_is_unavailable(script, why, monkeypatch, tmp_path):
    (tmp_path / "m.py").write_text(script)
    monkeypatch.setenv(VARIABLE, f"{sys.executable} {tmp_path / 'm.py'}")
    assert why in CommandMeter().available().reason
    found = CommandMeter().measure(lambda: None, window_s=0.1)
    assert isinstance(found, Unavailable) and why in found.reason


def test_no_shell_reads_the_command_of_a_meter(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, f"no-such-program; touch {tmp_path / 'made'}")
    assert isinstance(CommandMeter().available(), Unavailable)
    monkeypatch.setenv(VARIABLE, "'unclosed")
    assert "is no command" in CommandMeter().available().reason
    assert not (tmp_path / "made").exists()


def test_modelled_energy_is_power_times_time_and_says_so(subject, tmp_path):
    target = device_profiles.load("local-onnxruntime")
    named = {"energy": "modelled", "hardware": {"tdp_w": Fact(value=40.0, source="made up")}}
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure(
            [subject(64)], target=target.model_copy(update=named), store=store, budget=QUICK
        ).measurements[0]
    assert isinstance(found.energy_mj, MeteredEnergy) and found.energy_mj.modelled
    assert found.energy_mj.sensor.startswith("modelled, not measured")
    assert isinstance(Modelled().available(), Unavailable) and "tdp_w" in Modelled().available().reason
    assert meters.load("modelled", {"tdp_w": 5.0, "cpus": 4}) == Modelled(5.0)


def test_the_interval_is_students():
    rng = np.random.default_rng(0)
    windows = [Energy(2.0 + x, x, "s", 1.0) for x in rng.uniform(1, 2, 5)]
    found = energies.combine(windows)
    values = np.array([one.net_mj for one in windows])
    half = student.ppf(0.975, 4) * values.std(ddof=1) * np.sqrt(2 / 5)
    assert found.high_mj - found.value_mj == pytest.approx(half)
    alone = energies.combine(windows[:1])
    assert alone.low_mj is None and alone.high_mj is None and alone.windows == 1


def test_energies_of_two_sensors_are_not_mixed():
    wanted = energies.Wanted(3, {"a": [Energy(2.0, 1.0, "one", 1.0)]})
    told = wanted.told({"id": "b", "gross_mj": 2.0, "net_mj": 1.0, "sensor": "two", "update_ms": 1.0})
    assert isinstance(told, dict) and "another store" in told["unavailable"]
    assert isinstance(
        wanted.told({"id": "b", "gross_mj": 2.0, "net_mj": 1.0, "sensor": "one", "update_ms": 1.0}), Energy
    )


def test_windows_are_wanted_until_there_are_enough_or_too_many_failed():
    wanted = energies.Wanted(2, {"a": [Energy(2.0, 1.0, "one", 1.0)]})
    assert wanted.first(["a", "b"]) == ["b", "a"] and wanted.most(["a", "b"]) == 2
    window = {"gross_mj": 2.0, "net_mj": 1.0, "sensor": "one", "update_ms": 1.0}
    wanted.told({"id": "a", **window})
    for _ in range(energies.MOST_FAILED):
        wanted.told({"id": "b", "unavailable": "idle power drifted"})
    assert wanted.first(["a", "b"]) == []
    other = energies.Wanted(2, {})
    other.give_up()
    assert other.most(["a"]) == 0 and energies.Wanted(0, {}).most(["a"]) == 0


@pytest.mark.parametrize(
    "lie", [{"net_mj": 0.0}, {"net_mj": 3.0}, {"gross_mj": float("inf")}, {"net_mj": float("nan")}]
)
def test_what_cannot_be_an_energy_is_none(lie):
    window = {"id": "a", "gross_mj": 2.0, "net_mj": 1.0, "sensor": "one", "update_ms": 1.0, **lie}
    told = energies.Wanted(3, {}).told(window)
    assert isinstance(told, dict) and "cannot be" in told["unavailable"]


def test_kernels_and_networks_become_a_predictor_of_energy(tmp_path, subject):
    """Modelled energies are quick, and as good as others for this."""
    target = device_profiles.load("local-onnxruntime")
    named = {"energy": "modelled", "hardware": {"tdp_w": Fact(value=40.0, source="made up")}}
    target = target.model_copy(update=named)
    budget = profiler.Budget(
        spread=9.0, device_s=600.0, max_processes=3, rounds=3, profile_runs=2, memory=False, windows=1, window_s=0.05
    )
    networks = [subject(8 * (i + 1), op) for i in range(6) for op in ("Relu", "Sigmoid")]
    with profiler.Store(tmp_path / "a.db") as store, pytest.raises(InvalidData, match="no energy"):
        profiler.measure([networks[0]], target=device_profiles.load("local-onnxruntime"), store=store, budget=budget)
        predictors.fit("lightgbm", store, target=target, cost="energy")
    with profiler.Store(tmp_path / "b.db") as store:
        profiler.measure(networks, target=target, store=store, budget=budget)
        conditions = store.require_conditions(target.name)
        operators = {node.operator for one in networks for node in store.fused(one.id, conditions).nodes}
        alone = kernel_subjects(sorted(operators, key=lambda one: one.key), target)
        profiler.measure(alone, target=target, store=store, budget=budget)
        fitted = predictors.fit("lookup", store, target=target, cost="energy")
        graph = store.fused(networks[3].id, conditions)
    assert fitted.card.unit == "mJ" and fitted.card.sensor.startswith("modelled")
    told = fitted.predict([graph])
    assert told.unit == "mJ" and told.low[0] <= told.value[0] <= told.high[0]
    fitted.save(tmp_path / "e")
    assert predictors.load(tmp_path / "e").card.sensor == fitted.card.sensor
