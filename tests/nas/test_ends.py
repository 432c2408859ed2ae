"""What a gradient search finds is judged by the weights that it ended with; so are finalists, and what follows it."""

import numpy as np
import onnxruntime
import pytest
import torch

import nas
from device_profiles.errors import InvalidData
from nas.evaluators import shared
from nas.loop import rounds
from nas.weights import supernets, training
from nas.weights.ends import Ends

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"train_steps": 3, "images": 60, "gdas.steps": 4, "gdas.batch": 8, "gdas.weights": (0.0, 2.0)}
CHAIN = nas.spaces.load("chain:layers=1,resolution=16,width=25,classes=10,image_channels=1")


@pytest.fixture
def search(small, latency, fake, tmp_path):
    def run(folder, strategy="gdas", evaluations=4, **more):
        return nas.search(
            small,
            objectives=["accuracy", f"latency:{latency}"],
            strategy=strategy,
            evaluations=evaluations,
            data="digits",
            target=fake,
            settings={**QUICK, **more.pop("settings", {})},
            folder=tmp_path / folder,
            **more,
        )

    return run


def values(result):
    return {trial.arch: trial.value("accuracy") for trial in result.study.trials()}


def files(result):
    return sorted(path.name for path in result.folder.glob("supernet.end.*"))


def test_finds_are_judged_by_the_weights_of_their_run(search, small, monkeypatch):
    ends = {}
    keep = shared.Shared.keep_end

    def spied(self, search, run, archs, supernet):
        ends.update({arch.tobytes(): supernet for arch in archs})
        keep(self, search, run, archs, supernet)

    monkeypatch.setattr(shared.Shared, "keep_end", spied)
    result = search("run")
    owner = result.evaluators[0]
    assert len(files(result)) == 2
    for arch, value in values(result).items():
        row = small.canonical(np.array([arch]))[0]
        by_end = training.inherit(ends[row.tobytes()], row, owner.images, seed=0)
        assert value == training.accuracy(by_end, owner.images.valid)
        mine, base = by_end.state_dict(), training.inherit(owner.supernet, row, owner.images, seed=0).state_dict()
        assert not all(torch.equal(mine[name], base[name]) for name in mine)
        again = owner.network(row).state_dict()
        assert all(torch.equal(mine[name], again[name]) for name in mine)


def test_a_search_that_ended_before_it_judged_goes_on_with_the_same_weights(search, monkeypatch):
    whole = search("whole")
    judge, calls = rounds.judging.judge, []

    def stops(*given, **named):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(*given, **named)

    monkeypatch.setattr(rounds.judging, "judge", stops)
    with pytest.raises(KeyboardInterrupt):
        search("cut")
    monkeypatch.setattr(rounds.judging, "judge", judge)
    rest = search("cut")
    assert values(rest) == values(whole) and files(rest) == files(whole)


@pytest.mark.slow
def test_what_was_judged_before_keeps_its_value_and_its_weights(search, small):
    before = search("run", strategy="random", evaluations=30)
    seen = {row.tobytes() for row in small.canonical(np.array(list(values(before))))}
    after = search("run", strategy=["random", "gdas"], evaluations=30)
    found = {t.arch: t.value("accuracy") for t in after.study.trials() if t.strategy == "gdas"}
    old = {arch: v for arch, v in found.items() if small.canonical(np.array([arch])).tobytes() in seen}
    kept = after.evaluators[0].ends
    for arch in found:
        canonical = small.canonical(np.array([arch]))[0]
        assert (kept.of(canonical) is None) == (arch in old)
    assert all(v == values(before).get(arch, v) for arch, v in old.items())


def test_what_goes_on_after_it_is_judged_by_the_nearest_end(search, small):
    result = search("run", evaluations=12, then="random")
    owner, finds = result.evaluators[0], []
    for path in sorted(result.folder.glob("supernet.end.*")):
        ends = Ends(result.folder, owner.ends.fresh)
        finds += [(path.name, row) for row in ends_of(ends, path)]
    followers = [t for t in result.study.trials() if t.strategy == "random" and small.is_valid(np.array([t.arch]))[0]]
    assert followers
    for trial in followers[:3]:
        row = small.canonical(np.array([trial.arch]))[0]
        nearest = min(finds, key=lambda find: (int((find[1] != row).sum()), find[0]))
        weights = Ends(result.folder, owner.ends.fresh).of(nearest[1])
        network = training.inherit(weights, row, owner.images, seed=0)
        assert trial.value("accuracy") == training.accuracy(network, owner.images.valid)


def ends_of(ends, path):
    """Networks of a file."""
    ends.of(np.full(6, 9))
    return ends._finds[path]


def test_finalists_are_exported_with_the_weights_of_their_run(search, small):
    result = search("run", finalists=1)
    ((arch, facts),) = result.study.finalists().items()
    owner, row = result.evaluators[0], small.canonical(np.array([arch]))[0]
    network = training.inherit(Ends(result.folder, owner.ends.fresh).of(row), row, owner.images, seed=0)
    examples = owner.examples
    session = onnxruntime.InferenceSession(result.folder / facts["onnx"])
    feeds = {session.get_inputs()[0].name: examples[:1].numpy()}
    with torch.no_grad():
        wanted = network(examples[:1]).numpy()
    np.testing.assert_allclose(session.run(None, feeds)[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_damaged_file_is_named(search, small):
    result = search("run")
    path = next(result.folder.glob("supernet.end.*"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidData, match=r"supernet\.end"):
        Ends(result.folder, result.evaluators[0].ends.fresh).of(np.zeros(6, dtype=np.int64))


def test_a_supernet_that_was_mixed_takes_its_state_again():
    mixed = supernets.of(CHAIN, seed=2).eval()
    inputs = torch.randn(2, *CHAIN.input_shape[1:], generator=torch.Generator().manual_seed(0))
    gates = [torch.full((options,), 1.0 / options) for options in CHAIN.choices]
    with torch.no_grad():
        wanted = mixed.forward_mixed(inputs, gates)
        for parameter in mixed.parameters():
            parameter.mul_(1.01)
        changed = mixed.forward_mixed(inputs, gates)
        again = supernets.of(CHAIN, seed=3).eval()
        again.load_state_dict(mixed.state_dict())
        assert torch.equal(again.forward_mixed(inputs, gates), changed) and not torch.equal(wanted, changed)
