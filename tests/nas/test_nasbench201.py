"""The cells of NAS-Bench-201: text, which cells are one network, features, modules; and the kit for spaces."""

import re
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import ConstantNetwork, UsageError
from nas import testing
from nas.spaces import REGISTRY
from nas.spaces.nasbench201 import algebra
from nas.spaces.nasbench201.space import NasBench201

NONE, SKIP, CONV1, CONV3, POOL = range(5)
SMALL = {"cells": 1, "channels": 4, "resolution": 8}
SPACE = NasBench201(**SMALL)
CELLS = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1)


# -- the kit


def test_every_space_has_a_file_of_tests_that_runs_the_kit():
    for name in nas.spaces.names():
        own = Path(__file__).with_name(f"test_space_{name.replace('-', '_')}.py")
        assert name == "nasbench201" or "check_space(" in own.read_text(), name


def test_it_conforms():
    testing.check_space("nasbench201")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["cells=1,channels=4,resolution=8", "cells=2,channels=3,image_channels=1,classes=7"]
)
def test_the_space_conforms_with_other_options(options):
    testing.check_space(f"nasbench201:{options}")


@dataclass(frozen=True)
class Broken(NasBench201):
    name = "broken"


class RepeatsSamples(Broken):
    def sample(self, n, rng):
        return np.repeat(super().sample(n, rng)[:1], n, axis=0)


class SamplesDead(Broken):
    def sample(self, n, rng):
        return np.concatenate([super().sample(n, rng)[1:], np.zeros((min(n, 1), 6), dtype=np.int64)])


class IgnoresGenerator(Broken):
    def sample(self, n, rng):
        return super().sample(n, np.random.default_rng(0))


class NeverSettles(Broken):
    def canonical(self, archs):
        return (archs + 1) % 5


class MergesTooMuch(Broken):
    def canonical(self, archs):
        return super().canonical(np.where(archs == CONV1, CONV3, archs))

    def sample(self, n, rng):
        drawn = super().sample(10 * n, rng)
        return drawn[np.sort(np.unique(self.canonical(drawn), axis=0, return_index=True)[1])[:n]]


class SeesGenomes(Broken):
    def features(self, archs):
        return np.asarray(archs, dtype=np.float64)


class ReadsLoosely(Broken):
    def parse(self, text):
        return np.array([int(part) % 5 for part in text.split(",")]) if "~" not in text else super().parse(text)


class WritesAmbiguously(Broken):
    def format(self, arch):
        return super().format(np.minimum(arch, 3))


class ForgetsNeighbours(Broken):
    def neighbours(self, arch):
        return super().neighbours(arch)[1:]


class StepsTwice(Broken):
    def neighbours(self, arch):
        return (super().neighbours(arch) + np.eye(6, dtype=np.int64)[0]) % 5


class BuildsDead(Broken):
    def assembly(self, arch):
        return super().assembly(arch if self.is_valid(arch[None])[0] else np.array([0, 0, 0, 1, 0, 0]))


class CallsDeadAlive(Broken):
    def is_valid(self, archs):
        return np.ones(len(archs), dtype=np.bool_)

    def features(self, archs):
        return np.zeros((len(archs), 1))


class ForgetsOptions(Broken):
    @property
    def spec(self):
        return "broken"


class BuildsAnother(Broken):
    def to_module(self, arch, **options):
        return super().to_module(arch, channels=self.channels + 1)


class SharesPoorly(Broken):
    def to_supernet(self, **options):
        supernet = super().to_supernet()
        path = supernet.forward_path
        supernet.forward_path = lambda images, arch: path(images, arch) * 1.001
        return supernet


class GatesPoorly(Broken):
    def to_supernet(self, **options):
        supernet = super().to_supernet()
        mixed = supernet.forward_mixed
        supernet.forward_mixed = lambda images, gates: mixed(images, [gate.detach() for gate in gates])
        return supernet


