"""What is known of a space before a kernel has a cost: it is what networks are, and kept only while they are that."""

import importlib.util
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import RidgeCV

import device_profiles
import nas
from benchmarks.spaces import drawn_model
from predictors.blocks import building, ridge, studying
from predictors.blocks.bags import Reader
from predictors.blocks.counts import Counts
from predictors.blocks.origin import source_digest
from predictors.blocks.places import NotPlaced, text
from predictors.differentiable import _training, network
from predictors.differentiable._descent import Batch, Descent
from predictors.encodings import choose
from profiler.assembly import INPUT
from profiler.block_catalogue import compile_and_cut
from profiler.compiling import block_shapes

TARGET = device_profiles.load("local-onnxruntime")
SPACES = ("nasbot:layers=4", "motifs:motifs=2", "nsganet-macro:phases=2", "darts:layers=3", "nsganet-micro:layers=3")

OWN = """
from functools import cached_property, partial
import numpy as np
from torch import nn
from dataclasses import dataclass
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, Assembly, Block

@dataclass(frozen=True)
class Own(ProductSpace):
    name = "own-studied"

    @cached_property
    def genes(self):
        return tuple(Gene(f"kernel{i}", (1, 3, 5)) for i in range(4))

    @property
    def input_shape(self):
        return (1, 3, 8, 8)

    def assembly(self, arch):
        parts, before = [], INPUT
        for i, kernel in enumerate(self.values(arch).values()):
            key = f"own conv {kernel} WIDTH"
            parts.append(Block(f"l{i}", key, (before,), partial(nn.Conv2d, 3, 3, kernel, padding=kernel // 2)))
            before = f"l{i}"
        return Assembly(tuple(parts), self.input_shape)
"""


def plainly(assembly):
    """A bag as it is defined, by names alone."""
    blocks = {block.name: block for block in assembly.blocks}
    values, numbers = {INPUT: -1}, {}  # equal blocks without weights that read the same give the same
    for block in assembly.blocks:
        own = block.name if block.build().state_dict() else ""
        what = (block.key, own, tuple(values[name] for name in block.inputs))
        values[block.name] = numbers.setdefault(what, len(numbers))
    alike = Counter(values[name] for name in blocks)
    keys = {INPUT: INPUT} | {block.name: block.key for block in assembly.blocks}
    found = Counter()
    for block, shapes in zip(assembly.blocks, block_shapes().inputs(assembly), strict=True):
        readers = {other.key for other in blocks.values() if values[block.name] in map(values.get, other.inputs)}
        many = alike[values[block.name]]
        own = text(block.key if many == 1 else f"one of {many} {block.key}", shapes)
        found[own, ""] += 1
        found[own, "reads " + ", ".join(keys[name] for name in block.inputs)] += 1
        found[own, "read by " + ", ".join(sorted(readers))] += 1
    return found


def silent(done, total):
    pass


@pytest.fixture
def few(monkeypatch, tmp_path):
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    for name, count in {"TAUGHT": 8, "HELD": 3, "WALKED": 30, "POOL": 20, "SPAN": 7}.items():
        monkeypatch.setattr(studying, name, count)


def own(tmp_path, width="3", name="own_studied"):
    """A space in a source file of its own."""
    path = tmp_path / f"{name}.py"
    path.write_text(OWN.replace("WIDTH", width))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.Own()


@pytest.mark.parametrize("spec", SPACES)
def test_numbered_bags_are_those_of_names(spec):
    space = nas.spaces.load(spec)
    assemblies = [space.assembly(arch) for arch in space.canonical(space.sample(12, np.random.default_rng(3)))]
    whole = Reader(block_shapes()).bags(assemblies)
    assert [whole.named(i) for i in range(12)] == [*map(plainly, assemblies)]
    second = whole.rows(5, 12).numbered(Reader(block_shapes()).spots)
    assert [second.named(i) for i in range(7)] == [*map(plainly, assemblies[5:])]


def test_a_study_is_the_same_when_it_was_kept(few, tmp_path):
    space = own(tmp_path)
    assert studying.kept(space, TARGET) is None
    made = studying.made(space, TARGET, "it is so", progress=silent)
    kept = studying.kept(space, TARGET)
    for name in ("archs", "more", "stands"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(made, name))
    assert (kept.taught, kept.kernels, kept.why) == (made.taught, made.kernels, "it is so")
    assert kept.outputs == made.outputs and len(kept.outputs) == 3
    for name in ("networks", "walked"):
        ours, theirs = getattr(kept, name), getattr(made, name)
        assert [ours.named(i) for i in range(len(ours))] == [theirs.named(i) for i in range(len(theirs))]
    assert [plainly(space.assembly(arch)) for arch in space.canonical(kept.more)] == [
        kept.walked.named(i) for i in range(len(kept.more))
    ]
    network = compile_and_cut([space.assembly(kept.archs[0])], TARGET)
    assert {kept.kernels[i]: n for i, n in kept.runs.row(0).items()} == Counter(
        network.kernels[i] for i in network.networks[0].kernels
    )
    assert kept.stands.sum() == 4 * kept.taught


