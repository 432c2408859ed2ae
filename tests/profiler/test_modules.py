"""Torch modules are measured and predicted in one line."""

import pytest
import torch
from torch import nn

import hwnas
import predictors
import profiler
from device_profiles.errors import InvalidModel, UsageError
from profiler import modules

BUDGET = profiler.Budget(max_processes=3, rounds=3, profile_runs=2, memory=False, spread=1.0)


def network(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 2))


class Two(nn.Module):
    def forward(self, image, mask):
        return image * mask


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Of three widths, measured together."""
    with profiler.Store(tmp_path_factory.mktemp("store") / "a.db") as opened:
        named = [modules.as_subject(network(width), (1, 3, 8, 8), name=f"{width} wide") for width in (4, 8, 12)]
        profiler.measure(named, target="fake", store=opened, budget=BUDGET)
        yield opened


def test_one_line_measures_a_module_which_stays_as_it_was():
    module = network().train()
    found = hwnas.measure(module, (1, 3, 8, 8), target="fake", budget=BUDGET)
    assert found.name == "Sequential" and found.latency.value_ms > 0 and found.latency.processes >= 3
    assert module.training


def test_what_is_measured_is_kept_where_a_store_is_given(store):
    conditions = store.require_conditions("fake")
    blocks = len(store.blocks(conditions))
    found = hwnas.measure(network(), (1, 3, 8, 8), target="fake", store=store, budget=BUDGET, name="again")
    assert found.name == "again" and len(store.blocks(conditions)) == blocks


def test_several_inputs_and_whole_numbers():
    assert len(modules.as_file(Two(), [(1, 3, 4, 4), (1, 3, 4, 4)]).graph.inputs) == 2
    ready = modules.as_file(nn.Embedding(8, 4), (1, 5), ["int64"])
    assert [tensor.dtype for tensor in dict(ready.graph.inputs).values()] == ["int64"]


def test_a_predictor_answers_a_module_as_it_does_its_file(store, tmp_path):
    predictor = predictors.fit("lookup", store, target="fake")
    module = network(8)
    torch.onnx.export(module.eval(), (torch.zeros(1, 3, 8, 8),), tmp_path / "m.onnx", dynamo=True, verbose=False)
    found, wanted = predictor.predict(module, (1, 3, 8, 8)), predictor.predict(tmp_path / "m.onnx")
    assert found.value.shape == (1,) and found.value[0] == pytest.approx(wanted.value[0])
    assert found.coverage[0] == wanted.coverage[0] == 1.0


@pytest.mark.parametrize(
    ("module", "shape", "kind", "words"),
    [
        (network(), None, UsageError, "no shapes"),
        (network(), (), UsageError, "no shapes"),
        ("model.onnx", (1, 3, 8, 8), UsageError, "str is no torch module"),
        (network(), (1, 3, 9, 9), InvalidModel, "cannot export"),
    ],
)
def test_what_cannot_be_measured_is_refused(module, shape, kind, words, store):
    with pytest.raises(kind, match=words):
        hwnas.measure(module, shape, target="fake", budget=BUDGET)
    with pytest.raises(kind, match=words):
        predictors.fit("roofline", store, target="fake").predict(module, shape)
