"""A space of a user's own module: genes, canonical form, blocks, networks, and what is refused."""

import subprocess
import sys
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import nas
from device_profiles.errors import InvalidModel, UnknownName, UsageError
from nas.nn import Choice, Option, Repeat, choose
from nas.spaces.export import onnx_bytes
from nas.testing import check_space
from profiler import work
from profiler.capture import BlockCache, stitch
from profiler.onnx_graph import read_graph

SHAPE = (1, 1, 8, 8)


class Layer(nn.Module):
    def __init__(self, width, place):
        super().__init__()
        self.op = Choice({"k3": nn.Conv2d(width, width, 3, padding=1), "skip": nn.Identity()}, name=f"op{place}")
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.norm(self.op(x)))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        width = Option("width", (4, 8))
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.body = Repeat(lambda place: Layer(width, place), depths=(1, 2), name="depth")
        self.scale = nn.Parameter(torch.ones(1, width, 1, 1))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.body(self.stem(x)) * self.scale
        return self.head(x.mean((2, 3)).view(x.shape[0], -1))


@pytest.fixture(scope="module")
def space():
    return nas.spaces.from_module(Network, SHAPE)


def filled(module):
    """Weights and statistics that are never trivial."""
    for number, value in enumerate(module.state_dict().values()):
        if value.dtype == torch.float32:
            value.copy_(torch.rand(value.shape, generator=torch.Generator().manual_seed(number)) + 0.5)
    return module.eval()


def image(shape=(2, *SHAPE[1:])):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_it_conforms(space):
    assert space.notes == ()
    check_space(space.restrict({"width": 4}))


def test_genes_are_options_choices_and_repeats_by_name(space):
    assert [gene.name for gene in space.genes] == ["width", "depth", "op0", "op1"]
    assert space.genes[1].options == (1, 2) and space.ordered == (True, True, False, False)
    arch = space.parse("width=8 depth=1 op0=skip op1=skip")
    assert space.values(arch) == {"width": 8, "depth": 1, "op0": "skip", "op1": "skip"}


def test_layers_that_are_left_out_have_no_genes(space):
    everything = np.array(list(np.ndindex(*space.choices)))
    canonical = space.canonical(everything)
    assert len(np.unique(canonical, axis=0)) == 2 * (2 + 4)
    assert space.canonical(space.parse("width=4 depth=1 op0=skip op1=skip")[None])[0].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("text", ["width=4 depth=2 op0=k3 op1=skip", "width=8 depth=1 op0=skip op1=k3"])
def test_networks_compute_what_the_factorys_own_module_does(space, text):
    arch = space.parse(text)
    own = filled(space.chosen(arch))
    network = space.inherit(own, arch)
    with torch.no_grad():
        torch.testing.assert_close(network(image()), own(image()))
        for parameter in network.parameters():
            parameter.zero_()
        assert float(own(image()).abs().sum()) > 0
    assert network.state_dict().keys() == space.to_module(arch).state_dict().keys()