class SharesMemory(Broken):
    def to_supernet(self, **options):
        supernet = super().to_supernet()
        subnet = supernet.subnet

        def tied(arch):
            network = subnet(arch)
            network.blocks["stem"][0].weight = supernet.shared["stem"][0].weight
            return network

        supernet.subnet = tied
        return supernet


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (RepeatsSamples, "sample: .* networks"),
        (SamplesDead, "sample: an architecture without a function"),
        (IgnoresGenerator, "sample: it does not use the generator"),
        (NeverSettles, "canonical: it is not idempotent|is_valid|sample"),
        (MergesTooMuch, "canonical: .* compute different things"),
        (SeesGenomes, "features: an architecture and its representative"),
        (ReadsLoosely, "parse: .* must be refused"),
        (WritesAmbiguously, "was read as|one text"),
        (ForgetsNeighbours, "neighbours: their shape"),
        (StepsTwice, "neighbours: .* not one step away"),
        (BuildsDead, "did not raise ConstantNetwork"),
        (CallsDeadAlive, "is valid, and its assembly raised ConstantNetwork"),
        (ForgetsOptions, "spec: "),
        (BuildsAnother, "to_module: .* another network than its assembly"),
        (SharesPoorly, "forward_path: "),
        (GatesPoorly, "no gradient|does not require grad"),
        (SharesMemory, "its weights are no copy"),
    ],
)
def test_the_kit_finds_broken_spaces(broken, message, monkeypatch):
    monkeypatch.setitem(REGISTRY._registered, "broken", broken)
    with pytest.raises((AssertionError, RuntimeError), match=message):
        testing.check_space(broken(**SMALL))


def test_the_kit_passes_the_unbroken_one(monkeypatch):
    monkeypatch.setitem(REGISTRY._registered, "broken", Broken)
    testing.check_space(Broken(**SMALL))


# -- text and options


def test_edges_and_operators_are_in_the_order_of_the_string():
    text = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
    assert SPACE.parse(text).tolist() == [3, 0, 4, 1, 2, 0]
    assert SPACE.format(np.array([3, 0, 4, 1, 2, 0])) == text
    assert SPACE.choices == (5,) * 6
    assert SPACE.size == 15_625


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|",
        "nor_conv_3x3",
        "3,0,4,1,2",
        "3,0,4,1,2,0,0",
        "3,0,4,1,2,5",
        "3,0,4,1,2,-1",
        "3,0,4,1,2,1.0",
        "99999999999999999999999,0,4,1,2,1",
        "|nor_conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~1|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|none~3|",
        "|none~0|+|none~0|none~1|none~0|none~1|none~2|",
        "|none~0|none~0|+|none~1|+|none~0|none~1|none~2|",
    ],
)
def test_text_that_is_no_cell_is_refused(text):
    with pytest.raises(UsageError) as caught:
        SPACE.parse(text)
    assert repr(text) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "spec",
    [
        "nasbench201:cells",
        "nasbench201:cells=0",
        "nasbench201:cells=many",
        "nasbench201:resolution=6",
        "nasbench201:x=1",
    ],
)
def test_impossible_options_are_refused(spec):
    with pytest.raises(UsageError):
        nas.spaces.load(spec)


def test_options_of_the_call_win_over_those_of_the_spec():
    space = nas.spaces.load("nasbench201: cells=2, channels=8", cells=3)
    assert (space.cells, space.channels) == (3, 8)
    assert space.spec == "nasbench201:channels=8,cells=3"
    assert nas.spaces.load("nasbench201").spec == "nasbench201"


@pytest.mark.parametrize(
    "archs", [np.zeros(6, dtype=int), np.zeros((2, 5), dtype=int), np.full((1, 6), 5), np.full((1, 6), -1)]
)
def test_matrices_that_are_no_cells_are_refused(archs):
    for method in (SPACE.canonical, SPACE.is_valid, SPACE.features):
        with pytest.raises(UsageError):
            method(archs)


