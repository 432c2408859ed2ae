"""Perplexity by shared weights: transformers on text and on pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from nas import evaluators
from nas.evaluators.protocol import Context
from nas.weights import alone, data, training
from nas.weights.data import Wanted
from nas.weights.training import TrainingPlan
from profiler.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")

GPT = "gpt:layers=3,length=16,vocabulary=32,width=13"
HAT = "hat:encoder_layers=3,decoder_layers=1,length=8,vocabulary=32,width=5"
SETTINGS = {"train_steps": 60, "images": 200}


@pytest.fixture
def opened(tmp_path):
    """Opens `perplexity` for a space and data."""

    def make(space, name, spec="perplexity", **settings):
        loaded = nas.spaces.load(space)
        context = Context(loaded, tmp_path, Store(tmp_path / "run.db"), data=name, settings={**SETTINGS, **settings})
        return evaluators.open_objective(spec, context)

    return make


@pytest.mark.parametrize(("space", "name"), [(GPT, "text"), (HAT, "pairs")])
def test_networks_are_judged_by_what_they_inherit_and_learn(opened, space, name):
    judge = opened(space, name)
    archs = judge.context.space.sample(3, np.random.default_rng(0))
    found = judge.evaluate(archs)
    task, valid = judge.images.task, judge.images.valid
    expected = [alone.judge(judge.network(arch), task, valid).value for arch in archs]
    np.testing.assert_allclose(found.value, expected, rtol=1e-6)
    assert (found.low < found.value).all() and (found.value < found.high).all()
    untrained = alone.judge(judge.context.space.to_module(archs[0]).eval(), task, valid).value
    assert found.value.mean() < 0.85 * untrained
    ((score, value),) = judge.tested(archs[0]).items()
    assert score == "test_perplexity" and value == pytest.approx(found.value[0], rel=0.5)
    assert (judge.objective.unit, judge.objective.maximise, judge.objective.source) == ("", False, "shared")


def test_a_training_that_was_cut_ends_on_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 4)
    space = nas.spaces.load(GPT)
    read = data.load("text", Wanted.of(space), seed=0, limit=100)
    plan = TrainingPlan(steps=10, batch=8, optimiser="adamw", rate=0.001)

    def trained(path: Path, last=None):
        class Cut(Exception):
            pass

        def progress(done, total):
            if done == last:
                raise Cut

        try:
            return training.train(space, read, plan, checkpoint=path, progress=progress).state_dict()
        except Cut:
            return None

    whole = trained(tmp_path / "whole.safetensors")
    assert trained(tmp_path / "cut.safetensors", last=7) is None
    again = trained(tmp_path / "cut.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole if torch.is_tensor(whole[name]))


@pytest.mark.parametrize(
    ("space", "name", "spec", "words"),
    [
        (GPT, None, "perplexity", "needs text or pairs"),
        (GPT, "text", "accuracy", "judges networks of images"),
        ("nasbench201:cells=1,channels=4,resolution=8", "digits", "perplexity", "judges networks of tokens"),
        (HAT, "text", "perplexity", "the networks read"),
    ],
)
def test_what_does_not_go_together_is_refused(opened, space, name, spec, words):
    with pytest.raises(UsageError, match=words):
        opened(space, name, spec)