def test_the_same_seed_makes_the_same_weights(space):
    arch = space.parse("width=4 depth=2 op0=k3 op1=skip")
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(space.to_module(arch).state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


def test_blocks_are_children_and_choices_and_skips_are_wires(space):
    blocks = space.assembly(space.parse("width=4 depth=2 op0=k3 op1=skip")).blocks
    names = [block.name for block in blocks]
    assert names[:5] == ["stem", "body_0_op", "body_0_norm", "body_0_relu", "body_1_norm"] and names[-1] == "head"
    at = {block.name: block for block in blocks}
    assert at["body_1_norm"].inputs == ("body_0_relu",)
    assert at["body_0_norm"].key == at["body_1_norm"].key
    assert at["body_0_relu"].key == at["body_1_relu"].key != at["body_0_norm"].key


def test_a_place_keeps_its_name_whatever_is_chosen(space):
    names = [
        {block.name for block in space.assembly(space.parse(f"width={width} depth=2 op0=k3 op1={op}")).blocks}
        for width in (4, 8)
        for op in ("k3", "skip")
    ]
    assert names[0] == names[2] == names[1] | {"body_1_op"}


def test_keys_follow_the_structure_not_the_weights():
    def keys(width):
        space = nas.spaces.from_module(lambda: nn.Sequential(nn.Conv2d(1, width, 3), Choice({"a": nn.ReLU()})), SHAPE)
        return [block.key for block in space.assembly(np.array([0])).blocks]

    assert keys(4) == keys(4)
    assert keys(4)[0] != keys(8)[0] and keys(4)[1] == keys(8)[1]


def test_equal_names_of_other_code_have_other_keys():
    def block(change):
        class Block(nn.Module):
            def forward(self, x):
                return x + change

        return nn.Sequential(Choice({"a": Block(), "b": nn.ReLU()}))

    keys = [
        nas.spaces.from_module(lambda change=change: block(change), SHAPE).assembly(np.array([0])).key
        for change in (1.0, 2.0, 1.0)
    ]
    assert keys[0] == keys[2] != keys[1]


def test_another_process_makes_the_same_space_with_the_same_keys(space):
    text = (
        "import nas, numpy as np\nfrom tests.nas.test_space_module import Network, SHAPE\n"
        "space = nas.spaces.from_module(Network, SHAPE)\n"
        "print(space.spec, space.assembly(np.array([1, 1, 0, 1])).key)"
    )
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    assert said.split("\n")[0] == f"{space.spec} {space.assembly(np.array([1, 1, 0, 1])).key}"
    assert space.spec.startswith("module:Network-")


def test_the_spec_finds_the_space_in_this_process_and_says_what_to_do_in_others(space):
    assert nas.spaces.load(space.spec) is space
    small = space.restrict({"op0": "skip"})
    assert nas.spaces.load(small.spec) == small
    with pytest.raises(UsageError, match="torch module") as refused:
        nas.spaces.load("module:Network-0123456789ab")
    assert "from_module" in refused.value.hint
    with pytest.raises(UnknownName):
        nas.spaces.load(space.spec, width=3)
    assert "module" not in nas.spaces.names()


def test_choices_may_be_nested_and_functions():
    def factory():
        inner = Choice({"a": nn.ReLU(), "b": nn.Sigmoid()}, name="inner")
        return nn.Sequential(
            nn.Conv2d(1, 2, 3),
            Choice({"deep": nn.Sequential(nn.Conv2d(2, 2, 1), inner), "flat": nn.Tanh, "wide": _wide}, name="outer"),
        )

    def _wide():
        width = Option("width", (1, 3))
        return nn.Sequential(nn.Conv2d(2, width, 1), nn.Conv2d(width, 2, 1))

    space = nas.spaces.from_module(factory, SHAPE)
    everything = np.array(list(np.ndindex(*space.choices)))
    assert {gene.name: len(gene.options) for gene in space.genes} == {"width": 2, "outer": 3, "inner": 2}
    assert len(np.unique(space.canonical(everything), axis=0)) == 2 + 1 + 2
    blocks = space.assembly(space.parse("width=1 outer=deep inner=b")).blocks
    assert [block.name for block in blocks] == ["0", "1_0", "1_1"]
    for arch in everything:
        own = filled(space.chosen(arch))
        with torch.no_grad():
            torch.testing.assert_close(space.inherit(own, arch)(image()), own(image()))


def test_a_choice_without_a_name_is_called_by_its_place():
    space = nas.spaces.from_module(lambda: nn.Sequential(Choice({"a": nn.ReLU(), "b": nn.Tanh()})), SHAPE)
    assert space.genes[0].name == "0"
    space = nas.spaces.from_module(lambda: Repeat(nn.Conv2d(1, 1, 1), (0, 2)), SHAPE)
    assert [len(space.assembly(np.array([depth])).blocks) for depth in (0, 1)] == [1, 2]


@pytest.mark.parametrize("kind", ["shape", "training", "shared", "tied"])
def test_what_cannot_be_cut_is_one_block_and_says_so(kind):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)
            self.op = Choice({"k3": nn.Conv2d(2, 2, 3, padding=1), "k1": nn.Conv2d(2, 2, 1)}, name="op")
            self.last = nn.Conv2d(2, 2, 1)
            if kind == "tied":
                self.last.weight = self.conv.weight

        def forward(self, x):
            x = self.conv(x)
            if kind == "shape" and x.shape[2] > 100:
                return x
            if kind == "training":
                x = nn.functional.dropout(x, 0.5, self.training)
            return self.last(self.op(self.conv(x) if kind == "shared" else x))

    with pytest.warns(UserWarning, match="one block"):
        space = nas.spaces.from_module(Odd, (1, 2, 6, 6))
    assert "one block" in space.notes[0]
    blocks = [space.assembly(np.array([option])).blocks for option in (0, 1)]
    assert [len(found) for found in blocks] == [1, 1] and blocks[0][0].key != blocks[1][0].key
    arch = np.array([1])
    own = filled(space.chosen(arch))
    network = space.inherit(own, arch)
    with torch.no_grad():
        torch.testing.assert_close(network(image((1, 2, 6, 6))), own(image((1, 2, 6, 6))))
    assert sum(p.numel() for p in network.parameters()) < sum(p.numel() for p in own.parameters())


