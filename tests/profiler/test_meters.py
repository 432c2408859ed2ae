"""Energy meters against laid-out sensors: what they read, and when they say that there is no number."""

import stat
import time
from types import SimpleNamespace

import pytest

from device_profiles.facts import Unavailable
from profiler.meters import _windows, battery, jetson, nvml, nvml_power, rapl, raspberry_pi
from profiler.meters._windows import measured
from profiler.meters.protocol import Energy


class World:
    """A clock that moves when it is told to, and a device that takes power meanwhile."""

    def __init__(self, idle_mw=2_000.0, busy_mw=5_000.0, work_s=0.05):
        self.now_s, self.energy_mj = 0.0, 0.0
        self.idle_mw, self.busy_mw, self.work_s = idle_mw, busy_mw, work_s

    def pass_by(self, seconds, power_mw):
        self.now_s += seconds
        self.energy_mj += seconds * power_mw

    def clock(self):
        return self.now_s

    def sleep(self, seconds):
        self.pass_by(seconds, self.idle_mw)

    def work(self):
        self.pass_by(self.work_s, self.busy_mw)

    def measured(self, sensor, window_s=5.0):
        return measured(sensor, self.work, window_s=window_s, clock=self.clock, sleep=self.sleep)


def counter(world, **more):
    given = {"name": "counter", "update_ms": 10.0, "energy_mj": lambda: world.energy_mj, **more}
    return SimpleNamespace(**given)


# ---- windows ----


def test_energy_of_a_repetition_is_exact_on_an_exact_counter():
    found = World().measured(counter(World()))
    assert isinstance(found, Unavailable)  # another world's counter stands still
    world = World()
    found = world.measured(counter(world))
    assert isinstance(found, Energy)
    assert found.gross_mj == pytest.approx(5_000 * 0.05) and found.net_mj == pytest.approx(3_000 * 0.05)
    assert (found.sensor, found.update_ms) == ("counter", 10.0)


def test_windows_are_as_long_as_the_sensor_needs():
    world = World()
    assert isinstance(world.measured(counter(world, update_ms=200.0), window_s=0.1), Energy)
    assert world.now_s >= _windows.FEWEST_UPDATES * 0.2


def test_work_that_takes_no_more_than_idling_has_no_energy():
    world = World(idle_mw=2_000.0, busy_mw=2_000.0)
    found = world.measured(counter(world))
    assert isinstance(found, Unavailable) and "no more than idling" in found.reason


def test_a_device_that_idles_otherwise_afterwards_has_no_energy():
    world = World()
    slept = []

    def sleep(seconds):
        world.pass_by(seconds, 2_000.0 if not slept else 4_000.0)
        slept.append(seconds)

    found = measured(counter(world), world.work, window_s=5.0, clock=world.clock, sleep=sleep)
    assert isinstance(found, Unavailable) and "too different" in found.reason


def test_a_sensor_that_fails_meanwhile_says_so():
    world, reads = World(), []

    def energy_mj():
        reads.append(1)
        if len(reads) > 2:
            raise OSError("gone")
        return world.energy_mj

    found = world.measured(counter(world, energy_mj=energy_mj))
    assert isinstance(found, Unavailable) and "gone" in found.reason


def test_power_is_integrated_over_time():
    """In real time: a sensor of power has a thread that reads it."""
    power = [1_000.0]
    sensor = SimpleNamespace(name="power", update_ms=2.0, energy_mj=lambda: None, power_mw=lambda: power[0])

    def work():
        power[0] = 3_000.0
        time.sleep(0.01)
        power[0] = 1_000.0 if time.perf_counter() > ends else 3_000.0

    ends = time.perf_counter() + 10.0
    original = time.sleep

    def idle(seconds):
        power[0] = 1_000.0
        original(seconds)

    found = measured(sensor, work, window_s=0.3, sleep=idle)
    assert isinstance(found, Energy)
    assert 1.0 < found.net_mj / found.gross_mj * 3.0 < 3.0  # two thirds, about
    assert found.gross_mj == pytest.approx(3_000 * 0.01, rel=0.5)


# ---- RAPL ----


