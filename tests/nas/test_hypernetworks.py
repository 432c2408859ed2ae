"""Weights that hypernetworks make: graphs, tiles, images, every space, training."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import shortest_path
from torch import nn

import nas
from device_profiles.errors import UsageError
from nas.evaluators.protocol import Context
from nas.evaluators.shared import EVALUATOR
from nas.spaces.product import Gene, ProductSpace
from nas.testing import check_weights
from nas.testing.rules import inputs_of
from nas.weights import images as data
from nas.weights import kinds, supernets, trainers, training
from nas.weights.hyper import decoding, encoding, graph_network, graphs, scaling, tracing
from nas.weights.training import TrainingPlan
from profiler.assembly import INPUT, Assembly, Block

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("ghn", "ghn-transformer", "smash")
#: Spaces that are tried with all kinds each time.
QUICKLY = ("nasbench201", "resnet", "gpt")
CELLS = "nasbench201:cells=1,channels=4,resolution=8"
HYBRID = "hybrid:stages=1,resolution=16,width=50,classes=10"
#: Every registered space, small.
SPACES = {
    "chain": "chain:layers=1,width=25,resolution=16,classes=10",
    "darts": "darts:layers=3,channels=4,resolution=8",
    "gpt": "gpt:layers=3,length=6,vocabulary=16,width=13",
    "hat": "hat:encoder_layers=3,decoder_layers=1,length=5,vocabulary=16,width=10",
    "hybrid": "hybrid:stages=2,resolution=16,width=50,classes=10",
    "mobilenetv3": "mobilenetv3:stages=2,layers=2,width=25,resolution=16,smallest=8,step=8,classes=10",
    "motifs": "motifs:cells=1,channels=4,resolution=8",
    "nasbench201": CELLS,
    "nasbot": "nasbot:width=4,resolution=16",
    "nsganet-macro": "nsganet-macro:channels=4,resolution=8",
    "nsganet-micro": "nsganet-micro:layers=3,channels=4,resolution=8",
    "resnet": "resnet:stages=2,width=50,resolution=16,smallest=8,step=8,classes=10",
}


@pytest.fixture(scope="module")
def images():
    return data.load("digits", nas.spaces.load(HYBRID).input_shape, seed=0, limit=300)


def batch(space, arch, size=4):
    return torch.cat([inputs_of(space.assembly(arch), seed) for seed in range(size)])


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- every space


def test_every_registered_space_is_here():
    assert set(nas.spaces.names()) == set(SPACES)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if kind == "ghn" or name in QUICKLY else pytest.mark.slow)
        for name in SPACES
        for kind in KINDS
    ],
)
def test_networks_of_every_space_have_generated_weights(name, kind):
    space = nas.spaces.load(SPACES[name])
    supernet = supernets.of(space, kind=kind)
    for arch in space.sample(2 if kind == "smash" else 1, np.random.default_rng(0)):
        inputs, assembly = batch(space, arch), space.assembly(arch)
        path, alone = supernet.forward_path(inputs, arch), supernet.subnet(arch)
        assert torch.allclose(alone(inputs), path, rtol=0, atol=1e-4 * max(1.0, float(path.detach().abs().max())))
        path.square().mean().backward()
        made = {
            f"blocks.{block.name}.{key}": one
            for block, own in zip(assembly.blocks, supernet.weights(assembly), strict=True)
            for key, one in own.items()
        }
        assert equal(dict(alone.named_parameters()), made), "none is left as it was made"
    dead = [key for key, one in supernet.named_parameters() if one.grad is None or not one.grad.any()]
    assert dead == []


@pytest.mark.parametrize("kind", kinds.names())
def test_every_kind_of_weights_holds_to_the_kit(kind):
    check_weights(kind, HYBRID)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda made: setattr(made, "subnet", made.space.to_module), "subnet"),
        (lambda made: made.eval(), "training mode"),
        (lambda made: made.hypernetwork.requires_grad_(False), "gradients"),
        (lambda made: setattr(made, "state_dict", dict), "state_dict"),
    ],
    ids=["a network of its own", "eval", "nothing learns", "no state"],
)
def test_the_kit_says_which_rule_is_broken(change, rule, monkeypatch):
    def broken(space, *, seed):
        made = supernets.of(space, seed=seed, kind="smash")
        change(made)
        return made

    monkeypatch.setitem(kinds.REGISTRY._registered, "broken", broken)
    with pytest.raises(AssertionError, match=rule):
        check_weights("broken", CELLS)


def test_the_kit_sees_seeds_that_do_not_count(monkeypatch):
    monkeypatch.setitem(
        kinds.REGISTRY._registered, "broken", lambda space, *, seed: supernets.of(space, seed=1, kind="smash")
    )
    with pytest.raises(AssertionError, match="other seeds"):
        check_weights("broken", CELLS)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_a_users_module_and_of_a_restricted_space(kind, module_space):
    for space in (module_space, nas.spaces.load(CELLS).restrict({"edge01": ["nor_conv_3x3", "skip_connect"]})):
        arch = space.sample(1, np.random.default_rng(0))[0]
        supernet, inputs = supernets.of(space, kind=kind), batch(space, arch)
        assert torch.allclose(supernet.forward_path(inputs, arch), supernet.subnet(arch)(inputs), atol=1e-4)


def test_norms_take_the_statistics_of_the_batch_in_either_mode():
    space = nas.spaces.load(CELLS)
    arch = space.sample(1, np.random.default_rng(0))[0]
    supernet, inputs = supernets.of(space, kind="smash"), batch(space, arch)
    with torch.no_grad():
        assert torch.equal(supernet.forward_path(inputs, arch), supernet.eval().forward_path(inputs, arch))


@pytest.mark.parametrize("kind", KINDS)
def test_gates_are_refused(kind):
    space = nas.spaces.load(CELLS)
    with pytest.raises(UsageError, match="cannot be mixed by gates") as caught:
        supernets.of(space, kind=kind).forward_mixed(torch.zeros(space.input_shape), [])
    assert "weights=shared" in caught.value.hint


def test_a_space_without_blocks_is_refused():
    class Table:
        name = "table"

    with pytest.raises(UsageError, match="does not say what they are made of"):
        supernets.of(Table(), kind="ghn")


# -- graphs


def conv_norm(read, out):
    return nn.Sequential(nn.Conv2d(read, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())


class Joined(nn.Module):
    def forward(self, *values):
        return torch.cat([values[0] + values[1], values[0]], dim=1).flatten(1)


def test_a_graph_by_hand():
    blocks = (
        Block("a", "a", (INPUT,), lambda: conv_norm(3, 4)),
        Block("b", "b", ("a",), lambda: conv_norm(4, 4)),
        Block("c", "c", ("a", "b"), Joined),
        Block("d", "d", ("c",), lambda: nn.Linear(512, 2)),
    )
    traced = [tracing.trace(block.build(), len(block.inputs)) for block in blocks]
    graph = graphs.joined(Assembly(blocks, (1, 3, 8, 8)), traced)
    names = [tracing.OPERATORS[one] for one in graph.operators]
    part = ["convolution", "batch norm", "rectifier"]
    assert names == ["input", *part, *part, "sum", "concatenation", "linear"]
    assert graph.distances[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 4, 5]
    assert graph.distances[:, 3].tolist() == [0, 0, 0, 0, 1, 2, 3, 1, 1, 2]
    weights = {(slot.block, slot.name): (slot.shape, slot.role, slot.gain) for slot in graph.slots}
    assert weights[0, "0.weight"] == ((4, 3, 3, 3), "weight", 1.0)
    assert weights[1, "0.weight"] == ((4, 4, 3, 3), "weight", 2.0), "it reads what is rectified"
    assert weights[1, "1.weight"] == ((4,), "scale", 1.0) and weights[1, "1.bias"] == ((4,), "shift", 1.0)
    assert weights[3, "weight"][2] == 1.0, "a sum is not rectified"
    assert len(graph.slots) == 10 and graph.reads == ((-1,), (0,), (0, 1), (2,))


def test_a_block_that_cannot_be_followed_is_its_modules_in_a_row():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.alone = nn.Linear(4, 4), nn.Linear(4, 4), nn.Parameter(torch.zeros(3))

        def forward(self, x):
            return self.second(x) if x.sum() > 0 else self.first(x)

    found = tracing.trace(Odd(), 1)
    assert [node.operator for node in found.nodes] == ["linear", "linear", "other"]
    assert [node.reads for node in found.nodes] == [(-1,), (0,), ()]
    assert {one.name for node in found.nodes for one in node.parameters} == {
        name for name, _ in Odd().named_parameters()
    }


def test_distances_and_levels_are_those_of_the_graph():
    space = nas.spaces.load(SPACES["darts"])
    assembly = space.assembly(space.sample(1, np.random.default_rng(3))[0])
    graph = supernets.of(space, kind="ghn").graph(assembly)
    edges = (graph.distances == 1).T.astype(float)
    wanted = shortest_path(edges, unweighted=True).T
    wanted[~np.isfinite(wanted) | (wanted > graphs.FARTHEST)] = 0
    np.testing.assert_array_equal(graph.distances, wanted)
    for order in (graph.forward, graph.backward):
        assert sorted(order.nodes) == list(range(len(graph.operators)))
        for start, end in zip((0, *order.ends), order.ends, strict=False):
            assert not order.distances[start:end, start:].any(), "a level hears of nothing in it or behind it"


def test_a_walk_by_levels_is_the_walk_node_by_node():
    space = nas.spaces.load(CELLS)
    assembly = space.assembly(space.sample(1, np.random.default_rng(1))[0])
    graph = supernets.of(space, kind="ghn").graph(assembly)
    torch.manual_seed(0)
    walk = graph_network.GatedGraphNetwork(8)
    features = torch.randn(len(graph.operators), 8)
    states = list(features)
    for towards, places in ((graph.distances, range(len(states))), (graph.distances.T, reversed(range(len(states))))):
        for place in places:
            heard = torch.zeros(8)
            for other in np.flatnonzero(towards[place]):
                far = int(towards[place][other])
                heard = heard + (walk.near(states[other]) if far == 1 else walk.far(states[other]) / far)
            states[place] = walk.gate(heard[None], states[place][None])[0]
    wanted = walk.norm(torch.stack(states))
    assert torch.allclose(walk(features, graph), wanted, atol=1e-5)


# -- tiles and images


def test_a_part_of_a_tile_is_what_stands_there_in_the_whole():
    torch.manual_seed(0)
    tiles, states = decoding.TileDecoder(8), torch.randn(2, 8)
    nn.init.normal_(tiles.last.bias)
    whole = tiles(states, (decoding.TILE, decoding.TILE, 7, 7))
    part = tiles(states, (5, 9, 3, 5))
    assert torch.allclose(part, whole[:, :5, :9, 2:5, 1:6], atol=1e-5)


def test_what_is_larger_than_a_tile_repeats_it_with_other_signs():
    tile = torch.randn(4, 3, 2, 1, generator=torch.Generator().manual_seed(0))
    found = scaling.repeated(tile, (300, 200, 3, 1), 3)
    assert torch.equal(found[:3, :3, :2], tile[:3])
    assert torch.equal(found[:, :, 2], found[:, :, 0]), "a kernel that is larger, as it is"
    wanted = tile[torch.arange(300) % 4][:, torch.arange(200) % 3]
    assert torch.equal(found[:, :, :2].abs(), wanted.abs())
    signs = scaling.signs(300, 200, 3)
    assert (
        abs(float(signs.mean())) < 0.02 and float((signs[3:] @ signs[3:].T / 200).fill_diagonal_(0).abs().max()) < 0.4
    )
    assert torch.equal(scaling.signs(40, 50, 3), signs[:40, :50])


def test_weights_are_scaled_by_what_they_are():
    raw = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    slot = graphs.Slot(0, "w", (2, 2), "weight", 0, 2.0)
    assert torch.allclose(scaling.scaled(slot, raw), raw)
    assert torch.allclose(scaling.scaled(graphs.Slot(0, "w", (2, 2), "weight", 0, 1.0), raw), raw / math.sqrt(2))
    assert torch.equal(scaling.scaled(graphs.Slot(0, "w", (2, 2), "table", 0, 1.0), raw), raw)
    large = torch.tensor([-100.0, 0.0, 100.0])
    assert scaling.scaled(graphs.Slot(0, "s", (3,), "scale", 0, 1.0), large).tolist() == pytest.approx([0, 1, 2])
    assert scaling.scaled(graphs.Slot(0, "s", (3,), "shift", 0, 1.0), large).tolist() == pytest.approx([-1, 0, 1])


def test_an_image_has_a_place_for_every_weight_and_tells_networks_apart():
    space = nas.spaces.load(CELLS)
    supernet, seen = supernets.of(space, kind="smash"), set()
    for text in ("nor_conv_3x3", "nor_conv_1x1"):
        arch = space.parse(f"|{text}~0|+|skip_connect~0|none~1|+|none~0|none~1|{text}~2|")
        graph = supernet.graph(space.assembly(arch))
        where = encoding.places(graph)
        image = encoding.image(graph, where)
        assert image.shape[0] == encoding.PLANES and set(np.unique(image)) == {0.0, 1.0}
        held = 0
        for slot, place in zip(graph.slots, where, strict=True):
            out, read = slot.sides[:2]
            room = 16 * place.rows * (16 * place.columns if place.matrix else 1) if place.matrix else 16 * place.columns
            assert room >= out * read > room / 16 / 16 / 4
            held += place.rows * place.columns
            part = image[:, place.row : place.row + place.rows, : place.columns]
            assert part.any(axis=0).all() and not image[:, place.row : place.row + place.rows, place.columns :].any()
            assert len(np.unique(part.reshape(len(part), -1), axis=1).T) == place.rows * place.columns
        assert int(image.any(axis=0).sum()) == held, "places do not overlap"
        seen.add(image.tobytes())
    assert len(seen) == 2


# -- first weights


class Plain(ProductSpace):
    """Ten convolutions in a row, without norms."""

    name, spec, input_shape = "plain", "plain", (1, 16, 8, 8)
    genes = (Gene("width", (48, 160)),)

    def __init__(self):
        pass

    def assembly(self, arch):
        width = self.value(arch, "width")
        blocks, before = [], INPUT
        for number in range(10):
            read = 16 if number == 0 else width

            def build(read=read):
                return nn.Sequential(nn.Conv2d(read, width, 3, padding=1, padding_mode="circular"), nn.ReLU())

            blocks.append(Block(f"layer{number}", f"conv {read}->{width}", (before,), build))
            before = f"layer{number}"
        return Assembly(tuple(blocks), self.input_shape)


@pytest.mark.parametrize("width", [0, 1], ids=["48", "160"])
@pytest.mark.parametrize("kind", KINDS)
def test_ten_layers_without_norms_neither_fade_nor_explode(kind, width):
    space, arch, sizes = Plain(), np.array([width]), []
    inputs = torch.randn(8, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    for seed in range(3):
        supernet = supernets.of(space, seed=seed, kind=kind)
        with torch.no_grad():
            sizes.append(float(supernet.forward_path(inputs, arch).square().mean().sqrt()))
            weights = [own["0.weight"] for own in supernet.weights(space.assembly(arch))]
        for layer, one in enumerate(weights):
            wanted = math.sqrt((1.0 if layer == 0 else 2.0) / one[0].numel())
            assert wanted / 2 < float(one.square().mean().sqrt()) < wanted * 2
    assert min(sizes) > 0.05 and max(sizes) < 20, sizes


# -- training


def train(spec, images, plan, path, **options):
    return training.train(nas.spaces.load(spec), images, plan, checkpoint=path / "w.safetensors", **options)


@pytest.mark.parametrize(
    ("kind", "least"),
    [("smash", 0.4), *(pytest.param(kind, 0.25, marks=pytest.mark.slow) for kind in ("ghn", "ghn-transformer"))],
)
def test_it_learns_digits_for_networks_that_were_never_drawn(images, tmp_path, monkeypatch, kind, least):
    space, losses = nas.spaces.load(HYBRID), []

    def half(turn):
        """Networks whose genes add up to an even number."""
        archs = turn.space.sample(16, turn.rng)
        loss = turn.loss(turn.supernet.forward_path(turn.inputs, archs[archs.sum(axis=1) % 2 == 0][0]))
        losses.append(float(loss.detach()))
        loss.backward()

    monkeypatch.setitem(trainers.REGISTRY._registered, "half", half)
    plan = TrainingPlan(steps=36, batch=24, trainer="half", weights=kind, optimiser="adamw", rate=0.002)
    learned = train(HYBRID, images, plan, tmp_path)
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.4
    archs = space.sample(20, np.random.default_rng(1))
    archs = archs[archs.sum(axis=1) % 2 == 1][:4]
    found = [training.accuracy(training.inherit(learned, arch, images), images.valid) for arch in archs]
    assert np.mean(found) > least, f"chance is 0.1: {found}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    digits = data.load("digits", nas.spaces.load(CELLS).input_shape, seed=0, limit=100)
    plan = TrainingPlan(steps=3, batch=8, seed=4, weights=kind, optimiser="adamw", rate=0.001)
    whole = train(CELLS, digits, plan, tmp_path / "whole").state_dict()

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(CELLS, digits, plan, tmp_path / "cut", progress=stop)
    torch.manual_seed(99)
    taken = []
    end = train(CELLS, digits, plan, tmp_path / "cut", progress=lambda done, total: taken.append(done)).state_dict()
    assert taken == [2, 3] and equal(end, whole)


def test_accuracy_by_generated_weights(tmp_path):
    space = nas.spaces.load(CELLS)
    settings = {"train_steps": 2, "images": 60, "weights": "smash"}
    judge = EVALUATOR.open("accuracy", "accuracy", Context(space, tmp_path, None, data="digits", settings=settings))
    assert (judge.plan.weights, judge.plan.optimiser, judge.plan.rate) == ("smash", "adamw", 0.001)
    assert "weights smash 1" in judge.identity
    archs = space.sample(2, np.random.default_rng(0))
    values = judge.evaluate(archs)
    assert ((values.low < values.value) & (values.value < values.high)).all()
    with pytest.raises(UsageError, match="'smash' cannot be mixed"):
        judge.require_mixed()