def test_code_that_changed_makes_a_study_anew(few, tmp_path, monkeypatch):
    studying.made(own(tmp_path), TARGET, "", progress=silent)
    changed = own(tmp_path, width="three")
    assert studying.kept(changed, TARGET) is None
    monkeypatch.setattr(studying, "source_digest", lambda space: "as if no file had changed")
    studying.made(own(tmp_path), TARGET, "", progress=silent)
    assert studying.kept(own(tmp_path), TARGET) is not None
    assert studying.kept(changed, TARGET) is None, "networks are made afresh and compared"
    monkeypatch.setattr(type(changed), "assembly", lambda self, arch: 1 / 0)
    assert studying.kept(changed, TARGET) is None


def test_a_damaged_file_is_made_again(few, tmp_path):
    space = own(tmp_path)
    studying.made(space, TARGET, "", progress=silent)
    (path,) = (tmp_path / "cache" / "studies").iterdir()
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:400] + bytes([whole[400] ^ 255]) + whole[401:]):
        path.write_bytes(content)
        assert studying.kept(space, TARGET) is None
    studying.made(space, TARGET, "", progress=silent)
    assert studying.kept(space, TARGET) is not None


def test_a_study_is_not_kept_of_a_class_without_a_file(few, tmp_path, monkeypatch):
    space = own(tmp_path)
    assert source_digest(space) == source_digest(own(tmp_path)) != source_digest(own(tmp_path, width="4"))
    monkeypatch.delitem(sys.modules, "own_studied")
    assert source_digest(space) is None
    studying.made(space, TARGET, "", progress=silent)
    assert studying.kept(space, TARGET) is None and not (tmp_path / "cache" / "studies").exists()


def test_places_are_not_looked_for_again_where_they_were_not_found(few, tmp_path, monkeypatch):
    space, looked = own(tmp_path), []

    def build(*args, **kwargs):
        looked.append(1)
        raise NotPlaced("it is so")

    monkeypatch.setattr("predictors.encodings.TABLE_LIMIT", 10)
    monkeypatch.setattr(building, "build", build)
    monkeypatch.setattr(network, "LEAST_ROWS", 10)
    first, second = (choose(drawn_model(), space, TARGET, "ms", progress=silent) for _ in range(2))
    assert len(looked) == 1 and first[1].why == second[1].why == "it is so"
    archs = space.sample(20, np.random.default_rng(0))
    np.testing.assert_allclose(first[0].predict(archs).value, second[0].predict(archs).value, rtol=1e-12)


def test_sparse_sums_are_those_of_dense_rows():
    rows = Counts.of([{0: 2, 3: 1}, {}, {1: 5}])
    dense = np.array([[2, 0, 0, 1], [0, 0, 0, 0], [0, 5, 0, 0]])
    values = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(rows.times(values), dense @ values)
    np.testing.assert_array_equal(Counts.joined([rows, rows]).rows(2, 5).times(values), dense[[2, 0, 1]] @ values)
    assert rows.row(0) == {0: 2, 3: 1} and len(rows) == 3


@pytest.mark.parametrize(("count", "width"), [(60, 25), (30, 90)])
def test_ridge_regression_is_that_of_scikit_learn(count, width):
    rng = np.random.default_rng(1)
    rows = rng.uniform(size=(count, width)) * (rng.uniform(size=(count, width)) < 0.3)
    values = rows @ rng.normal(size=width) + 0.3 * rng.normal(size=count) + 2.0
    penalties = tuple(10.0**exponent for exponent in range(-4, 2))
    theirs = RidgeCV(alphas=penalties).fit(rows, values)
    coefficients, intercept = ridge.fit(csr_matrix(rows), values, penalties)
    np.testing.assert_allclose(coefficients, theirs.coef_, rtol=1e-6, atol=1e-8)
    assert intercept == pytest.approx(theirs.intercept_, rel=1e-8)


def drawn(rng, options=9, side=2, rows=20):
    return Batch(
        rng.integers(0, options, size=(rows, 3)).astype(np.int64) // 3 + np.array([0, 3, 6]),
        rng.normal(size=(rows, side)).astype(np.float32),
        (3 * rng.normal(size=rows)).astype(np.float32),
        rng.uniform(0.5, 2.0, size=rows).astype(np.float32),
    )


def test_steps_are_those_of_torch():
    rng = np.random.default_rng(0)
    sizes = ((9, 8), (2, 8), (8,), (8, 8), (8,), (8,), (1,))
    start = [rng.normal(size=size).astype(np.float32) for size in sizes]
    descent = Descent.of(start)
    theirs = [torch.from_numpy(array.copy()).requires_grad_() for array in start]
    optimiser = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1)
    for _ in range(20):
        batch = drawn(rng)
        rows, side, target, weight = (torch.from_numpy(part) for part in vars(batch).values())
        optimiser.zero_grad()
        wrong = (_training.raw(theirs, rows, side) - target) * weight
        torch.autograd.backward(torch.nn.functional.huber_loss(wrong, torch.zeros_like(wrong)))
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        optimiser.step()
        descent.step(batch, 0.01, 0.1)
    for ours, other in zip(descent.parameters, theirs, strict=True):
        np.testing.assert_allclose(ours, other.detach().numpy(), rtol=2e-3, atol=2e-4)


def test_a_training_without_hope_is_given_up():
    asked = []

    def score(parameters):
        asked.append(1)
        return 0.5

    def train(give_up):
        asked.clear()
        _training.train((9, 2, 8), 3, drawn, score, start=0.6, steps=1000, seed=0, give_up=give_up)
        return len(asked) * _training.EVERY

    assert train(0.4) == _training.HOPE < train(0.6) == 1000