def laid_out(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


POWERCAP = "sys/class/powercap/"
PACKAGES = {
    f"{POWERCAP}intel-rapl:0/name": "package-0",
    f"{POWERCAP}intel-rapl:0/energy_uj": 1_000_000,
    f"{POWERCAP}intel-rapl:0/max_energy_range_uj": 10_000_000,
    f"{POWERCAP}intel-rapl:0:0/name": "core",
    f"{POWERCAP}intel-rapl:0:0/energy_uj": 700_000,
    f"{POWERCAP}intel-rapl:1/name": "psys",
    f"{POWERCAP}intel-rapl:1/energy_uj": 9_000_000,
    f"{POWERCAP}intel-rapl:2/name": "package-1",
    f"{POWERCAP}intel-rapl:2/energy_uj": 500_000,
    f"{POWERCAP}intel-rapl:2/max_energy_range_uj": 10_000_000,
}


def test_packages_are_added_and_nothing_that_is_in_them(tmp_path):
    meter = rapl.Rapl(laid_out(tmp_path, PACKAGES))
    assert meter.available() is None
    sensor = rapl.Packages(tuple(meter._packages()))
    assert sensor.energy_mj() == pytest.approx(1_500.0)
    assert "package-0, package-1" in sensor.name and "psys" not in sensor.name


def test_counters_that_wrap_go_on(tmp_path):
    meter = rapl.Rapl(laid_out(tmp_path, PACKAGES))
    sensor, file = rapl.Packages(tuple(meter._packages())), tmp_path / f"{POWERCAP}intel-rapl:0/energy_uj"
    start = sensor.energy_mj()
    seen = []
    for value in (9_900_000, 400_000, 9_000_000, 100_000):
        file.write_text(str(value))
        seen.append(sensor.energy_mj() - start)
    assert seen == pytest.approx([8_900.0, 9_400.0, 18_000.0, 19_100.0])


def test_what_rapl_lacks_has_its_remedy(tmp_path, monkeypatch):
    assert "not an x86 CPU, or a virtual machine" in rapl.Rapl(tmp_path).available().reason
    meter = rapl.Rapl(laid_out(tmp_path, PACKAGES))
    text = rapl._sysfs.text
    monkeypatch.setattr(rapl._sysfs, "text", lambda path: None if path.name == "energy_uj" else text(path))
    assert "by root alone; sudo chmod" in meter.available().reason
    assert isinstance(meter.measure(lambda: None, window_s=0.01), Unavailable)


# ---- Jetson ----

I2C = "sys/bus/i2c/drivers/"
HWMON = {
    f"{I2C}ina3221/1-0040/hwmon/hwmon4/{name}": value
    for name, value in {
        "in1_label": "VDD_IN", "in1_input": 5_000, "curr1_input": 1_200,
        "in2_label": "VDD_CPU_GPU_CV", "in2_input": 5_000, "curr2_input": 600,
        "in3_label": "VDD_SOC", "in3_input": 5_000, "curr3_input": 300,
        "in4_label": "NC", "in4_input": 0, "curr4_input": 0,
    }.items()
}  # fmt: skip
IIO = {
    f"{I2C}ina3221x/6-0040/iio:device0/{name}": value
    for name, value in {
        "rail_name_0": "POM_5V_GPU", "in_power0_input": 800,
        "rail_name_1": "POM_5V_CPU", "in_power1_input": 700,
    }.items()
}  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "power_mw", "words"),
    [
        (HWMON, 6_000.0, "VDD_IN: the whole module"),
        (IIO, 1_500.0, "POM_5V_GPU + POM_5V_CPU: these rails"),
        ({name: value for name, value in HWMON.items() if "1_" not in name}, 4_500.0, "VDD_CPU_GPU_CV + VDD_SOC"),
    ],
)
def test_a_rail_that_holds_all_is_not_added_to_them(tmp_path, monkeypatch, tree, power_mw, words):
    seen = []
    monkeypatch.setattr(jetson, "measured", lambda sensor, work, window_s: seen.append(sensor))
    meter = jetson.Jetson(laid_out(tmp_path, tree))
    assert meter.available() is None
    meter.measure(lambda: None, window_s=1.0)
    assert seen[0].power_mw() == pytest.approx(power_mw) and words in seen[0].name and seen[0].energy_mj() is None


def test_boards_without_rails_say_so(tmp_path):
    assert "not a Jetson" in jetson.Jetson(tmp_path).available().reason
    broken = {**IIO, f"{I2C}ina3221x/6-0040/iio:device0/in_power0_input": "no number"}
    assert [rail.name for rail in jetson.Jetson(laid_out(tmp_path, broken))._rails()] == ["POM_5V_CPU"]


# ---- Raspberry Pi ----

ADC = """
 3V7_WL_SW_A current(0)=0.00195176A
   VDD_CORE_A current(7)=1.75000000A
 3V7_WL_SW_V volt(8)=3.70000000V
   VDD_CORE_V volt(15)=0.80000000V
   EXT5V_V volt(24)=5.14790000V
"""


