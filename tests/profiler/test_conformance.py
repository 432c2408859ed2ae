"""Every registered runtime, meter and transport, held to its kit."""

import json

import pytest

from device_profiles.errors import DeviceError
from profiler import compilers, meters, runtimes, transports
from profiler.testing import check_meter, check_runtime, check_transport

#: Its compilations take a minute: kernels of one small module are looked at in its own tests.
SLOW = {("torch-compile", "bf16"), ("torch-compile", "fp32")}
RUNTIMES = [
    pytest.param(name, precision, marks=pytest.mark.slow) if (name, precision) in SLOW else (name, precision)
    for name, runtime in runtimes.REGISTRY
    for precision in runtime.traits.precisions
]


@pytest.mark.parametrize(("name", "precision"), RUNTIMES)
def test_runtime(name, precision, tmp_path):
    converter = getattr(compilers.load(name), "converter", None)
    if converter is not None and not converter.installed:
        pytest.skip(f"the converter {converter.name} is not installed: {converter.command}")
    try:
        runtimes.load(name)
    except DeviceError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    options = {}
    if name == "replay":
        recording = tmp_path / "recording.json"
        recording.write_text(json.dumps({"models": {"model": [1000.0, 1100.0]}, "sentinel": [400000]}))
        options = {"recording": str(recording)}
    check_runtime(name, options, precision=precision)


@pytest.mark.parametrize("name", meters.names())
def test_meter(name):
    check_meter(name)


def test_local_transport():
    assert transports.names() == ("adb", "local", "ssh")
    check_transport("local")
