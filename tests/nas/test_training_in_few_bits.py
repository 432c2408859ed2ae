"""Shared weights in bf16 and fp16, and steps whose losses are no numbers."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UnknownName, UsageError
from nas.evaluators.protocol import Context
from nas.evaluators.shared import EVALUATOR
from nas.testing import gradients as kit
from nas.weights import going, precision, supernets, training
from nas.weights import images as pictures
from nas.weights.data.protocol import Part
from nas.weights.diverged import Diverged
from nas.weights.training import TrainingPlan

pytestmark = pytest.mark.usefixtures("one_thread")

CHAIN = nas.spaces.load("chain:layers=1,width=25,resolution=16,classes=10")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    return pictures.load("digits", CHAIN.input_shape, seed=0, limit=300)


@dataclass
class Teacher:
    """Rows and classes; the loss of the calls that `broken` says, or of all if it is None, is no number."""

    train: Part
    broken: frozenset[int] | None = frozenset()
    losses: list[float] = field(default_factory=list)
    name, digest = "teacher", "0"

    def loss(self, outputs, targets):
        found = torch.nn.functional.cross_entropy(outputs, targets)
        self.losses.append(float(found.detach()))
        wrong = self.broken is None or len(self.losses) - 1 in self.broken
        return found * float("nan") if wrong else found


def teacher(broken=frozenset()):
    return Teacher(kit._data().train, broken)


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items() if torch.is_tensor(tensor)}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def train(data, path, space=None, progress=lambda done, total: None, **plan):
    plan = TrainingPlan(**{"steps": 6, "batch": 16, **plan})
    return training.train(
        kit._space() if space is None else space, data, plan, checkpoint=path / "w.safetensors", progress=progress
    )


def stop_at(step):
    def progress(done, total):
        if done == step:
            raise KeyboardInterrupt

    return progress


# -- bf16


def test_in_bf16_networks_learn_and_weights_stay_fp32(tmp_path):
    data = teacher()
    learned = train(data, tmp_path, steps=100, batch=32, rate=0.2, precision="bf16")
    assert np.mean(data.losses[-10:]) < 0.8 * np.mean(data.losses[:10])
    assert {parameter.dtype for parameter in learned.parameters()} == {torch.float32}
    cast = precision.Cast(learned, "bf16", CPU, None)
    plain = learned.forward_path(data.train.inputs, np.zeros(3, dtype=int))
    fewer = cast.forward_path(data.train.inputs, np.zeros(3, dtype=int))
    off = float(((plain - fewer).abs().max() / plain.abs().max()).detach())
    assert fewer.dtype == torch.float32 and 1e-5 < off < 0.05, "it was computed with some 8 bits"


def test_in_bf16_an_interrupted_training_ends_with_the_same_weights(images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)
    whole = weights(train(images, tmp_path / "whole", CHAIN, steps=4, precision="bf16"))
    with pytest.raises(KeyboardInterrupt):
        train(images, tmp_path / "cut", CHAIN, steps=4, precision="bf16", progress=stop_at(3))
    torch.manual_seed(99)
    assert equal(weights(train(images, tmp_path / "cut", CHAIN, steps=4, precision="bf16")), whole)
    other = weights(train(images, tmp_path / "other", CHAIN, steps=4))
    assert not equal(other, whole), "fp32 ends elsewhere"


def test_precision_is_a_fact_of_a_plan_but_for_the_default():
    assert "precision" not in TrainingPlan().facts
    assert TrainingPlan(precision="bf16").facts["precision"] == "bf16"


def test_another_precision_is_another_training(tmp_path):
    taken = []
    for bits in ("fp32", "bf16"):
        train(teacher(), tmp_path, steps=1, precision=bits, progress=lambda done, total: taken.append(done))
    assert taken == [0, 1, 0, 1]


# -- what is refused


@pytest.mark.parametrize(("bits", "error", "said"), [("fp16", UsageError, "GPU"), ("int8", UnknownName, "int8")])
def test_what_a_cpu_does_not_do_is_refused_before_anything_is_trained(tmp_path, bits, error, said):
    with pytest.raises(error, match=said) as caught:
        train(teacher(), tmp_path, precision=bits)
    assert caught.value.hint
    context = Context(CHAIN, tmp_path, store=None, data="digits", settings={"precision": bits})
    with pytest.raises(error, match=said):
        EVALUATOR.open("accuracy", "accuracy", context)
    assert not list(tmp_path.iterdir())


def test_the_objective_trains_in_the_precision_that_was_set(tmp_path):
    context = Context(CHAIN, tmp_path, store=None, data="digits", settings={"precision": "bf16", "train_steps": 1})
    assert EVALUATOR.open("accuracy", "accuracy", context).plan.precision == "bf16"
    assert "precision" in EVALUATOR.settings


# -- gradients are scaled


@pytest.mark.parametrize("factor", [None, 4.0, 0.5])
def test_gradients_are_multiplied_where_they_enter_the_network_and_losses_stay_as_they_are(factor):
    data, slopes, losses = teacher(), [], []
    for scale in (None, factor):
        supernet = supernets.of(kit._space())
        cast = precision.Cast(supernet, "fp32", CPU, scale)
        loss = data.loss(cast.forward_path(data.train.inputs, np.array([1, 0, 2])), data.train.targets)
        loss.backward()
        losses.append(float(loss.detach()))
        slopes.append(torch.cat([one.grad.flatten() for one in supernet.parameters() if one.grad is not None]))
    assert losses[0] == losses[1]
    np.testing.assert_allclose(slopes[1].numpy(), slopes[0].numpy() * (factor or 1.0), rtol=1e-5, atol=1e-9)


def test_fp16_scales_gradients_and_halves_the_scale_where_they_overflow(tmp_path, monkeypatch):
    """The path of a GPU, which torch can go on a CPU, too."""
    monkeypatch.setattr(precision, "require", lambda name, place: None)
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)
    scalers = []

    def scaler(name, place):
        made = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=3)  # beyond fp16 at first
        scalers.append(made)
        return made

    monkeypatch.setattr(precision, "scaler", scaler)
    whole = train(teacher(), tmp_path / "whole", steps=40, precision="fp16")
    assert scalers[0].get_scale() < 2.0**25
    assert all(bool(torch.isfinite(one).all()) for one in whole.parameters())
    with pytest.raises(KeyboardInterrupt):
        train(teacher(), tmp_path / "cut", steps=40, precision="fp16", progress=stop_at(31))
    cut = train(teacher(), tmp_path / "cut", steps=40, precision="fp16")
    assert equal(weights(cut), weights(whole)), "the scale is in the checkpoint"


@pytest.mark.parametrize(
    "space", [CHAIN, nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")], ids=["chain", "nasbench201"]
)
def test_kernels_of_shared_weights_have_their_channels_last(space, tmp_path, monkeypatch):
    """As they are made, after each step, and when a training is taken up again; so a step takes half the time."""
    few = pictures.load("digits", space.input_shape, seed=0, limit=100)
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    with pytest.raises(KeyboardInterrupt):
        train(few, tmp_path / "cut", space, steps=3, progress=stop_at(2))
    cut, whole = (train(few, tmp_path / name, space, steps=3) for name in ("cut", "whole"))
    kernels = [one for one in cut.parameters() if one.ndim == 4 and min(one.shape[1:3]) > 1]
    assert kernels and all(one.is_contiguous(memory_format=torch.channels_last) for one in kernels)
    assert equal(weights(cut), weights(whole))


def test_how_kernels_lie_in_memory_changes_no_value(images, tmp_path, monkeypatch):
    last = weights(train(images, tmp_path / "last", CHAIN, steps=1))  # later steps grow what is rounded otherwise
    for module in ("assembled", "supernets"):
        monkeypatch.setattr(f"nas.weights.{module}.laid_out", lambda module: module)
    plain = weights(train(images, tmp_path / "plain", CHAIN, steps=1))
    for name, tensor in last.items():
        np.testing.assert_allclose(tensor.numpy(), plain[name].numpy(), rtol=1e-3, atol=1e-5)


# -- losses that are no numbers


def test_steps_without_numbers_are_left_out(tmp_path):
    good, bad = teacher(), teacher(frozenset({1, 3}))
    found = weights(train(bad, tmp_path / "bad", steps=4))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.values())
    # By hand: the same steps without the two of them.
    plan, rates = TrainingPlan(steps=4, batch=16), []
    supernet = supernets.of(kit._space()).train()
    optimiser = training._optimiser(plan)
    for step in range(4):
        rng = training.stream(0, "weights.steps", step)
        rate = 0.001 + 0.5 * 0.049 * (1 + np.cos(np.pi * step / 4))
        optimiser.param_groups[0]["lr"] = rate
        rates.append(rate)
        inputs, targets = training.minibatch(good.train, 16, rng)
        supernet.zero_grad(set_to_none=True)
        loss = good.loss(supernet.forward_path(inputs, kit._space().sample(1, rng)[0]), targets)
        if step in (1, 3):
            continue
        loss.backward()
        training.adopt(optimiser, supernet)
        torch.nn.utils.clip_grad_norm_(supernet.parameters(), 5.0)
        optimiser.step()
    for name, tensor in weights(supernet).items():
        np.testing.assert_allclose(found[name].numpy(), tensor.numpy(), rtol=1e-5, atol=1e-7)


def test_gradients_without_numbers_count_too(tmp_path):
    class Steep(Teacher):
        def loss(self, outputs, targets):
            return super().loss(outputs, targets) + 0 * (outputs - outputs.detach()).abs().sum().sqrt()

    with pytest.raises(Diverged, match="10 of its"):
        train(Steep(kit._data().train), tmp_path, steps=20)


def test_ten_of_them_end_a_training_and_the_last_checkpoint_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 3)
    broken = frozenset(range(4, 30))
    with pytest.raises(Diverged, match="at step 14 of 30: 10 of its losses") as ended:
        train(teacher(broken), tmp_path, steps=30)
    assert "precision" in ended.value.hint and ended.value.exit_code == 3
    facts = going.facts(tmp_path / "w.safetensors")
    assert (facts["step"], facts["skipped"]) == ("12", "8")
    tensors = going.read(tmp_path / "w.safetensors", facts["identity"])[0]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    taken = []
    with pytest.raises(Diverged, match="at step 14"):
        train(teacher(None), tmp_path, steps=30, progress=lambda done, total: taken.append(done))
    assert taken == [12, 13], "eight of the ten were before"


def test_what_was_left_out_is_no_fact_of_a_training_without(tmp_path):
    train(teacher(), tmp_path, steps=1)
    assert set(going.facts(tmp_path / "w.safetensors")) == {"identity", "step"}


def test_statistics_of_normalisation_do_not_keep_what_is_no_number(images, tmp_path):
    from dataclasses import replace

    inputs = images.train.inputs.clone()
    rows = training.stream(0, "weights.steps", 1).choice(len(images.train), size=16, replace=False)
    inputs[rows[0]] = float("nan")
    broken = replace(images, train=pictures.Split(inputs, images.train.targets))
    found = train(broken, tmp_path, CHAIN, steps=3)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(found).values())
