"""Networks walked block by block: what is told is near to compiling them, and says where it stands on nothing."""

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn

import device_profiles
import nas
from device_profiles.errors import UsageError
from nas.spaces.product import Gene, ProductSpace
from predictors import searched
from predictors.blocks import studying
from predictors.blocks.bags import Bags, Reader, Spots
from predictors.blocks.counts import Counts
from predictors.blocks.table import GUESSED
from predictors.blocks.walks import Walks
from predictors.composition import Composition
from predictors.differentiable import network as learned_cost
from predictors.encodings import Distilled, Walked, distilled, load
from predictors.network import Additive, NetworkModel
from predictors.testing import check_encoding
from profiler.assembly import INPUT, Assembly, Block
from profiler.catalogue import compile_all
from profiler.compiling import block_shapes

TARGET = device_profiles.load("local-onnxruntime")


def conv(before: int, width: int, groups: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1, groups=groups), nn.ReLU())


class Sum(nn.Module):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0] + inputs[1]


@dataclass(frozen=True)
class Wired(ProductSpace):
    """Two layers that read each other or the stem, and a sum of both or the last one: layouts depend on the wiring."""

    name = "wired"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        operators = [Gene(f"op{i}", ("plain", "grouped", "wide")) for i in range(2)]
        return (Gene("width", (16, 32), ordered=True), *operators, Gene("reads", ("stem", "l0")), Gene("sum", (0, 1)))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, 3, 8, 8)

    def active(self, archs: np.ndarray) -> np.ndarray:
        return np.ones(self.checked(archs).shape, dtype=bool)

    def assembly(self, arch: np.ndarray) -> Assembly:
        of = self.values(arch)
        width = of["width"]
        parts = [Block("stem", f"wired stem {width}", (INPUT,), partial(conv, 3, width, 1))]
        for i, source in enumerate(("stem", of["reads"])):
            groups = {"plain": 1, "grouped": 2, "wide": 4}[of[f"op{i}"]]
            parts.append(
                Block(f"l{i}", f"wired conv {width} g{groups}", (source,), partial(conv, width, width, groups))
            )
        if of["sum"]:
            parts.append(Block("sum", "wired sum", ("l0", "l1"), Sum))
        head = partial(nn.Sequential, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))
        parts.append(Block("head", f"wired head {width}", (parts[-1].name,), head))
        return Assembly(tuple(parts), self.input_shape)

    @property
    def everything(self) -> np.ndarray:
        return np.array(list(itertools.product(*map(range, self.choices))), dtype=np.int64)


SPACE = Wired()


class Drawn(NetworkModel):
    """Kernels whose costs are drawn by their keys."""

    def additive(self, catalogue):
        cost = np.array([1.0 + hash_of(kernel.key) for kernel in catalogue])
        zero = np.zeros_like(cost)
        return Additive(np.stack([cost, np.ones_like(cost), cost, zero, zero], axis=1), zero > 0)


def hash_of(key):
    return np.random.default_rng(list(key.encode())).uniform()


MODEL = Drawn(None, Composition(1.0, 0.0, 0.05), half_width=0.05)


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studying, "TAUGHT", 48)
        patch.setattr(studying, "HELD", 12)
        patch.setattr(studying, "WALKED", 150)
        yield


@pytest.fixture(scope="module")
def study():
    return studying.made(SPACE, TARGET, "it is so", progress=lambda done, total: None)


@pytest.fixture(scope="module")
def fit(study):
    encoding, fidelity, alone = Walked.fit(MODEL, SPACE, study, "it is so")
    return encoding, fidelity, (study.archs, alone)


def bag(assembly):
    return Reader(block_shapes()).bags([assembly]).named(0)


def test_a_network_is_a_bag_of_its_blocks_alone_and_where_they_stand():
    def block(name, key, *inputs):
        return Block(name, key, inputs, lambda: conv(3, 3, 1))

    assembly = Assembly((block("a", "c", INPUT), block("b", "c", "a"), block("d", "c", "a")), (1, 3, 8, 8))
    own = "c(1x3x8x8)"
    assert bag(assembly) == Counter(
        {(own, ""): 3, (own, "reads input"): 1, (own, "reads c"): 2, (own, "read by c"): 1, (own, "read by "): 2}
    )


def test_what_is_told_is_near_to_compiling_and_says_how_near(fit, tmp_path):
    encoding, fidelity, (archs, alone) = fit
    catalogue = compile_all([SPACE.assembly(arch) for arch in SPACE.everything], TARGET)
    truth = MODEL.predict_catalogue(catalogue).value
    found = encoding.predict(SPACE.everything)
    assert np.abs(found.value / truth - 1.0).mean() < 0.05
    plain = replace(encoding, walks=replace(encoding.walks, places={}, constant=0.0), _walks={})
    bare = plain.predict(SPACE.everything).value
    assert np.abs(found.value / truth - 1.0).mean() < 0.5 * np.abs(bare / truth - 1.0).mean()
    assert (fidelity.kind, fidelity.held, fidelity.why) == ("walked", 12, "it is so")
    assert fidelity.compiled + fidelity.held == len(archs) == len(alone)
    np.testing.assert_allclose(alone, truth[[SPACE.everything.tolist().index(arch) for arch in archs.tolist()]])
    assert ((found.low <= truth) & (truth <= found.high)).mean() > 0.9
    check_encoding(encoding, SPACE.everything[::7], MODEL, "ms")
    with pytest.raises(UsageError, match="no gradient"):
        encoding.differentiable()