def test_a_child_that_cannot_be_traced_is_one_block_and_the_others_are_cut():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.op = Choice({"a": nn.Conv2d(2, 2, 1), "b": nn.Conv2d(2, 2, 3, padding=1)}, name="op")

        def forward(self, x):
            return self.op(x) if x.shape[2] > 3 else x

    def factory():
        return nn.Sequential(nn.Conv2d(1, 2, 1), Odd(), Choice({"a": nn.ReLU(), "b": nn.Tanh()}, name="act"))

    with pytest.warns(UserWarning, match="1 is one block"):
        space = nas.spaces.from_module(factory, SHAPE)
    assert [block.name for block in space.assembly(np.array([0, 0])).blocks] == ["0", "1", "2"]
    keys = {space.assembly(np.array([option, 1])).blocks[1].key for option in (0, 1)}
    assert len(keys) == 2


def test_constants_and_attributes_leave_with_the_network():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.rand(8, generator=torch.Generator().manual_seed(0)), persistent=False)
            self.op = Choice({"a": nn.Conv2d(1, 1, 1), "b": nn.Identity()}, name="op")

        def forward(self, x):
            return self.op(x * self.mask + torch.tensor([0.5])) * 2

    space = nas.spaces.from_module(Odd, SHAPE)
    arch = np.array([0])
    own = filled(space.chosen(arch))
    with torch.no_grad():
        torch.testing.assert_close(space.inherit(own, arch)(image()), own(image()))
    graph = read_graph(stitch(space.assembly(arch), BlockCache.default()))
    assert work.graph_macs(graph) == 64


def test_whole_numbers_are_inputs_too():
    space = nas.spaces.from_module(
        lambda: nn.Sequential(nn.Embedding(8, 4), Choice({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4, bias=False)})),
        (1, 5),
        input_dtype="int64",
    )
    arch, tokens = np.array([1]), torch.arange(5)[None]
    own = filled(space.chosen(arch))
    network = space.inherit(own, arch)
    session = onnxruntime.InferenceSession(onnx_bytes(space, arch, module=network))
    with torch.no_grad():
        torch.testing.assert_close(network(tokens), own(tokens))
        np.testing.assert_allclose(session.run(None, {"input": tokens.numpy()})[0], own(tokens), rtol=1e-5)


def test_choose_sets_a_module_for_training_by_hand():
    module = Network()
    choose(module, {"op0": "skip", "depth": 2})
    assert module.body.depth == 2 and module.body.blocks[0].op.chosen == "skip"
    with pytest.raises(UnknownName, match="op7"):
        choose(module, {"op7": "skip"})
    with pytest.raises(UnknownName, match="k9"):
        choose(module, {"op0": "k9"})


