"""A user's own module, from the device to a measured front: profiled, fitted, searched, measured."""

import numpy as np
import pytest

import hwnas
import nas
import predictors
import profiler
from device_profiles.errors import InvalidData
from nas.spaces import live
from nas.study.study import open_study
from predictors import encodings


def accuracy(module, budget):
    return 1.0 - 1.0 / sum(parameter.numel() for parameter in module.parameters())


def test_a_module_is_searched_with_a_predictor_of_its_latency(module_space, module_latency, tmp_path):
    predictor = predictors.load(module_latency)
    assert predictor.card.space == module_space.spec
    result = hwnas.search(
        module_space,
        objectives=[
            nas.objective("accuracy", accuracy, maximise=True, unit="fraction"),
            f"latency:{module_latency}",
            "macs",
        ],
        constraints=["latency <= 1 s"],
        folder=tmp_path / "run",
        strategy="nsga2",
        evaluations=6,
        target="fake",
        finalists=1,
    )
    assert {objective.source for objective in result.study.objectives()} == {"function", "predicted", "counted"}
    assert len(result.front) >= 2
    [(arch, finalist)] = result.study.finalists().items()
    assert finalist["measured"]["latency_ms"]["value"] > 0
    assert arch in {point.arch for point in result.front}


def test_a_run_is_looked_at_where_nobody_made_its_space_as_far_as_that_goes(module_space, tmp_path, monkeypatch):
    one = nas.objective("bits", lambda arch: float(arch.sum()))
    with hwnas.search(module_space, objectives=[one], folder=tmp_path, strategy="random", evaluations=3).study.store:
        pass
    monkeypatch.setattr(live, "_KEPT", {})
    study = open_study(tmp_path)
    with study.store:
        assert len(study.trials()) == 3 and study.fact("space") == module_space.spec
        with pytest.raises(InvalidData, match="cannot be loaded") as refused:
            study.space()
    assert "from_module" in refused.value.hint


def test_its_blocks_tell_what_its_networks_cost(module_space, module_latency, fake, monkeypatch):
    monkeypatch.setattr(encodings, "TABLE_LIMIT", 1)
    with profiler.Store(module_latency.parent / "measured.db") as store:
        predictor = predictors.fit("linear", store, target=fake, space=module_space)
    assert isinstance(predictor.encoding, encodings.Blockwise)
    rows = np.array(list(np.ndindex(*module_space.choices)))
    np.testing.assert_allclose(predictor.predict(rows).value, predictors.load(module_latency).predict(rows).value)