def test_equal_networks_cost_the_same_and_none_is_corrected_by_more_than_was_seen(fit):
    encoding, *_ = fit
    archs = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    assert np.ptp(encoding.predict(archs).value) == 0.0
    steep = replace(encoding.walks, places=dict.fromkeys(encoding.walks.places, 5.0))
    factor = replace(encoding, walks=steep, _walks={}).predict(SPACE.everything).value / (
        replace(encoding, walks=replace(steep, places={}, constant=0.0), _walks={}).predict(SPACE.everything).value
    )
    np.testing.assert_allclose(factor, 1.0 + encoding.walks.most)


def test_a_block_that_was_never_seen_is_named_and_not_covered(fit):
    encoding, *_ = fit
    known = encoding.walks
    lost = next(block for block in known.blocks if block.startswith("wired stem 32"))
    rest = {block: number for block, number in known.blocks.items() if block != lost}
    blind = replace(encoding, walks=replace(known, blocks=rest), _walks={})
    wide = SPACE.everything[SPACE.everything[:, 0] == 1]
    found, before = blind.predict(wide), encoding.predict(wide)
    assert all(GUESSED in keys for keys in found.missing) and not any(before.missing)
    assert (found.coverage < before.coverage).all() and (found.value > 0).all()
    narrow = SPACE.everything[SPACE.everything[:, 0] == 0]
    np.testing.assert_array_equal(blind.predict(narrow).value, encoding.predict(narrow).value)


def test_networks_with_blocks_that_were_seen_once_are_joined_by_those_with_further_ones():
    rows = SPACE.canonical(SPACE.everything)
    narrow = rows[rows[:, 0] == 0]
    twice = [*map(SPACE.assembly, narrow)] * 2
    assert len(studying.rare(SPACE, twice, Reader(block_shapes()))) == 0, "nothing is rare"
    one_wide = np.concatenate([narrow, rows[rows[:, 0] == 1][:1]])
    more = studying.rare(SPACE, [*map(SPACE.assembly, one_wide)], Reader(block_shapes()))

    def blocks(archs):
        return {block for arch in archs for block, _ in bag(SPACE.assembly(arch))}

    assert blocks([*one_wide, *more]) == blocks(rows)
    assert 0 < len(more) <= 3


@pytest.mark.parametrize(("median", "kind"), [(1.0, Distilled), (-1.0, Walked)])
def test_architectures_are_walked_where_what_was_learned_of_them_is_much_worse(monkeypatch, study, median, kind):
    monkeypatch.setattr(distilled, "MOST_MEDIAN", median)
    monkeypatch.setattr(distilled, "MOST_WORST", 1.0)
    monkeypatch.setattr(distilled, "MOST_TIMES", 0.0)
    monkeypatch.setattr(learned_cost, "LEAST_ROWS", 10)
    encoding, fidelity = Distilled.of_blocks(MODEL, SPACE, study, "ms", "why")
    assert type(encoding) is kind and fidelity.kind == kind.kind and fidelity.why == "why"
    check_encoding(encoding, SPACE.everything[::7], MODEL, "ms")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("columns", lambda array: array * np.nan),
        ("columns", lambda array: array[:-1]),
        ("shares", lambda array: array[:-1]),
        ("owners", lambda array: array + 1_000),
    ],
)
def test_a_damaged_file_is_refused(fit, tmp_path, name, change):
    encoding, *_ = fit
    encoding.save(tmp_path)
    path = tmp_path / Walked.file
    with safe_open(path, framework="numpy") as file:
        facts = file.metadata()
    tensors = load_file(path)
    save_file({**tensors, name: np.ascontiguousarray(change(tensors[name]))}, path, metadata=facts)
    with pytest.raises((ValueError, LookupError)):
        load("walked", tmp_path, SPACE.choices, MODEL, "ms")


def test_a_space_that_nobody_knows_is_named(fit):
    encoding, *_ = fit
    with pytest.raises(UsageError, match="nobody knows it"):
        replace(encoding, space="a space of no one", _walks={}).predict(SPACE.everything[:1])
    assert searched.find("nasbench201:cells=1").choices == nas.spaces.load("nasbench201:cells=1").choices


def test_nothing_is_said_to_cost_less_than_nothing():
    one = Walks({"a": 0}, np.array([[1.0, 1.0, 1.0, 0.0, 0.0]]), ((),), {("a", ""): -9.0}, 0.0, -0.2, 0.3)
    twice = Bags(Spots.of(["a"], [0], [""]), Counts.of([{0: 2}]))
    assert one.predict(one.walk(twice), MODEL).value == pytest.approx(0.8 * 2.05)