def conv(width):
    return nn.Conv2d(1, width, 3, padding=1)


def depends():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.op = Choice({"a": nn.ReLU(), "b": nn.Tanh()}, name="op")

        def forward(self, x):
            return self.op(x) if float(x.sum()) > 0 else x

    return Odd()


def idle():
    module = nn.Sequential(conv(2))
    module[0].unused = Choice({"a": nn.ReLU()}, name="unused")
    return module


def deeper():
    depth = Option("depth", (1, 2))
    return nn.Sequential(*(Choice({"a": nn.ReLU(), "b": nn.Tanh()}, name=f"op{place}") for place in range(depth)))


def twins():
    return nn.Sequential(*(Choice({"a": nn.ReLU(), "b": nn.Tanh()}, name="op") for _ in range(2)))


def fails():
    width = Option("width", (2, 3))
    return nn.Sequential(conv(width), nn.Conv2d(2, 2, 1))


@pytest.mark.parametrize(
    ("factory", "kind", "words"),
    [
        (depends, InvalidModel, "depends on the input's content"),
        (lambda: Choice({"a": conv(2), "b": conv(3)}, name="op"), InvalidModel, "different shapes: a: 1x2x8x8, b: 1x3"),
        (lambda: Repeat(nn.Conv2d(1, 1, 3), (1, 2), name="d"), InvalidModel, "different shapes: 1: 1x1x6x6, 2: 1x1x4"),
        (twins, UsageError, "two choices have the name 'op'"),
        (lambda: nn.Sequential(conv(Option("op", (1, 2))), twins()[0]), UsageError, "two choices have the name 'op'"),
        (lambda: nn.Conv2d(1, Option("width", (4, nn.ReLU())), 1), UsageError, "needs distinct numbers or texts"),
        (lambda: nn.Conv2d(1, Option("width", (4, None)), 1), UsageError, "got None"),
        (lambda: nn.Conv2d(1, Option("width", ()), 1), UsageError, "needs distinct"),
        (lambda: nn.Conv2d(1, Option("a", (1, 2)) + Option("a", (1, 3)), 1), UsageError, "elsewhere"),
        (lambda: Choice({"a": nn.ReLU(), "b": 3}, name="op"), UsageError, "int, and no module"),
        (lambda: Choice({}, name="op"), UsageError, "needs options"),
        (lambda: Choice({"a b": nn.ReLU()}, name="op"), UsageError, "without spaces"),
        (lambda: Repeat(nn.ReLU(), (2, 1)), UsageError, "ascend"),
        (lambda: Repeat(lambda place: place, (1, 2)), UsageError, "no module"),
        (lambda: conv(2), UsageError, "nothing to choose"),
        (lambda: 3, InvalidModel, "int, and no torch module"),
        (lambda x: x, InvalidModel, "factory failed"),
        (idle, InvalidModel, "nothing runs the choice 'unused'"),
        (deeper, UsageError, "another thing to choose: op1"),
        (fails, InvalidModel, "with width=3 does not run"),
        (lambda: nn.Sequential(nn.Flatten(0), Choice({"a": nn.Linear(9, 1)})), InvalidModel, "does not run on float32"),
    ],
)
def test_what_is_no_space_is_refused(factory, kind, words):
    with warnings.catch_warnings(), pytest.raises(kind, match=words.replace("(", r"\(")):
        warnings.simplefilter("error")
        nas.spaces.from_module(factory, SHAPE)


@pytest.mark.parametrize(("shape", "dtype"), [((), "float32"), ((1, 0), "float32"), (SHAPE, "float16")])
def test_an_input_has_a_shape_and_a_dtype(shape, dtype):
    with pytest.raises(UsageError, match="an input is of"):
        nas.spaces.from_module(Network, shape, input_dtype=dtype)
