"""Networks that are trained alone: the same weights however often it was cut, the best epoch kept, failures told."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

import nas
from device_profiles.errors import (
    ConditionMismatch,
    HwnasError,
    InvalidData,
    UsageError,
)
from nas.evaluators import Context, open_objective
from nas.evaluators.protocol import Budget, OwnsNetworks, OwnsWeights
from nas.study.study import open_study
from nas.weights import alone, data
from nas.weights.alone import Recipe, TrainingDiverged
from nas.weights.data import Wanted
from nas.weights.data.protocol import Data, Part
from nas.weights.data.tasks import Classification
from profiler.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")

CHAIN = "chain:layers=1,resolution=16,width=25,classes=10"
GPT = "gpt:layers=3,length=16,vocabulary=32,width=13"
HAT = "hat:encoder_layers=3,decoder_layers=1,length=8,vocabulary=32,width=5"
QUICK = {"train_epochs": 2, "train_batch": 32, "images": 96}
ARCH = np.array([3, 1, 2, 4, 3, 2])


@pytest.fixture(scope="module")
def digits():
    """A few digits."""
    return data.load("digits", Wanted((1, 3, 8, 8)), seed=0, limit=96)


@pytest.fixture
def context(tmp_path, small):
    """Of a search that trains quickly."""
    return Context(small, tmp_path / "run", Store(tmp_path / "run.db"), data="digits", settings=QUICK)


def opened(context, spec="accuracy:trained", **settings):
    return open_objective(spec, replace(context, settings={**context.settings, **settings}))


def linear(shape=(3, 8, 8), outputs=10):
    size = int(np.prod(shape))
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.3), torch.nn.Linear(size, outputs))


def same(one, other):
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# -- a training


@pytest.mark.parametrize("kind", ["images", pytest.param("tokens", marks=pytest.mark.slow)])
def test_a_training_that_is_cut_ends_on_the_same_weights_bit_for_bit(tmp_path, digits, monkeypatch, kind):
    monkeypatch.setattr(alone, "CHECKPOINT_STEPS", 4)  # so that checkpoints lie inside of epochs
    if kind == "images":
        known, build = digits, linear
    else:
        known = data.load("text", Wanted((1, 16), 32), seed=0, limit=96)
        space = nas.spaces.load(GPT)
        build = lambda: space.to_module(np.zeros(len(space.choices), dtype=np.int64))  # noqa: E731
    recipe = Recipe(epochs=3, batch=16, augment=("flip", "crop", "cutout") if kind == "images" else ())
    whole = alone.train(build, known, recipe, checkpoint=tmp_path / "whole.safetensors", about="a")
    for cut in (2, 5, 7, 12, 17):

        def stop(done, total, cut=cut):
            if done == cut:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            alone.train(build, known, recipe, checkpoint=tmp_path / "cut.safetensors", about="a", progress=stop)
    seen = []
    again = alone.train(
        build, known, recipe, checkpoint=tmp_path / "cut.safetensors", about="a", progress=lambda *at: seen.append(at)
    )
    assert seen[0][0] == 16, "it goes on where it was saved"
    assert (again.score, again.epoch) == (whole.score, whole.epoch)
    assert same(whole.weights, again.weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.safetensors", "whole.safetensors"]


def test_a_training_is_that_of_its_seed_alone(tmp_path, digits):
    def train(name, **recipe):
        wanted = Recipe(epochs=1, batch=32, **recipe)
        return alone.train(linear, digits, wanted, checkpoint=tmp_path / name / "w.safetensors", about="a").weights

    torch.manual_seed(3)
    first = train("a")
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), expected), "torch's own generator is left as it was"
    assert same(first, train("b"))
    for other in (train("c", seed=1), train("d", replicate=1), train("e", smoothing=0.1), train("f", rate=0.01)):
        assert not same(first, other)
    assert not same(first, train("g", augment=("cutout",)))


def test_a_finished_training_is_not_done_again_and_another_one_is(tmp_path, digits):
    place, seen = tmp_path / "w.safetensors", []

    def train(about, epochs=1):
        recipe = Recipe(epochs=epochs, batch=32)
        return alone.train(linear, digits, recipe, checkpoint=place, about=about, progress=lambda *at: seen.append(at))

    first = train("a")
    seen.clear()
    assert train("a") == first and seen == []
    train("b")
    assert seen[0][0] == 0
    seen.clear()
    train("b", epochs=2)
    assert seen[0] == (0, 6)


def test_the_best_epoch_is_kept(tmp_path, digits, monkeypatch):
    scores, states = iter([0.3, 0.8, 0.8, 0.5]), []

    def judge(network, task, part, **options):
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        value = next(scores)
        return alone.Score(value, value, value)

    monkeypatch.setattr(alone, "judge", judge)
    made = alone.train(linear, digits, Recipe(epochs=4, batch=32), checkpoint=tmp_path / "w.safetensors", about="a")
    assert (made.epoch, made.score.value) == (2, 0.8)
    kept = load_file(made.weights)
    assert all(torch.equal(kept[name], states[1][name]) for name in kept)


def test_the_rate_falls_by_a_cosine_to_a_hundredth(tmp_path, digits, monkeypatch):
    rates, step = [], torch.optim.SGD.step

    def spy(self, *arguments):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    recipe = Recipe(epochs=8, batch=16, rate=0.2)
    alone.train(linear, digits, recipe, checkpoint=tmp_path / "w.safetensors", about="a")
    assert len(rates) == 48 and rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.2) and rates[24] == pytest.approx(0.101)
    assert rates[-1] == pytest.approx(0.002, rel=0.2)


def test_learning_learns(tmp_path, digits):
    made = alone.train(linear, digits, Recipe(epochs=20, batch=16), checkpoint=tmp_path / "w.safetensors", about="a")
    network = alone.load(linear(), made.weights)
    assert alone.judge(network, digits.task, digits.valid) == made.score
    assert made.score.value > 0.6 > alone.judge(linear().eval(), digits.task, digits.valid).value


@pytest.mark.parametrize("where", ["loss", "score"])
def test_a_training_that_diverges_says_so_and_leaves_nothing(tmp_path, digits, where):
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.steps = linear(), 0

        def forward(self, x):
            self.steps += self.training
            broken = self.steps > 4 if where == "loss" else not self.training
            return self.inner(x) * (float("nan") if broken else 1.0)

    known = digits
    if where == "score":  # a share is a number whatever the outputs are, a perplexity is not
        tokens = torch.zeros(96, 3, dtype=torch.int64)
        task = replace(data.load("text", Wanted((1, 16)), seed=0).task, outputs=10)
        part = Part(digits.train.inputs, tokens)
        known = Data("made up", task, part, part, part)
    module = Broken if where == "loss" else lambda: torch.nn.Sequential(Broken(), Threefold())
    with pytest.raises(TrainingDiverged, match="after 4 of 6 steps" if where == "loss" else "none of 2 epochs"):
        alone.train(module, known, Recipe(epochs=2, batch=32), checkpoint=tmp_path / "w.safetensors", about="a")
    assert list(tmp_path.iterdir()) == []


class Threefold(torch.nn.Module):
    """Logits of one token as those of three."""

    def forward(self, x):
        return x[:, None].expand(-1, 3, -1)


def test_a_checkpoint_that_is_damaged_is_named(tmp_path, digits):
    place = tmp_path / "w.safetensors"

    def train():
        return alone.train(linear, digits, Recipe(epochs=2, batch=32), checkpoint=place, about="a")

    train()
    for path in (place, place.with_suffix(".going")):
        place.unlink(missing_ok=True)
        path.write_bytes(b"not weights")
        with pytest.raises(InvalidData, match="damaged") as caught:
            train()
        assert path.name in caught.value.message and caught.value.hint
        path.unlink()


def test_outputs_that_do_not_fit_are_refused(tmp_path, digits):
    with pytest.raises(UsageError, match="outputs of shape") as caught:
        alone.train(
            lambda: linear(outputs=7), digits, Recipe(batch=32), checkpoint=tmp_path / "w.safetensors", about="a"
        )
    assert "classes=10" in caught.value.hint


# -- the evaluator


def test_accuracy_is_that_of_the_network_that_is_exported(context):
    evaluator = opened(context)
    value = evaluator.evaluate(ARCH[None])
    network = evaluator.network(ARCH)
    assert alone.judge(network, evaluator.data.task, evaluator.data.valid).value == value.value[0]
    assert value.low[0] < value.value[0] < value.high[0]
    expected = alone.judge(network, evaluator.data.task, evaluator.data.test).value
    assert evaluator.tested(ARCH) == {"test_accuracy": expected}
    assert evaluator.right(ARCH, test=True).mean() == expected and len(evaluator.right(ARCH)) == len(
        evaluator.data.valid
    )
    assert isinstance(evaluator, OwnsNetworks) and not isinstance(evaluator, OwnsWeights)


def test_weights_that_are_lost_are_trained_again(context):
    evaluator = opened(context)
    evaluator.evaluate(ARCH[None])
    (path,) = (context.folder / "trained").iterdir()
    content = load_file(path)
    path.unlink()
    again = opened(context).network(ARCH).state_dict()
    assert all(torch.equal(again[name], content[name]) for name in content)


def test_budgets_and_replicates_are_trainings_of_their_own(context):
    evaluator = opened(context)
    full, short = evaluator.evaluate(ARCH[None]), evaluator.evaluate(ARCH[None], Budget(epochs=1))
    again = evaluator.again(ARCH[None], 1)
    assert np.array_equal(evaluator.evaluate(ARCH[None], Budget(epochs=2)).value, full.value)
    names = sorted(path.name for path in (context.folder / "trained").iterdir())
    assert [name.split(".")[1] for name in names] == ["r0e1", "r0e2", "r1e2"]
    best = max(full.value[0], again.value[0])
    network = evaluator.network(ARCH)
    assert alone.judge(network, evaluator.data.task, evaluator.data.valid).value == best
    assert opened(context).evaluate(ARCH[None], Budget(epochs=1)).value == short.value
    for budget in (Budget(epochs=3), Budget(seconds=1.0), Budget(replicates=2)):
        with pytest.raises(UsageError) as caught:
            evaluator.evaluate(ARCH[None], budget)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train_epochs": 0}, "train_epochs"),
        ({"train_batch": "many"}, "train_batch"),
        ({"train_rate": 0}, "train_rate"),
        ({"train_rate": float("nan")}, "train_rate"),
        ({"train_smoothing": 1.0}, "train_smoothing"),
        ({"augment": 3}, "augment"),
        ({"augment": "rotate"}, "rotate"),
        ({"device": "tpu"}, "tpu"),
        ({"images": 0}, "images"),
        ({"train_batch": 500}, "96 training examples, fewer than a batch of 500"),
    ],
)
def test_settings_that_do_not_fit_are_refused(context, settings, words):
    with pytest.raises(HwnasError, match=words):
        opened(context, **settings)


@pytest.mark.parametrize(
    ("space", "name", "spec", "words"),
    [
        (None, None, "accuracy:trained", "needs data"),
        (None, None, "perplexity:trained", "needs data"),
        (None, "digits", "perplexity:trained", "judged by accuracy"),
        (GPT, "text", "accuracy:trained", "judged by perplexity"),
        (GPT, "digits", "accuracy:trained", "the networks read"),
        (HAT, "text", "perplexity:trained", "the networks read"),
        ("nasbench201:cells=1,channels=4,resolution=8,classes=7", "digits", "accuracy:trained", "7 classes apart"),
        ("nasbench201:classes=7@edge01=skip_connect", "digits", "accuracy:trained", "7 classes apart"),
    ],
)
def test_data_that_do_not_fit_are_refused(context, space, name, spec, words):
    other = context if space is None else replace(context, space=nas.spaces.load(space))
    with pytest.raises(UsageError, match=words) as caught:
        opened(replace(other, data=name), spec)
    assert caught.value.hint


def test_tokens_are_not_augmented(context):
    with pytest.raises(UsageError, match="no images"):
        opened(replace(context, space=nas.spaces.load(GPT), data="text"), "perplexity:trained", augment="flip")


# -- searches


@pytest.mark.parametrize(
    ("space", "name", "spec"),
    [
        (CHAIN, "digits", "accuracy:trained"),
        (GPT, "text", "perplexity:trained"),
        pytest.param(HAT, "pairs", "perplexity:trained", marks=pytest.mark.slow),
    ],
)
def test_a_search_ends_on_exported_networks(tmp_path, space, name, spec):
    found = nas.search(
        space,
        objectives=[spec],
        strategy="random",
        evaluations=2,
        data=name,
        settings={**QUICK, "train_epochs": 1},
        finalists=1,
        folder=tmp_path,
    )
    assert found.evaluations == 2 and found.failures == {}
    ((arch, facts),) = found.study.finalists().items()
    kind = spec.partition(":")[0]
    owner = found.evaluators[0]
    assert facts[f"test_{kind}"] == owner.tested(np.array(arch))[f"test_{kind}"]
    page = found.report(tmp_path / "front.html").read_text()
    assert f"test {kind}" in page and f"{facts[f'test_{kind}']:.4f}" in page
    session = onnxruntime.InferenceSession(tmp_path / facts["onnx"], providers=["CPUExecutionProvider"])
    example = owner.data.test.inputs[:1]
    got = session.run(None, {session.get_inputs()[0].name: example.numpy()})[0]
    with torch.no_grad():
        expected = owner.network(np.array(arch))(example).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_training_that_diverges_costs_its_architecture_and_says_why(tmp_path, small, monkeypatch):
    losses = Classification.loss

    def loss(self, outputs, targets, smoothing=0.0):
        trained = len(list(tmp_path.glob("trained/*.safetensors")))
        return losses(self, outputs, targets, smoothing) * (float("nan") if trained == 1 else 1.0)

    monkeypatch.setattr(Classification, "loss", loss)
    found = nas.search(
        small,
        objectives=["accuracy:trained"],
        strategy="random",
        evaluations=3,
        data="digits",
        settings=QUICK,
        folder=tmp_path,
    )
    assert found.evaluations == 3
    assert len(found.failures) == 2
    for reason in open_study(tmp_path).failures().values():
        assert reason.startswith("accuracy: ") and "the loss is nan after 0 of 6 steps" in reason
    assert not list(tmp_path.glob("trained/*.going"))


def test_data_that_have_changed_end_a_run(tmp_path, small):
    def arrays(seed):
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 255, (200, 8, 8), dtype=np.uint8)
        np.savez(tmp_path / "a.npz", images=images, labels=np.arange(200) % 10)

    def search(evaluations):
        return nas.search(
            small,
            objectives=["accuracy:trained"],
            strategy="random",
            evaluations=evaluations,
            data=str(tmp_path / "a.npz"),
            settings={"train_epochs": 1},
            folder=tmp_path / "run",
        )

    arrays(0)
    first = [trial.result for trial in search(1).study.trials()]
    assert [trial.result for trial in search(2).study.trials()][:1] == first
    arrays(1)
    with pytest.raises(ConditionMismatch, match="has changed since"):
        search(2)


def test_bad_data_leave_no_run(tmp_path, small):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(InvalidData, match=r"a\.npz"):
        nas.search(
            small, objectives=["accuracy:trained"], data=str(tmp_path / "a.npz"), folder=tmp_path / "run", evaluations=1
        )
    assert not (tmp_path / "run" / "run.db").exists()


def test_a_data_set_of_torch_is_given_as_an_object(tmp_path, small):
    class Shades(torch.utils.data.Dataset):
        def __len__(self):
            return 120

        def __getitem__(self, number):
            return torch.full((8, 8), 0.1 * (number % 10)), number % 10

    found = nas.search(
        small,
        objectives=["accuracy:trained"],
        strategy="random",
        evaluations=1,
        data=Shades(),
        settings={"train_epochs": 1, "train_batch": 16},
        folder=tmp_path,
    )
    assert found.plan.data.startswith("dataset:Shades-")
    assert open_study(tmp_path).fact("data") == found.plan.data
    assert found.evaluations == 1 and found.failures == {}


def test_a_search_under_a_budget_with_replicates_keeps_both_trainings(tmp_path, small):
    found = nas.search(
        small,
        objectives=["accuracy:trained"],
        strategy="random",
        evaluations=1,
        data="digits",
        settings={**QUICK, "budget": "epochs=1", "replicates": 2},
        folder=tmp_path,
    )
    (trial,) = found.study.trials()
    assert trial.budgets == {"accuracy": Budget(epochs=1)}
    trained = sorted((tmp_path / "trained").iterdir())
    assert [path.name.split(".")[1] for path in trained] == ["r0e1", "r1e1"]
    for path in trained:
        path.unlink()
    found.measure_finalists(1)
    assert [path.name.split(".")[1] for path in (tmp_path / "trained").iterdir()] == ["r0e1"]
    assert set(found.study.finalists()[trial.arch]) == {"onnx", "test_right", "test_accuracy"}
