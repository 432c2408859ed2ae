"""Devices that ship: each is what it says, predicts a model by its name, serves any space, and is in the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nas
import predictors
from benchmarks import measured_devices
from device_profiles import measured
from device_profiles.conditions import Conditions
from device_profiles.errors import DeviceError, HwnasError
from predictors.loading import place_of
from profiler import compilers, runtimes
from profiler.testing import convolution

NAMES = measured.names()
#: 81 networks.
SMALL = "mobilenetv3:stages=1,layers=2,resolution=32,smallest=32"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "measured-devices.md"


def compiled_here(name: str) -> None:
    """Skip where the runtime of a device, or what converts for it, is not installed."""
    runtime = predictors.load(name).card.conditions["runtime"]
    try:
        runtimes.load(runtime)
    except DeviceError as error:
        pytest.skip(error.message)
    converter = getattr(compilers.load(runtime), "converter", None)
    if converter is not None and not converter.installed:
        pytest.skip(f"no converter: {converter.command}")


def test_some_ship() -> None:
    assert NAMES and all(measured.folder(name) for name in NAMES)
    assert measured.folder("nobody") is None and measured.folder("../../etc") is None and measured.target("a") is None


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is(name: str) -> None:
    card, target = predictors.load(name).card, measured.target(name)
    assert target is not None and target.name == card.target == name and target.hardware["cpu_model"].source
    conditions = Conditions.from_plain(card.conditions)
    assert (conditions.runtime, conditions.precision) == (target.runtime.name, target.runtime.precision)
    assert conditions.device == target.hardware["cpu_model"].value
    assert card.cost == "latency" and card.unit == "ms" and len(card.trained_on) >= 30
    found = json.loads((measured_devices.SHIPPED / f"{name}.json").read_text())
    assert 0 < found["mape"] < 1 and found["probes"] >= len(card.trained_on)


@pytest.mark.parametrize("name", NAMES)
def test_each_predicts_a_model(name: str, tmp_path: Path) -> None:
    compiled_here(name)
    path = tmp_path / "model.onnx"
    path.write_bytes(convolution())
    found = predictors.load(name).predict(path)
    assert found.unit == "ms" and np.isfinite(found.value).all() and (found.value > 0).all()
    assert (found.low <= found.value).all() and (found.value <= found.high).all()


@pytest.mark.slow
def test_one_serves_any_space(tmp_path: Path) -> None:
    known, space = predictors.load("xeon-amx-onnxruntime"), nas.spaces.load(SMALL)
    predictors.for_space(known, space).save(tmp_path / "told")
    told = predictors.load(tmp_path / "told")
    assert told.card.space == space.spec and told.card.target == known.card.target
    archs = space.canonical(space.sample(1, np.random.default_rng(0)))
    path = tmp_path / "network.onnx"
    path.write_bytes(nas.spaces.export.onnx_bytes(space, archs[0]))
    assert told.predict(archs).value[0] == pytest.approx(known.predict(path).value[0])


def test_a_folder_that_is_there_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAMES[0]).mkdir()
    assert place_of(NAMES[0]) == Path(NAMES[0])
    with pytest.raises(HwnasError, match="predictor's folder"):
        predictors.load(NAMES[0])


def test_the_page_has_the_rows_that_ship() -> None:
    assert measured_devices.table() in PAGE.read_text()