def test_rails_with_both_readings_are_multiplied():
    found = raspberry_pi.powers_mw(ADC)
    assert found == pytest.approx({"3V7_WL_SW": 7.221512, "VDD_CORE": 1_400.0})
    with pytest.raises(OSError, match="shows no rails: VCHI"):
        raspberry_pi.powers_mw("VCHI initialization failed")


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_scripted_vcgencmd_is_read(tmp_path):
    shown = tmp_path / "shown"
    shown.write_text(ADC)
    meter = raspberry_pi.RaspberryPi(script(tmp_path / "vcgencmd", f'[ "$1" = pmic_read_adc ] && cat {shown}'))
    assert meter.available() is None
    assert raspberry_pi.Rails(meter.command).power_mw() == pytest.approx(1_407.221512)
    older = raspberry_pi.RaspberryPi(script(tmp_path / "older", "echo 'error=1 Command not registered'; exit 255"))
    assert "since the Raspberry Pi 5" in older.available().reason
    assert "not a Raspberry Pi" in raspberry_pi.RaspberryPi("no-such-command").available().reason


# ---- batteries ----

SUPPLY = "sys/class/power_supply/"
PHONE = {
    f"{SUPPLY}usb/type": "USB",
    f"{SUPPLY}battery/type": "Battery",
    f"{SUPPLY}battery/status": "Discharging",
    f"{SUPPLY}battery/voltage_now": 4_000_000,
    f"{SUPPLY}battery/current_now": -500_000,
}


def test_a_battery_that_discharges_tells_the_devices_power(tmp_path):
    meter = battery.BatteryMeter(laid_out(tmp_path, PHONE))
    assert meter.available() is None
    assert battery.Battery(meter._battery()).power_mw() == pytest.approx(2_000.0)
    laid_out(tmp_path, {f"{SUPPLY}battery/power_now": 7_500_000})
    assert battery.Battery(meter._battery()).power_mw() == pytest.approx(7_500.0)


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", ""])
def test_a_battery_at_its_charger_is_refused(tmp_path, status):
    meter = battery.BatteryMeter(laid_out(tmp_path, {**PHONE, f"{SUPPLY}battery/status": status}))
    assert "unplug the device" in meter.available().reason
    assert isinstance(meter.measure(lambda: None, window_s=0.01), Unavailable)


def test_a_cable_that_is_plugged_in_meanwhile_ends_the_window(tmp_path):
    folder = laid_out(tmp_path, PHONE) / SUPPLY / "battery"
    sensor = battery.Battery(folder, update_ms=1.0)

    def work():
        time.sleep(0.005)
        (folder / "new").write_text("Charging")
        (folder / "new").replace(folder / "status")

    found = measured(sensor, work, window_s=0.06)
    assert isinstance(found, Unavailable) and "battery is charging" in found.reason


def test_devices_without_a_battery_say_so(tmp_path):
    assert "no battery" in battery.BatteryMeter(tmp_path).available().reason


# ---- NVIDIA ----


class StandIn:
    """NVML with one card."""

    class NVMLError(Exception):
        pass

    def __init__(self, world=None, refuses=False, code=0):
        self.world, self.refuses, self.code = world or World(), refuses, code

    def nvmlInit(self):
        if self.refuses:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByIndex(self, number):
        return number

    def nvmlDeviceGetName(self, handle):
        return b"A GPU"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return round(self.world.energy_mj)

    def nvmlDeviceGetFieldValues(self, handle, fields):
        assert fields == [186]
        return [SimpleNamespace(nvmlReturn=self.code, value=SimpleNamespace(uiVal=250_000))]


def test_the_counter_of_a_gpu_is_read_and_named():
    world = World(idle_mw=60_000.0, busy_mw=300_000.0)
    sensor = nvml.Counter(StandIn(world), 0)
    found = world.measured(sensor)
    assert isinstance(found, Energy) and found.gross_mj == pytest.approx(300_000 * 0.05, rel=1e-3)
    assert found.net_mj == pytest.approx(240_000 * 0.05, rel=1e-3) and "NVML total energy of A GPU" in found.sensor


def test_instant_power_is_another_sensor():
    meter = nvml_power.NvmlPower(library=StandIn())
    assert meter.available() is None
    sensor = nvml_power.Power(meter.library, 0)
    assert sensor.power_mw() == 250_000.0 and "instant power" in sensor.name and sensor.energy_mj() is None
    refused = nvml_power.NvmlPower(library=StandIn(code=3))
    assert "answers 3" in refused.available().reason


def test_without_a_driver_there_is_no_number():
    meter = nvml.Nvml(library=StandIn(refuses=True))
    assert "Driver Not Loaded" in meter.available().reason
    assert isinstance(meter.measure(lambda: None, window_s=0.01), Unavailable)
