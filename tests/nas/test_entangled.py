"""Weights that are parts of each other: slices of widths, heads and kernels, and the kind of weights."""

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from nas.evaluators.protocol import Context
from nas.evaluators.shared import EVALUATOR
from nas.gradient import darts, gdas
from nas.gradient.protocol import GradientProblem
from nas.spaces._parts.slices import front_slices
from nas.testing.rules import inputs_of
from nas.testing.weights import awaken
from nas.weights import images as data
from nas.weights import kinds, supernets
from predictors.encoding import CostTable

pytestmark = pytest.mark.usefixtures("one_thread")

#: Spaces whose blocks are front slices of wider ones, small.
SLICED = {
    "darts": "darts:layers=3,channels=4,resolution=8",
    "gpt": "gpt:layers=3,length=6,vocabulary=16,width=13",
    "hat": "hat:encoder_layers=3,decoder_layers=2,length=5,vocabulary=16,width=10",
    "hybrid": "hybrid:stages=2,resolution=16,width=50,classes=10",
    "mobilenetv3": "mobilenetv3:stages=1,layers=3,width=25,resolution=16,smallest=8,step=8,classes=10",
    "nasbot": "nasbot:layers=4,width=4,steps=3,resolution=16",
    "nsganet-micro": "nsganet-micro:layers=3,channels=4,resolution=8",
    "resnet": "resnet:stages=2,width=50,resolution=16,smallest=8,step=8,classes=10",
}
#: Smallest and largest of operators that are parts of each other, where they are no ends of an ordered gene.
ENDS = {
    "darts": ({"_op": "sep3", "_from": 1}, {"_op": "sep5", "_from": 1}),
    "nasbench201": ({"edge": "nor_conv_1x1"}, {"edge": "nor_conv_3x3"}),
    "nasbot": (
        {"kind": "res3", "units": 4, "edge": 1, "out": 1, "fc": 0},
        {"kind": "res7", "units": 16, "edge": 1, "out": 1, "fc": 0},
    ),
    "nsganet-micro": ({"_op": "dil3", "_from": 1}, {"_op": "dil5", "_from": 1}),
}
CELLS = ("darts", "nsganet-micro")
NB201 = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8,classes=10")


def load(name):
    return NB201 if name == "nasbench201" else nas.spaces.load(SLICED[name])


def fresh(space, seed=0):
    torch.manual_seed(seed)
    return supernets.of(space, seed=seed, kind="entangled")


def inputs_for(space, arch, n=4):
    return torch.cat([inputs_of(space.assembly(arch), seed) for seed in range(n)])


def ends(name, **fixed):
    """The smallest and the largest network, but for genes that are fixed."""
    space = load(name)
    found = []
    for last, wanted in zip((False, True), ENDS.get(name, ({}, {})), strict=True):
        arch = np.array([options - 1 if last else 0 for options in space.choices])
        for place, gene in enumerate(space.genes):
            for part, option in {**wanted, **fixed}.items():
                if part in gene.name:
                    arch[place] = gene.options.index(option)
        found.append(arch)
    return space, *found