# -- which cells are one network: an oracle that tries all names of the convolutions

PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
ENDS = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def live(cell):
    """Edges on a path from input to output, from the list of all four paths."""
    return sorted({edge for path in PATHS if all(cell[edge] != NONE for edge in path) for edge in path})


def expression(cell, labels):
    """What the output is, with the convolutions' names; sums are unordered, skips vanish, equal pools are one."""
    sums = {0: ("x",), 1: (), 2: (), 3: ()}
    for edge in live(cell):
        source, target = ENDS[edge]
        inner = "+".join(sorted(sums[source]))
        sums[target] += sums[source] if cell[edge] == SKIP else (f"{cell[edge]}{labels.get(edge, '')}({inner})",)
    return "+".join(sorted(sums[3]))


def namings(cell):
    """All ways to name the live convolutions of each kind."""
    ones, threes = ([edge for edge in live(cell) if cell[edge] == kind] for kind in (CONV1, CONV3))
    for first, second in product(permutations("abcdef"[: len(ones)]), permutations("abcdef"[: len(threes)])):
        yield dict(zip(ones + threes, first + second, strict=True))


@pytest.fixture(scope="module")
def oracle():
    """Of every cell: its least expression over all namings, and that naming."""
    return [
        min((expression(cell, labels), sorted(labels.items())) for labels in namings(cell)) for cell in CELLS.tolist()
    ]


def test_equal_representatives_are_equal_expressions_and_the_reverse(oracle):
    numbers = SPACE.canonical(CELLS) @ 5 ** np.arange(5, -1, -1)
    pairs = {(number, text) for number, (text, _) in zip(numbers.tolist(), oracle, strict=True)}
    assert len({number for number, _ in pairs}) == len({text for _, text in pairs}) == len(pairs) == 5_260
    assert all(number <= own for own, number in enumerate(numbers))


def test_cells_with_a_path_are_valid(oracle):
    valid = SPACE.is_valid(CELLS)
    assert valid.sum() == 15_284
    assert valid.tolist() == [text != "" for text, _ in oracle]


def test_cells_of_one_representative_compute_the_same_with_the_same_weights(oracle):
    """Torch agrees: convolutions of equal names get equal weights, and the outputs are equal."""
    rng = np.random.default_rng(0)
    canonical = SPACE.canonical(CELLS)
    rows = [row for row in rng.permutation(len(CELLS)) if oracle[row][1] and (canonical[row] != CELLS[row]).any()][:40]
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for row in rows:
        twin = int(canonical[row] @ 5 ** np.arange(5, -1, -1))
        first, second = (SPACE.to_module(CELLS[one]).eval() for one in (row, twin))
        edge_of = {(CELLS[twin][edge], label): edge for edge, label in oracle[twin][1]}
        for block, module in first.blocks.items():
            inner = re.fullmatch(r"(s\dc\d)e(\d)", block)
            if inner is None:
                name = block
            else:
                kind, label = CELLS[row][int(inner[2])], dict(oracle[row][1]).get(int(inner[2]))
                name = f"{inner[1]}e{edge_of.get((kind, label))}"
            if list(module.state_dict()):
                second.blocks[name].load_state_dict(module.state_dict())
        with torch.no_grad():
            assert torch.allclose(first(images), second(images), atol=1e-5), (CELLS[row], CELLS[twin])


def same(first, second):
    return bool((SPACE.canonical(np.array([first])) == SPACE.canonical(np.array([second]))).all())


def test_isomorphic_cells_by_hand():
    # The two inner nodes change places.
    assert same([CONV1, CONV3, NONE, POOL, SKIP, CONV1], [CONV3, CONV1, NONE, POOL, CONV1, SKIP])
    # An edge that ends in a node without a way out changes nothing.
    assert same([CONV1, NONE, NONE, CONV3, NONE, NONE], [NONE, NONE, NONE, CONV3, NONE, NONE])
    # A skip is a wire: 0 -> 1 -> 3 by way of node 1 or of node 2.
    assert same([CONV3, NONE, SKIP, NONE, NONE, CONV1], [CONV3, NONE, NONE, NONE, CONV1, NONE])


