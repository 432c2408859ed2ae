"""Networks of any space from their blocks: what is told of them is what compiling them one by one gives."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

import device_profiles
from device_profiles.errors import UsageError
from nas.spaces.product import Gene, ProductSpace
from predictors.blocks import building, contexts, places, studying
from predictors.blocks.contexts import Seen
from predictors.blocks.expected import ExpectedBlocks
from predictors.blocks.places import NONE, NotLocal
from predictors.blocks.table import GUESSED, of_tensors, to_tensors
from predictors.differentiable import network as learned_cost
from predictors.encodings import Blockwise, Distilled, Tabulated, choose, distilled
from predictors.network import Additive
from predictors.testing import check_encoding
from profiler.assembly import INPUT, Assembly, Block
from profiler.catalogue import compile_all
from profiler.compiling import block_shapes

TARGET = device_profiles.load("local-onnxruntime")


def conv(before: int, width: int, groups: int) -> nn.Module:
    parts: list[nn.Module] = [nn.Conv2d(before, width, 3, padding=1, groups=groups), nn.ReLU()]
    return nn.Sequential(nn.ChannelShuffle(groups), *parts) if groups > 1 else nn.Sequential(*parts)


@dataclass(frozen=True)
class Tiny(ProductSpace):
    """Two widths, and up to three layers, each of which may be grouped or left out: layouts depend on neighbours."""

    layers: int = 3

    name = "tiny"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        operators = [Gene(f"op{i}", ("plain", "grouped", "skip")) for i in range(self.layers)]
        return (Gene("width", (16, 32), ordered=True), Gene("depth", (1, 2, 3), ordered=True), *operators)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, 3, 8, 8)

    def active(self, archs: np.ndarray) -> np.ndarray:
        archs = self.checked(archs)
        live = np.arange(self.layers) <= archs[:, 1, None]
        return np.concatenate([np.ones((len(archs), 2), dtype=bool), live], axis=1)

    def assembly(self, arch: np.ndarray) -> Assembly:
        of = self.values(self.canonical(arch[None])[0])
        width = of["width"]
        parts = [Block("stem", f"tiny stem {width}", (INPUT,), partial(conv, 3, width, 1))]
        for i in range(of["depth"]):
            if of[f"op{i}"] != "skip":
                groups = 1 if of[f"op{i}"] == "plain" else 2
                key = f"tiny conv {width} g{groups}"
                parts.append(Block(f"l{i}", key, (parts[-1].name,), partial(conv, width, width, groups)))
        head = partial(nn.Sequential, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))
        parts.append(Block("head", f"tiny head {width}", (parts[-1].name,), head))
        return Assembly(tuple(parts), self.input_shape)

    @property
    def everything(self) -> np.ndarray:
        return np.array(list(itertools.product(*map(range, self.choices))), dtype=np.int64)


SPACE = Tiny()


def shares(kernels: int, seed: int = 0) -> Additive:
    cost = np.random.default_rng(seed).uniform(0.1, 2.0, kernels)
    zero = np.zeros_like(cost)
    return Additive(np.stack([cost, np.ones_like(cost), cost, zero, zero], axis=1), np.zeros(kernels, dtype=bool))


@pytest.fixture(scope="module")
def found() -> building.Blocks:
    return building.build(SPACE, TARGET)


@pytest.fixture(scope="module")
def alone(found):
    """Sums over the kernels of every network of the space, compiled one by one."""
    catalogue = compile_all([SPACE.assembly(arch) for arch in SPACE.everything], TARGET)
    number = {kernel: i for i, kernel in enumerate(found.kernels)}
    columns = shares(len(found.kernels)).columns
    order = [number[kernel] for kernel in catalogue.kernels]
    return catalogue.counts @ columns[order]


# -- places


def test_what_stands_where_is_what_the_assembly_says_for_every_genome():
    learned = places.learn(SPACE)
    shapes = block_shapes()
    for arch, codes in zip(SPACE.everything, learned.codes(SPACE.everything), strict=True):
        assembly = SPACE.assembly(arch)
        said = [places.text(b.key, read) for b, read in zip(assembly.blocks, shapes.inputs(assembly), strict=True)]
        assert [learned.blocks[code] for code in codes if code != NONE] == said
    assert learned.chained
    assert {place.name: place.genes for place in learned.places}["l2"] == (0, 1, 4)


class Parity(Tiny):
    """What stands at one place depends on all genes at once."""

    def assembly(self, arch: np.ndarray) -> Assembly:
        whole = super().assembly(arch)
        odd = int(np.sum(arch)) % 2
        first = Block("stem", f"{whole.blocks[0].key} {odd}", (INPUT,), whole.blocks[0].build)
        return Assembly((first, *whole.blocks[1:]), whole.input_shape)


def test_a_place_that_depends_on_more_combinations_than_can_be_told_is_named(monkeypatch):
    monkeypatch.setattr(places, "_LARGEST", 10)
    with pytest.raises(NotLocal, match=r"'stem' depends on genes .* combinations"):
        places.learn(Parity())


# -- contexts


def test_kernels_of_a_block_depend_on_its_neighbours_here(found):
    by_block = [len(set(own[own >= 0].tolist())) for own in found.contexts.entries]
    assert max(by_block) > 1 and found.contexts.level > 0


def test_networks_that_contradict_each_other_are_refused():
    def seen(kernel):
        return [Seen(0, ("",) * 4, ("",) * 4, ((kernel, 1),))]

    assert contexts.learn([seen(1), seen(1)], 1, chained=True).level == 0
    with pytest.raises(NotLocal, match="contradict"):
        contexts.learn([seen(1), seen(2)], 1, chained=True)


def test_where_nothing_tells_kernels_they_are_means_at_their_place():
    def seen(*kernels):
        return [Seen(0, ("",) * 4, ("",) * 4, tuple((kernel, 1) for kernel in kernels))]

    found = contexts.averaged([seen(1, 2), seen(1)], np.array([7, 7, 9]))  # the second is the first at another place
    assert [dict(kernels) for kernels in found.kernels] == [{1: 1.0, 2: 0.5}] * 2
    assert found.entries.reshape(-1).tolist() == [0, 1, contexts.UNSEEN]


def test_places_that_are_apart_have_the_same_blocks():
    learned = places.learn(SPACE)
    apart, kinds = places.apart(learned)
    mine, theirs = learned.codes(SPACE.everything), apart.codes(SPACE.everything)
    assert (np.where(theirs == NONE, NONE, kinds[theirs]) == mine).all()
    assert len({(column, code) for row in theirs for column, code in enumerate(row) if code != NONE}) == len(kinds)


# -- sums


def test_sums_are_those_of_compiling_network_by_network(found, alone):
    table = found.table(shares(len(found.kernels)))
    totals, missing = table.totals(SPACE.everything)
    assert totals == pytest.approx(alone, rel=1e-12)
    assert not any(missing) and found.compiled < len(np.unique(SPACE.canonical(SPACE.everything), axis=0))


def test_held_networks_are_told_as_they_were_compiled(found):
    table = found.table(shares(len(found.kernels)))
    assert table.totals(found.held)[0] == pytest.approx(found.held_totals(shares(len(found.kernels))), rel=1e-12)


def test_a_context_that_was_never_seen_is_a_guess_that_nothing_is_known_of(found):
    table = found.table(shares(len(found.kernels)))
    uses = table.uses(SPACE.everything)
    flat = found.contexts.entries.copy().reshape(-1)
    dropped = int(uses[-1, 0])
    flat[dropped] = contexts.UNSEEN
    poor = replace(table, contexts=replace(found.contexts, entries=flat.reshape(found.contexts.entries.shape)))
    totals, missing = poor.totals(SPACE.everything)
    told, _ = table.totals(SPACE.everything)
    hit = (uses == dropped).any(axis=1)
    assert hit.any() and not hit.all()
    assert totals[~hit] == pytest.approx(told[~hit])
    assert [keys == (GUESSED,) for keys in missing] == hit.tolist()
    assert (totals[hit, 0] > 0.5 * told[hit, 0]).all() and (totals[hit, 2] < totals[hit, 0]).all()
    assert poor.unseen(SPACE.everything).tolist() == hit.astype(int).tolist()


def test_genomes_of_another_space_are_refused(found):
    table = found.table(shares(len(found.kernels)))
    with pytest.raises(UsageError, match="outside of the space"):
        table.totals(np.full((1, 5), 7))
    with pytest.raises(UsageError, match=r"\(n, 5\)"):
        table.totals(np.zeros((1, 4), dtype=np.int64))


def test_tables_are_read_as_they_were_written_and_bad_numbers_refused(found):
    table = found.table(shares(len(found.kernels)))
    tensors, facts = to_tensors(table)
    back = of_tensors(tensors, facts, SPACE.choices)
    assert (back.totals(SPACE.everything)[0] == table.totals(SPACE.everything)[0]).all()
    for name, value in (("entries", 10**6), ("codes0", 99), ("columns", np.nan), ("columns", -1.0)):
        bad = {**tensors, name: tensors[name].copy()}
        bad[name].reshape(-1)[0] = value
        with pytest.raises((ValueError, LookupError)):
            of_tensors(bad, facts, SPACE.choices)


# -- expectations


def one_hot(archs):
    return [torch.nn.functional.one_hot(torch.as_tensor(archs[:, g]), n).double() for g, n in enumerate(SPACE.choices)]


WEIGHTS = np.array([1.0, 0.1, 0.0, 0.0, 0.0])


def test_the_expectation_is_the_mean_over_all_genomes(found, alone):
    cost = ExpectedBlocks(found.table(shares(len(found.kernels))), WEIGHTS, 0.5, 0.0)
    rng = np.random.default_rng(2)
    chances = [rng.dirichlet(np.ones(n), size=3) for n in SPACE.choices]
    each = np.stack([chances[g][:, SPACE.everything[:, g]] for g in range(len(SPACE.choices))]).prod(axis=0)
    mean = each @ (alone @ WEIGHTS + 0.5)
    assert cost([torch.from_numpy(p) for p in chances]).numpy() == pytest.approx(mean, rel=1e-10)


def test_at_one_hot_probabilities_it_is_the_sum(found, alone):
    cost = ExpectedBlocks(found.table(shares(len(found.kernels))), WEIGHTS, 0.5, 0.0)
    assert cost(one_hot(SPACE.everything)).numpy() == pytest.approx(alone @ WEIGHTS + 0.5, rel=1e-10)


def test_gradients_are_those_of_the_function(found):
    cost = ExpectedBlocks(found.table(shares(len(found.kernels))), WEIGHTS, 0.5, 1.0)
    inputs = [torch.rand(2, n, dtype=torch.double, requires_grad=True) for n in SPACE.choices]
    assert torch.autograd.gradcheck(lambda *p: cost(p), inputs)


# -- predictors


@pytest.fixture(scope="module")
def fitted(found):
    """A model of kernels whose cost is their number in a list, without a store."""
    from predictors.composition import Composition
    from predictors.models.lookup import MODEL
    from predictors.models.protocol import DeviceFacts, KernelSamples
    from predictors.network import NetworkModel

    cost = np.random.default_rng(1).uniform(0.01, 0.2, len(found.kernels))
    samples = KernelSamples(found.kernels, cost, np.ones(len(cost)), DeviceFacts(1e9, 1e9))
    return NetworkModel(
        MODEL.fit(samples),
        Composition(1.1, -0.001, 0.02),
        extra={kernel.key: 0.0 for kernel in found.kernels},
        half_width=0.1,
    )


def test_a_large_space_is_told_by_blocks_and_says_how_well(fitted, monkeypatch, tmp_path):
    monkeypatch.setattr("predictors.encodings.TABLE_LIMIT", 10)
    encoding, fidelity = choose(fitted, SPACE, TARGET, "ms", progress=lambda done, total: None)
    assert isinstance(encoding, Blockwise) and fidelity.kind == "blocks"
    assert fidelity.held == building.HELD and fidelity.worst < 1e-9
    table, _ = Tabulated.fit(fitted, SPACE, TARGET, "ms", progress=lambda done, total: None)
    ours, theirs = encoding.predict(SPACE.everything), table.predict(SPACE.everything)
    for name in ("value", "low", "high", "coverage"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9), name
    assert encoding.differentiable()(one_hot(SPACE.everything)).numpy() == pytest.approx(ours.value, rel=1e-6)
    check_encoding(encoding, SPACE.everything[::7], fitted, "ms")
    check_encoding(table, SPACE.everything[::7], fitted, "ms")
    encoding.save(tmp_path)
    tensors = load_file(tmp_path / "blocks.safetensors")
    save_file({**tensors, "columns": tensors["columns"] * np.nan}, tmp_path / "blocks.safetensors")
    with pytest.raises((ValueError, LookupError)):
        Blockwise.load(tmp_path, SPACE.choices, fitted, "ms")


def test_a_space_whose_blocks_do_not_tell_is_learned_from_compiled_networks(fitted, monkeypatch, tmp_path):
    monkeypatch.setattr("predictors.encodings.TABLE_LIMIT", 10)
    monkeypatch.setattr(building, "build", lambda *args, **kwargs: (_ for _ in ()).throw(NotLocal("it is so")))
    monkeypatch.setattr(studying, "made", lambda *args, **kwargs: (_ for _ in ()).throw(NotLocal("nor so")))
    monkeypatch.setattr(distilled, "TAUGHT", 60)
    monkeypatch.setattr(distilled, "HELD", 12)
    monkeypatch.setattr(learned_cost, "LEAST_ROWS", 10)
    encoding, fidelity = choose(fitted, SPACE, TARGET, "ms", progress=lambda done, total: None)
    assert isinstance(encoding, Distilled) and fidelity.why == "nor so"
    assert 0 < fidelity.median <= fidelity.worst < 1.0
    prediction = encoding.predict(SPACE.everything)
    assert (prediction.low < prediction.value).all() and (prediction.high > prediction.value * 1.1).all()
    check_encoding(encoding, SPACE.everything[::7], fitted, "ms")
