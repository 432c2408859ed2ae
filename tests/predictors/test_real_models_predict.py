"""The script that says what probes alone know of real models."""

import json
import sys

import numpy as np
import pytest

from benchmarks import real_models_predict
from device_profiles.errors import InvalidData
from profiler.store import Store


@pytest.fixture(scope="module")
def found(measured):
    return real_models_predict.evaluate(measured.path, measured.path, measured.target)


def test_every_model_has_a_row_and_the_figures_are_those_of_the_rows(found, measured):
    rows = found["models"]
    assert found["n"] == len(rows) == len(measured.ids) and found["learned_from"]["networks"] == 20
    errors = np.abs([row["predicted_ms"] / row["measured_ms"] - 1 for row in rows])
    assert [abs(row["error"]) for row in rows] == pytest.approx(errors)
    assert found["median_error"] == pytest.approx(np.median(errors)) and found["worst_error"] == max(errors)
    assert found["believed"] == sum(row["coverage"] > 0.9 for row in rows) == 20, "it was fitted on them"
    assert found["worst_believed"] == found["worst_error"] and not any(row["missing"] for row in rows)
    inside = [row["low_ms"] <= row["measured_ms"] <= row["high_ms"] for row in rows]
    assert inside == [row["inside"] for row in rows] and found["inside"] == pytest.approx(np.mean(inside))
    reached = {"median": np.median(errors) <= 0.05, "worst": max(errors) <= 0.3, "inside": np.mean(inside) >= 0.85}
    assert found["reached"] == reached


@pytest.mark.slow
def test_the_command_prints_and_writes(measured, tmp_path, capsys, monkeypatch):
    path = tmp_path / "out.json"
    line = ["it", str(measured.path), str(measured.path), "--target", measured.target.name, "--json", str(path)]
    monkeypatch.setattr(sys, "argv", line)
    real_models_predict.main()
    assert len(capsys.readouterr().out.splitlines()) == 22
    written = json.loads(path.read_text())
    assert written["benchmark"] == "real_models_predict" and len(written["models"]) == 20 and written["machine"]


def test_a_store_without_networks_is_refused(measured, tmp_path):
    with Store(measured.path, create=False) as store, Store(tmp_path / "empty.db") as empty:
        empty.bind(measured.target.name, "{}", store.require_conditions(measured.target.name))
    with pytest.raises(InvalidData, match="no network"):
        real_models_predict.evaluate(measured.path, tmp_path / "empty.db", measured.target)