def test_other_cells_by_hand():
    # Order along a path matters.
    assert not same([CONV3, NONE, NONE, NONE, CONV1, NONE], [CONV1, NONE, NONE, NONE, CONV3, NONE])
    # One convolution that is used twice is not two convolutions.
    assert not same([CONV3, NONE, SKIP, NONE, SKIP, SKIP], [CONV3, CONV3, NONE, NONE, SKIP, SKIP])
    # Nor is a cell without the direct edge one with it.
    assert not same([CONV3, NONE, NONE, NONE, SKIP, NONE], [CONV3, NONE, NONE, SKIP, SKIP, NONE])


# -- features


def test_features_by_hand():
    # Paths: 3 (skip); 0 4 (conv3, conv1); 0 2 5 (conv3, pool, skip); edge 1 is none.
    cell = (CONV3, NONE, POOL, SKIP, CONV1, SKIP)
    # Skips, 3x3, pools; from the input, pools of these; over paths: convolutions, 3x3, means of both and of edges;
    # skips alone, with 1x1, pools without convolution; receptive field.
    expected = [2, 1, 1, 2, 0, 0, 1, 1, 2 / 3, 2, 1, 1, 0, 4, 0, 0]
    assert list(algebra.structure(cell)) == expected
    assert SPACE.features(SPACE.canonical(np.array([cell]))).tolist() == SPACE.features(np.array([cell])).tolist()


def test_dead_cells_have_one_feature():
    assert algebra.structure((CONV3, CONV3, CONV3, NONE, NONE, NONE)) == (0.0,) * 15 + (1.0,)


def test_features_tell_networks_apart():
    live_cells = np.unique(SPACE.canonical(CELLS[SPACE.is_valid(CELLS)]), axis=0)
    assert len(np.unique(SPACE.features(live_cells), axis=0)) > 1_000


# -- networks


def test_dead_edges_are_left_out_and_skips_are_wires():
    blocks = [block.name for block in SPACE.assembly(SPACE.parse("3,1,0,1,0,4")).blocks]
    # Edge 0 leads nowhere: node 1 has no way out. Edges 1 and 3 are skips, edge 5 is a pool.
    assert blocks == [
        "stem",
        *("s0c0e5", "s0c0n3", "reduction1"),
        *("s1c0e5", "s1c0n3", "reduction2"),
        *("s2c0e5", "s2c0n3", "head"),
    ]


def test_a_cell_computes_what_its_string_says():
    """Edge by edge, with the module's own blocks."""
    network = SPACE.to_module(SPACE.parse("3,2,1,4,2,3")).eval()
    blocks = network.blocks

    def cell(x, prefix):
        first = blocks[f"{prefix}e0"](x)
        second = blocks[f"{prefix}e1"](x) + first
        pooled = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return pooled + blocks[f"{prefix}e4"](first) + blocks[f"{prefix}e5"](second)

    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = cell(blocks["stem"](images), "s0c0")
        x = cell(blocks["reduction1"](x), "s1c0")
        x = cell(blocks["reduction2"](x), "s2c0")
        assert x.shape == (2, 16, 2, 2)
        assert torch.allclose(network(images), blocks["head"](x), atol=1e-6)


@pytest.mark.parametrize(("cell", "parameters"), [("3,3,3,3,3,3", 1_531_546), ("1,1,1,1,1,1", 73_306)])
def test_the_papers_networks_have_the_published_sizes(cell, parameters):
    network = nas.spaces.load("nasbench201").to_module(SPACE.parse(cell))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_a_dead_cell_has_no_network():
    with pytest.raises(ConstantNetwork) as caught:
        SPACE.assembly(np.zeros(6, dtype=int))
    assert caught.value.exit_code == 4
    assert "|none~0|" in caught.value.message