def varied(space):
    """Networks that have each option of each gene."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(options)[np.arange(8) % options] for options in space.choices]
    archs = np.stack(rows, axis=1)
    return archs[space.is_valid(archs)]


# -- which part of the wider block


def indices(name, small, large, key):
    """Which indices of each axis are taken, told by the name of a parameter and the key of its block."""
    found = [np.arange(size) for size in small]
    for axis in range(2, len(small)):
        found[axis] += (large[axis] - small[axis]) // 2
    head = [word for word in key.split() if word[0] == "h" and word[1:].isdigit()]
    if head and key.startswith(("gpt attention", "hybrid attention")):
        heads = int(head[0][1:])
        grouped = {"project.weight": (0, 3 * heads), "project.bias": (0, 3 * heads), "out.weight": (1, heads)}
        for ending, (axis, groups) in grouped.items():
            if name.endswith(ending):
                each, wide = small[axis] // groups, large[axis] // groups
                found[axis] = np.array([group * wide + channel for group in range(groups) for channel in range(each)])
    return found


@pytest.mark.parametrize("name", SLICED)
def test_every_kind_is_the_stated_part_of_the_widest(name):
    space = load(name)
    seen, narrower = set(), 0
    for arch in (*varied(space), *ends(name)[1:]):
        for block in space.assembly(arch).blocks:
            place = (block.key, "" if name in CELLS else block.name)
            if block.cut is None or place in seen:
                continue
            seen.add(place)
            cut = block.cut()
            wide = {n: torch.rand(p.shape) for n, p in cut.build().named_parameters()}
            own = {n: tuple(p.shape) for n, p in block.build().named_parameters()}
            taken = cut.take(wide)
            assert {n: tuple(t.shape) for n, t in taken.items()} == own, f"{block.name} {block.key}"
            for n, tensor in taken.items():
                wanted = wide[n].numpy()[np.ix_(*indices(n, own[n], wide[n].shape, block.key))]
                assert (tensor.numpy() == wanted).all(), f"{n} of {block.key}"
                narrower += own[n] != wide[n].shape
    assert narrower > 10


@pytest.mark.parametrize("name", SLICED)
def test_all_kinds_at_a_place_are_parts_of_one(name):
    """But for operators that have nothing in common, and linear layers of nasbot, whose outputs may be the classes."""
    space = load(name)
    wholes = {}
    for arch in varied(space):
        for block in space.assembly(arch).blocks:
            if block.cut and not block.key.startswith("nasbot linear"):
                kind = block.key.split()[1][:3] + block.key.split()[-1] * (name in CELLS)
                assert wholes.setdefault((block.name, kind), block.cut().key) == block.cut().key


def taken(space, text, name):
    """The block of that name, its cut parameters, and those of the whole, numbered from 0."""
    arch = space.parse(text)
    block = next(block for block in space.assembly(arch).blocks if block.name == name)
    cut = block.cut()
    wide = {n: torch.arange(p.numel()).reshape(p.shape) for n, p in cut.build().named_parameters()}
    return cut.key, cut.take(wide), wide


def test_bottlenecks_by_hand():
    space = load("resnet")
    text = "r16 stem2(16-24) 2w80(0.2+0.2+0.2+0.2) 2w168(0.2+0.2+0.2+0.2)"
    key, own, wide = taken(space, text, "s1_1")
    assert key == "resnet bottleneck 32-48-128 s1"
    assert torch.equal(own["core.0.weight"], wide["core.0.weight"][:16, :24])
    assert torch.equal(own["core.3.weight"], wide["core.3.weight"][:16, :16])
    assert torch.equal(own["core.6.weight"], wide["core.6.weight"][:80, :16])
    assert torch.equal(own["core.7.bias"], wide["core.7.bias"][:80])
    assert torch.equal(own["shortcut.0.weight"], wide["shortcut.0.weight"][:80, :24])
    key, own, wide = taken(space, text, "s2_1")
    assert key.startswith("resnet bottleneck 128-") and own["shortcut.1.weight"].shape[:2] == (168, 80)
    assert torch.equal(own["shortcut.1.weight"], wide["shortcut.1.weight"][:168, :80])


def test_heads_by_hand():
    """Width 24 of 96 with 4 heads: of each head the first 6 of its 24 channels."""
    space = load("gpt")
    key, own, wide = taken(space, "24x1-bias(2h4+2h4+2h4)", "l1attention")
    assert key == "gpt attention 96 h12 bias"
    rows = [*range(6), *range(24, 30), *range(48, 54), *range(72, 78)]
    rows = rows + [96 + row for row in rows] + [192 + row for row in rows]
    assert torch.equal(own["core.project.weight"], wide["core.project.weight"][rows][:, :24])
    assert torch.equal(own["core.project.bias"], wide["core.project.bias"][rows])
    assert torch.equal(own["core.out.weight"], wide["core.out.weight"][:24][:, rows[:24]])
    assert torch.equal(own["norm.weight"], wide["norm.weight"][:24])
    _, own, wide = taken(space, "48x1(3h8+2h4+2h4)", "l1feed")
    assert own.keys() == {"core.0.weight", "core.2.weight", "norm.weight"}, "no biases"
    assert torch.equal(own["core.0.weight"], wide["core.0.weight"][:144, :48])
    assert torch.equal(own["core.2.weight"], wide["core.2.weight"][:48, :144])


def test_two_residual_streams_by_hand():
    """Encoder of 64 channels, decoder of 48: cross attention reads the one and gives the other."""
    space = load("hat")
    text = "enc64(104h4+104h4+104h4) dec48x1(104h4c4a-1+104h4c4a-1)"
    key, own, wide = taken(space, text, "d1cross")
    assert key == "hat cross 64-64-48 h8 of 3"
    assert torch.equal(own["core.query.weight"], wide["core.query.weight"][:, :48])
    assert torch.equal(own["core.memory.weight"], wide["core.memory.weight"])
    assert torch.equal(own["core.out.weight"], wide["core.out.weight"][:48])
    _, own, wide = taken(space, text, "e1feed")
    assert torch.equal(own["core.0.weight"], wide["core.0.weight"][:104]), "the first part of those between"
    _, own, wide = taken(space, text, "target")
    assert torch.equal(own["tokens.weight"], wide["tokens.weight"][:, :48])


def test_convolutions_and_attention_by_hand():
    space = load("hybrid")
    text = "conv1w16k3e2 attention1w32k3h2e2"
    key, own, wide = taken(space, text, "s1l1")
    assert key == "hybrid conv 32 k7 e4"
    assert torch.equal(own["core.3.weight"], wide["core.3.weight"][:32, :, 2:5, 2:5])
    assert torch.equal(own["core.0.weight"], wide["core.0.weight"][:32, :16])
    key, own, wide = taken(space, text, "s2l1a")
    assert key == "hybrid attention 64 h8"
    rows = [*range(16), *range(32, 48)]
    columns = rows + [64 + row for row in rows] + [128 + row for row in rows]
    assert torch.equal(own["1.core.core.project.weight"], wide["1.core.core.project.weight"][columns][:, :32])
    assert torch.equal(own["0.core.weight"], wide["0.core.weight"][:32])


def test_separable_kernels_by_hand():
    space, small, _ = ends("darts")
    block = next(b for b in space.assembly(small).blocks if "sep3 4" in b.key)
    cut = block.cut()
    wide = dict(cut.build().named_parameters())
    own = cut.take(wide)
    assert cut.key == block.key.replace("sep3", "sep5")
    assert torch.equal(own["1.weight"], wide["1.weight"][:, :, 1:4, 1:4])
    assert torch.equal(own["5.weight"], wide["5.weight"][:, :, 1:4, 1:4])
    assert torch.equal(own["2.weight"], wide["2.weight"]), "1x1 convolutions are in common"


def test_layers_of_graphs_by_hand():
    text = "conv3*4(0) res5*8(1) conv3*4() conv3*4() out(2) fc(0+0)"
    space = load("nasbot")
    key, own, wide = taken(space, text, "n2")
    assert key == "nasbot res7 16"
    assert torch.equal(own["second.0.weight"], wide["second.0.weight"][:8, :8, 1:6, 1:6])
    _, own, wide = taken(space, text, "p1_2")
    assert torch.equal(own["0.weight"], wide["0.weight"][:8, :4])
    key, own, wide = taken(space, text, "l2")
    assert key == "nasbot linear 16->10" and torch.equal(own["weight"], wide["weight"][:, :8])


def test_groups_are_axes_cut_in_equal_parts():
    build = lambda width: lambda: torch.nn.Linear(width, width, bias=False)  # noqa: E731
    cut = front_slices(build(4), "wide", build(8), {"weight": (2, 4)})
    wide = torch.arange(64.0).reshape(8, 8)
    assert cut.key == "wide"
    found = cut.take({"weight": wide})["weight"]
    assert torch.equal(found, wide[[0, 1, 4, 5]][:, [0, 2, 4, 6]])


# -- one set of weights


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("name", [*SLICED, "nasbench201", "hybrid of attention"])
def test_what_the_largest_learns_the_smallest_knows_and_the_other_way_round(name, first, second):
    fixed = {"operator": "attention"} if "of" in name else {}
    space, *archs = ends(name.split()[0], **fixed)
    supernet = fresh(space).train()
    supernet.forward_path(inputs_for(space, archs[second]), archs[second])
    before = supernet.subnet(archs[second]).state_dict()
    inputs = inputs_for(space, archs[first])
    supernet.forward_path(inputs, archs[first]).square().mean().backward()
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad.sign()
    after = dict(supernet.subnet(archs[second]).named_parameters())
    own = {b.name: b.key for b in space.assembly(archs[second]).blocks}
    others = {b.name: b.key for b in space.assembly(archs[first]).blocks}
    learned = 0
    for n, parameter in after.items():
        block = n.split(".")[1]
        if parameter.dim() > 1 and block in others and own[block] != others[block]:
            assert not torch.equal(parameter, before[n]), n
            learned += 1
    assert learned > 5


@pytest.mark.parametrize("name", ["gpt", "hat", "mobilenetv3", "nasbench201", "resnet"])
def test_a_supernet_has_the_parameters_of_its_largest_network(name):
    space, _, largest = ends(name)
    supernet = fresh(space)
    counts = []
    for arch in (*varied(space), largest):
        supernet.forward_path(inputs_for(space, arch), arch)
        counts.append(sum(parameter.numel() for parameter in supernet.parameters()))
    wanted = sum(parameter.numel() for parameter in space.to_module(largest).parameters())
    assert counts == sorted(counts) and counts[-1] == wanted


def test_convolutions_and_attention_have_weights_each():
    """But no more, however many widths, kernels, heads and ratios there are."""
    supernet = fresh(load("hybrid"))
    wanted = {}
    for fixed in ({"operator": "conv"}, {"operator": "attention"}):
        space, _, largest = ends("hybrid", **fixed)
        network = space.to_module(largest)
        for block in space.assembly(largest).blocks:
            wanted[block.key, block.name] = sum(p.numel() for p in network.blocks[block.name].parameters())
        supernet.forward_path(inputs_for(space, largest), largest)
    for arch in varied(space):
        supernet.forward_path(inputs_for(space, arch), arch)
    assert sum(parameter.numel() for parameter in supernet.parameters()) == sum(wanted.values())


@pytest.mark.parametrize("name", [*SLICED, "nasbench201"])
def test_a_state_gives_all_networks_the_weights_they_had(name):
    space = load(name)
    archs = space.sample(2, np.random.default_rng(5))
    supernet = fresh(space, seed=1).eval()
    for arch in archs:
        awaken(supernet, inputs_for(space, arch), arch)
    other = fresh(space, seed=2).eval()
    other.load_state_dict(supernet.state_dict())
    with torch.no_grad():
        for arch in archs:
            inputs = inputs_for(space, arch)
            assert torch.equal(other.forward_path(inputs, arch), supernet.forward_path(inputs, arch))


def test_statistics_are_those_of_each_kind_and_a_network_alone_has_its_own():
    space = load("resnet")
    supernet = fresh(space).train()
    _, small, large = ends("resnet")
    for _ in range(3):
        supernet.forward_path(inputs_for(space, large), large)
    supernet.forward_path(inputs_for(space, small), small)
    counts = [
        {int(t) for n, t in supernet.subnet(arch).state_dict().items() if "num_batches" in n and "s2_1" in n}
        for arch in (small, large)
    ]
    assert counts == [{1}, {3}]


# -- the kind of weights


def test_what_is_entangled_without_being_asked_is_the_same_by_both_names():
    space = load("resnet")
    assert supernets.form(space, "entangled") == supernets.form(space) == "weights 3"
    one, other = supernets.of(space, seed=3), supernets.of(space, seed=3, kind="entangled")
    arch = space.sample(1, np.random.default_rng(0))[0]
    inputs = inputs_for(space, arch)
    assert torch.equal(one.eval().forward_path(inputs, arch), other.eval().forward_path(inputs, arch))


def test_entangled_weights_of_nasbench201_are_another_form():
    narrowed = NB201.restrict({"edge01": ["nor_conv_1x1", "nor_conv_3x3"]})
    for space in (NB201, narrowed):
        assert supernets.form(space) == ""
        assert supernets.form(space, "entangled") == "weights entangled 1"
        supernets.require_mixed(space, "entangled")


@pytest.mark.parametrize("name", ["motifs:cells=1,channels=4,resolution=8", "nsganet-macro:channels=4,resolution=8"])
def test_spaces_without_such_weights_are_refused(name):
    space = nas.spaces.load(name)
    for call in (supernets.form, lambda space, kind: supernets.of(space, kind=kind)):
        with pytest.raises(UsageError, match="no weights that are parts of each other") as caught:
            call(space, "entangled")
        assert "weights=entangled" in caught.value.hint


def test_a_space_with_a_supernet_of_its_own_says_itself_whether_it_has_them():
    bare = type("Bare", (), {"name": "bare", "to_supernet": lambda self: None, "choices": (2,)})()
    with pytest.raises(UsageError, match="no weights that are parts"):
        supernets.form(bare, "entangled")


def test_a_kind_that_cannot_be_mixed_says_so():
    kinds.REGISTRY.register("alone", lambda space, *, seed: None)
    try:
        with pytest.raises(UsageError, match="of kind 'alone' cannot be mixed"):
            supernets.require_mixed(NB201, "alone")
    finally:
        kinds.REGISTRY._registered.pop("alone")
    assert kinds.is_mixable(kinds.REGISTRY.get("shared")) and kinds.is_mixable(kinds.REGISTRY.get("entangled"))


def context(tmp_path, space, **settings):
    return Context(space, tmp_path, store=None, data="digits", settings={"train_steps": 2, "images": 100, **settings})


def test_accuracy_by_entangled_weights(tmp_path):
    judge = EVALUATOR.open("accuracy", "accuracy", context(tmp_path, NB201, weights="entangled"))
    assert judge.identity.endswith("weights entangled 1")
    judge.require_mixed()
    _, small, large = ends("nasbench201")
    found = judge.evaluate(np.stack([small, large]))
    assert ((found.value >= 0) & (found.value <= 1)).all()
    one, three = (dict(judge.network(arch).named_parameters())["blocks.s0c0e0.1.weight"] for arch in (small, large))
    assert torch.equal(one, three[:, :, 1:2, 1:2])
    again = EVALUATOR.open("accuracy", "accuracy", context(tmp_path, NB201, weights="entangled"))
    assert (again.evaluate(np.stack([small, large])).value == found.value).all(), "read from the checkpoint"


def test_refusing_comes_before_training(tmp_path):
    space = nas.spaces.load("motifs:cells=1,channels=4,resolution=8")
    with pytest.raises(UsageError, match="'motifs' have no weights"):
        EVALUATOR.open("accuracy", "accuracy", context(tmp_path, space, weights="entangled"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("strategy", [gdas.gdas, darts.GRADIENT])
def test_strategies_search_entangled_weights(strategy):
    table = CostTable(NB201.choices, tuple((gene,) for gene in range(6)), tuple(np.arange(1.0, 6) for _ in range(6)))
    images = data.load("digits", NB201.input_shape, seed=0, limit=100)
    supernet = fresh(NB201)
    problem = GradientProblem(NB201, lambda: supernet, lambda: images, table.differentiable(), budget=2, seed=0)
    found = np.concatenate([run.archs for run in strategy(problem, weights=(0.0,), steps=2, batch=8)])
    assert len(found) and NB201.is_valid(found).all()
