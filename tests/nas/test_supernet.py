"""Shared weights: training that can be interrupted, networks that inherit, and how right they are."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import nas
from device_profiles.errors import HwnasError, UsageError
from nas.weights import images as data
from nas.weights import training
from nas.weights.images import Split
from nas.weights.training import TrainingPlan

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
PLAN = TrainingPlan(steps=20, batch=16, seed=4)


@pytest.fixture(scope="module")
def images():
    return data.load("digits", SPACE.input_shape, seed=0)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """Weights of an uninterrupted training."""
    return weights(training.train(SPACE, images, PLAN, checkpoint=tmp_path_factory.mktemp("whole") / "w.safetensors"))


@pytest.fixture(scope="module")
def learned(images, tmp_path_factory):
    """A supernet after 100 steps."""
    plan = TrainingPlan(steps=100)
    return training.train(SPACE, images, plan, checkpoint=tmp_path_factory.mktemp("learned") / "w.safetensors")


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stop_at(step):
    """A progress that interrupts before a step."""

    def progress(done, total):
        if done == step:
            raise KeyboardInterrupt

    return progress


def steps_of(space, images, plan, checkpoint):
    """Which steps a training takes."""
    taken = []
    training.train(space, images, plan, checkpoint=checkpoint, progress=lambda done, total: taken.append((done, total)))
    return taken


# -- training


@pytest.mark.parametrize("stops", [(3,), (5,), (12,), (19,), (7, 8, 16)])
def test_an_interrupted_training_ends_with_the_same_weights(images, whole, tmp_path, monkeypatch, stops):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 5)
    path = tmp_path / "w.safetensors"
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            training.train(SPACE, images, PLAN, checkpoint=path, progress=stop_at(stop))
    torch.manual_seed(99)
    taken = []
    found = training.train(SPACE, images, PLAN, checkpoint=path, progress=lambda done, total: taken.append(done))
    assert taken == list(range(stops[-1] // 5 * 5, 21))
    assert equal(weights(found), whole)


def test_a_finished_training_is_read_and_not_repeated(images, whole, tmp_path):
    path = tmp_path / "w.safetensors"
    training.train(SPACE, images, PLAN, checkpoint=path)
    assert steps_of(SPACE, images, PLAN, path) == [(20, 20)]
    assert equal(weights(training.train(SPACE, images, PLAN, checkpoint=path)), whole)
    assert [place.name for place in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize(
    "other",
    [
        {"plan": TrainingPlan(steps=21, batch=16, seed=4)},
        {"plan": TrainingPlan(steps=20, batch=16, seed=5)},
        {"plan": TrainingPlan(steps=20, batch=16, seed=4, rate=0.04)},
        {"space": nas.spaces.load("nasbench201:cells=1,channels=5,resolution=8")},
        {"data": "another"},
        {"data": "other images of the same name"},
    ],
    ids=["steps", "seed", "rate", "space", "data", "images"],
)
def test_a_checkpoint_of_another_training_is_not_used(images, tmp_path, other):
    path = tmp_path / "w.safetensors"
    training.train(SPACE, images, PLAN, checkpoint=path)
    given = {"space": SPACE, "plan": PLAN, **other}
    found = images
    if "data" in other:
        name = "another" if other["data"] == "another" else images.name
        found = data.Images(name, 10, Split(-images.train.images, images.train.labels), images.valid, images.test)
    taken = steps_of(given["space"], found, given["plan"], path)
    assert taken[0] == (0, given["plan"].steps)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def scribble(path):
    path.write_bytes(b"not weights at all" * 10)


def rewrite(path, change):
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def lose_a_weight(path):
    rewrite(path, lambda tensors, metadata: tensors.pop("weights.shared.stem.0.weight"))


def reshape_a_weight(path):
    rewrite(path, lambda tensors, metadata: tensors.update({"weights.shared.stem.0.weight": torch.zeros(1)}))


def lose_the_step(path):
    rewrite(path, lambda tensors, metadata: metadata.pop("step"))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, empty, scribble, lose_a_weight, reshape_a_weight, lose_the_step])
def test_a_damaged_checkpoint_is_an_error_that_names_it(images, tmp_path, damage):
    path = tmp_path / "w.safetensors"
    training.train(SPACE, images, PLAN, checkpoint=path)
    damage(path)
    with pytest.raises(HwnasError, match=r"w\.safetensors"):
        training.train(SPACE, images, PLAN, checkpoint=path)


@pytest.mark.parametrize("classes", [7, 12])
def test_another_number_of_classes_is_refused(images, tmp_path, classes):
    space = nas.spaces.load(f"nasbench201:cells=1,channels=4,resolution=8,classes={classes}")
    with pytest.raises(UsageError, match=f"{classes} classes apart, digits has 10") as caught:
        training.train(space, images, PLAN, checkpoint=tmp_path / "w.safetensors")
    assert "classes=10" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_space_that_shares_no_weights_is_refused(images, tmp_path):
    lonely = SimpleNamespace(name="lonely", spec="lonely")
    with pytest.raises(UsageError, match="'lonely' cannot share weights"):
        training.train(lonely, images, PLAN, checkpoint=tmp_path / "w.safetensors")


def test_training_learns_to_tell_digits_apart(images, learned):
    found = [
        training.accuracy(training.inherit(learned, arch, images), images.valid)
        for arch in SPACE.sample(8, np.random.default_rng(1))
    ]
    fresh = SPACE.to_supernet()
    without = [
        training.accuracy(training.inherit(fresh, arch, images), images.valid)
        for arch in SPACE.sample(8, np.random.default_rng(1))
    ]
    assert np.mean(found) > 0.25, "chance is 0.1"
    assert np.mean(found) > np.mean(without) + 0.1


def test_minibatches_repeat_nothing_and_end_with_the_data(images):
    rng = np.random.default_rng(0)
    numbered = Split(torch.arange(50.0), torch.arange(50))
    rows, labels = training.minibatch(numbered, 20, rng)
    assert len(set(labels.tolist())) == 20
    assert rows.tolist() == labels.tolist()
    assert sorted(training.minibatch(numbered, 64, rng)[1].tolist()) == list(range(50))


# -- networks that inherit


def test_inheriting_takes_batch_norm_statistics_anew(images, learned):
    arch = SPACE.parse("3,1,2,0,4,3")
    network = training.inherit(learned, arch, images, batches=3, size=32, seed=7)
    assert not network.training
    rng = np.random.default_rng([7, 3])
    batches = [training.minibatch(images.train, 32, rng)[0] for _ in range(3)]
    convolution, norm = learned.shared["stem"]
    with torch.no_grad():
        outputs = [convolution(batch) for batch in batches]
    mean = torch.stack([out.mean(dim=(0, 2, 3)) for out in outputs]).mean(dim=0)
    variance = torch.stack([out.var(dim=(0, 2, 3)) for out in outputs]).mean(dim=0)
    own = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert torch.allclose(own.running_mean, mean, atol=1e-5)
    assert torch.allclose(own.running_var, variance, rtol=1e-4)
    assert not torch.allclose(own.running_mean, norm.running_mean, atol=1e-3)


def test_inheriting_does_not_touch_the_supernet(images, learned):
    before, mode = weights(learned), learned.training
    arch = SPACE.parse("3,3,3,3,3,3")
    network = training.inherit(learned, arch, images)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.fill_(7.0)
    assert equal(weights(learned), before)
    assert learned.training == mode


def test_inheriting_keeps_the_shared_weights_and_depends_on_the_seed_alone(images, learned):
    arch = SPACE.parse("3,1,2,0,4,3")
    first = training.inherit(learned, arch, images, seed=1)
    torch.manual_seed(3)
    assert equal(weights(first), weights(training.inherit(learned, arch, images, seed=1)))
    assert not equal(weights(first), weights(training.inherit(learned, arch, images, seed=2)))
    plain = dict(learned.subnet(arch).named_parameters())
    assert all(torch.equal(tensor, plain[name]) for name, tensor in first.named_parameters())


@pytest.mark.parametrize("batch", [1, 3, 10, 250])
def test_accuracy_by_hand(batch):
    answers, labels = torch.tensor([0, 1, 2, 2, 1, 0, 1]), torch.tensor([0, 1, 2, 0, 0, 0, 2])
    split = Split(torch.nn.functional.one_hot(answers, 3).float(), labels)
    assert training.accuracy(lambda rows: rows, split, batch=batch) == pytest.approx(4 / 7)
