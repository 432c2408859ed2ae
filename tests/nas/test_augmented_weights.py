"""Images are changed while shared weights train: as planned, anew in each step, and the same after an interruption."""

from itertools import pairwise

import pytest
import torch

import nas
from device_profiles.errors import UnknownName, UsageError
from nas.evaluators.protocol import Context
from nas.evaluators.shared import EVALUATOR
from nas.weights import images as pictures
from nas.weights import training
from nas.weights.data import augmentation
from nas.weights.training import TrainingPlan

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = nas.spaces.load("chain:layers=1,width=25,resolution=16,classes=10,image_channels=1")


@pytest.fixture(scope="module")
def images():
    return pictures.load("digits", SPACE.input_shape, seed=0, limit=100)


def trained(images, folder, names=(), steps=4, progress=lambda done, total: None):
    plan = TrainingPlan(steps=steps, batch=8, augment=names)
    place = folder / f"{'-'.join(names) or 'plain'}.safetensors"
    found = training.train(SPACE, images, plan, checkpoint=place, progress=progress)
    return torch.cat([parameter.detach().reshape(-1) for parameter in found.parameters()])


def test_each_kind_changes_what_is_learned_and_is_seeded(images, tmp_path):
    plain = trained(images, tmp_path)
    for name in augmentation.NAMES:
        first = trained(images, tmp_path / "first", (name,))
        assert not torch.equal(first, plain) and torch.equal(first, trained(images, tmp_path / "second", (name,)))


def test_an_interrupted_training_sees_the_same_images(images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)
    whole = trained(images, tmp_path / "whole", ("crop", "cutout"))

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(images, tmp_path / "cut", ("crop", "cutout"), progress=stop)
    assert torch.equal(trained(images, tmp_path / "cut", ("crop", "cutout")), whole)


def test_images_of_every_step_are_changed_by_chance_of_their_own(images, tmp_path, monkeypatch):
    seen = []

    def watched(batch, names, rng):
        seen.append(augmentation.augment(torch.ones(2, 1, 16, 16), names, rng))
        return batch

    monkeypatch.setattr(training, "augment", watched)
    trained(images, tmp_path, ("cutout",))
    assert len(seen) == 4 and not any(torch.equal(one, other) for one, other in pairwise(seen))


def test_a_plan_without_says_nothing_of_it():
    assert "augment" not in TrainingPlan().facts
    assert TrainingPlan(augment=("flip",)).facts["augment"] == ("flip",)


def test_the_setting_is_that_of_networks_trained_alone(tmp_path):
    def opened(space, spec, data, **settings):
        context = Context(nas.spaces.load(space), tmp_path, store=None, data=data, settings=settings)
        return EVALUATOR.open("x", spec, context)

    judge = opened(SPACE.spec, "accuracy", "digits", augment="cutout, flip")
    assert judge.plan.augment == ("flip", "cutout")
    with pytest.raises(UnknownName, match="blur"):
        opened(SPACE.spec, "accuracy", "digits", augment="blur")
    with pytest.raises(UsageError, match="text"):
        opened(SPACE.spec, "accuracy", "digits", augment=1)
    with pytest.raises(UsageError, match="no images"):
        opened("gpt", "perplexity", "text", augment="flip")
