"""Devices that ship: each is what it says, predicts a model by its name, and is in the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import device_profiles
import predictors
from benchmarks import measured_devices
from device_profiles import measured
from device_profiles.conditions import Conditions
from device_profiles.errors import DeviceError, HwnasError
from predictors.loading import place_of
from profiler import runtimes
from profiler.testing import convolution

NAMES = measured.names()
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "measured-devices.md"


def test_some_ship() -> None:
    assert NAMES and all(measured.folder(name) for name in NAMES)
    assert measured.folder("nobody/local-onnxruntime") is None and measured.folder("../../etc") is None


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is(name: str) -> None:
    card = predictors.load(name).card
    conditions = Conditions.from_plain(card.conditions)
    _, target = name.split("/")
    assert card.target == target and target in device_profiles.names()
    runtime = device_profiles.load(target).runtime
    assert (conditions.runtime, conditions.precision) == (runtime.name, runtime.precision)
    assert card.cost == "latency" and card.unit == "ms" and len(card.trained_on) >= 40
    found = json.loads((place_of(name) / measured_devices.EVALUATION).read_text())
    assert 0 < found["mape"] < 1 and found["probes"] == len(card.trained_on)


@pytest.mark.parametrize("name", NAMES)
def test_each_predicts_a_model(name: str, tmp_path: Path) -> None:
    loaded = predictors.load(name)
    try:
        runtimes.load(loaded.card.conditions["runtime"])
    except DeviceError as error:
        pytest.skip(error.message)
    path = tmp_path / "model.onnx"
    path.write_bytes(convolution())
    try:
        found = loaded.predict(path)
    except HwnasError as error:
        if "converter" not in error.message:
            raise
        pytest.skip(error.message)
    assert found.unit == "ms" and np.isfinite(found.value).all() and (found.value > 0).all()
    assert (found.low <= found.value).all() and (found.value <= found.high).all()


def test_a_folder_that_is_there_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / NAMES[0]
    place.mkdir(parents=True)
    assert place_of(NAMES[0]) == Path(NAMES[0])
    with pytest.raises(HwnasError, match="predictor's folder"):
        predictors.load(NAMES[0])


def test_the_page_has_the_rows_that_ship() -> None:
    assert measured_devices.table() in PAGE.read_text()
