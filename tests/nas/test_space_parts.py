"""What spaces are made of: genes, masks, text, restrictions by hand and in a spec; properties of all that is left."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import nas
from device_profiles.errors import UnknownName, UsageError
from nas import spaces
from nas.spaces.product import Gene, ProductSpace
from nas.spaces.restricted import Restricted
from profiler.assembly import INPUT, Assembly, Block

FEW = settings(max_examples=60, deadline=None)


def network(kernels):
    return nn.Sequential(*(nn.Conv2d(1, 1, kernel, padding=kernel // 2) for kernel in kernels))


@dataclass(frozen=True)
class Toy(ProductSpace):
    """Of two layers the second may be left out; what `way` says matters with two alone. No isomorphism."""

    classes: int = 10

    name = "toy-of-parts"
    input_shape = (1, 1, 4, 4)

    @cached_property
    def genes(self):
        return (
            Gene("depth", (1, 2), ordered=True),
            Gene("kernel1", (1, 3, 5), ordered=True),
            Gene("kernel2", (1, 3, 5, 7), ordered=True),
            Gene("way", ("slow", "fast", "odd")),
        )

    def active(self, archs):
        found = np.ones(archs.shape, dtype=np.bool_)
        found[:, 2:] = archs[:, :1] == 1
        return found

    def assembly(self, arch):
        of = self.values(arch)
        kernels = [of["kernel1"], of["kernel2"]][: of["depth"]]
        way = of["way"] if of["depth"] == 2 else ""
        return Assembly((Block("all", f"toy {kernels} {way}", (INPUT,), lambda: network(kernels)),), self.input_shape)


@dataclass(frozen=True)
class Sorted(Toy):
    """Kernels in any order are one network, which the canonical row says; kernels of both layers are alike."""

    name = "sorted-of-parts"

    @cached_property
    def genes(self):
        return tuple(Gene(f"kernel{i}", (1, 3, 5, 7), ordered=True) for i in (1, 2, 3))

    def active(self, archs):
        return np.ones(archs.shape, dtype=np.bool_)

    def canonical(self, archs):
        return np.sort(self.checked(archs), axis=1)

    def assembly(self, arch):
        kernels = sorted(self.values(arch).values())
        return Assembly((Block("all", f"sorted {kernels}", (INPUT,), lambda: network(kernels)),), self.input_shape)


@pytest.fixture(autouse=True, scope="module")
def registered():
    before = dict(spaces.REGISTRY._registered)
    spaces.REGISTRY.register(Toy.name, Toy)
    spaces.REGISTRY.register(Sorted.name, Sorted)
    yield
    spaces.REGISTRY._registered.clear()
    spaces.REGISTRY._registered.update(before)


def everything(space):
    return np.array(list(product(*map(range, space.choices))), dtype=np.int64)


@st.composite
def limits(draw, space):
    """By gene the options that are left, of some genes."""
    genes = draw(st.lists(st.sampled_from(space.genes), unique_by=lambda gene: gene.name))
    return {
        gene.name: draw(st.lists(st.sampled_from(gene.options), min_size=1, unique=True, max_size=len(gene.options)))
        for gene in genes
    }


def names(space, rows):
    return [tuple(space.values(row).items()) for row in rows]


# -- restrictions


@FEW
@given(limits(Toy()))
def test_genomes_are_those_of_the_whole_space_that_have_the_options(kept):
    whole, left = Toy(), Toy().restrict(kept)
    wanted = [
        values for values in names(whole, everything(whole)) if all(dict(values)[gene] in kept[gene] for gene in kept)
    ]
    assert names(left, everything(left)) == wanted
    assert left.size == prod(len(kept.get(gene.name, gene.options)) for gene in whole.genes)
    assert [gene.ordered for gene in left.genes] == [gene.ordered for gene in whole.genes]


@FEW
@given(limits(Toy()))
def test_widen_and_narrow_are_inverse(kept):
    whole, left = Toy(), Toy().restrict(kept)
    if left is whole or left == whole:
        return
    rows = everything(left)
    again, inside = left.narrow(left.widen(rows))
    assert inside.all() and (again == rows).all()
    rows = everything(whole)
    found, inside = left.narrow(rows)
    wanted = [all(value in kept.get(gene, [value]) for gene, value in values) for values in names(whole, rows)]
    assert inside.tolist() == wanted
    assert (left.widen(found[inside]) == rows[inside]).all()


@FEW
@given(st.data())
def test_a_restriction_of_a_restriction_is_one_of_both(data):
    whole = data.draw(st.sampled_from([Toy(), Sorted()]))
    first = data.draw(limits(whole))
    left = whole.restrict(first)
    second = data.draw(limits(left))
    both = {gene.name: [o for o in gene.options if o in second.get(gene.name, gene.options)] for gene in left.genes}
    twice = left.restrict(second)
    assert twice == whole.restrict(both)
    assert not isinstance(twice, Restricted) or not isinstance(twice.inner, Restricted)
    assert spaces.load(twice.spec) == twice
    assert twice.spec == whole.restrict(both).spec


@FEW
@given(st.data())
def test_canonical_is_idempotent_and_one_row_for_one_network(data):
    whole = data.draw(st.sampled_from([Toy(), Sorted()]))
    left = whole.restrict(data.draw(limits(whole)))
    rows = everything(left)
    canonical = left.canonical(rows)
    assert (left.canonical(canonical) == canonical).all()
    assert (canonical < np.array(left.choices)).all()
    keys = [left.assembly(row).key for row in rows]
    assert [left.assembly(row).key for row in canonical] == keys
    pairs = {(key, *row) for key, row in zip(keys, canonical.tolist(), strict=True)}
    assert len(pairs) == len(set(keys)), "networks and rows are one to one"


@FEW
@given(st.data())
def test_networks_features_and_text_are_those_of_the_whole_space(data):
    whole = data.draw(st.sampled_from([Toy(), Sorted()]))
    left = whole.restrict(data.draw(limits(whole)))
    for row in left.sample(5, np.random.default_rng(0)):
        text = left.format(row)
        inside = whole.parse(text)
        assert (left.parse(text) == row).all()
        assert left.assembly(row).key == whole.assembly(inside).key
        assert (left.features(row[None]) == whole.features(inside[None])).all()


@pytest.mark.parametrize("spec", ["chain", "mobilenetv3", "resnet", "nasbench201"])
def test_options_of_a_spec_are_those_of_restrict(spec):
    """Whatever their type: names, whole numbers and others."""
    whole = spaces.load(spec)
    gene = max(whole.genes, key=lambda gene: len(gene.options))
    last = whole.genes[-1]
    left = spaces.load(f"{spec}@{gene.name}={gene.options[0]}+{gene.options[-1]}@{last.name}={last.options[1]}")
    assert left == whole.restrict({gene.name: (gene.options[0], gene.options[-1]), last.name: last.options[1]})
    assert left == whole.restrict({whole.place(gene.name): (0, len(gene.options) - 1), whole.place(last.name): 1})
    assert spaces.load(left.spec) == left
    row = left.sample(1, np.random.default_rng(0))[0]
    assert left.value(row, last.name) == last.options[1]
    with pytest.raises(UsageError, match="not left"):
        left.parse(whole.format(np.full(len(whole.choices), 0)))


def test_large_restrictions_keep_their_own_rows_where_the_representative_is_left_out():
    """More than 100,000 genomes: the skip of the second layer cannot move to the third, which has none."""
    whole = spaces.load("chain:layers=3")
    left = whole.restrict({"layer4": ("k3e1", "k5e1")})
    assert left.size > 100_000
    row = left.parse(whole.format(np.full(len(whole.choices), 0)).replace("k3e1-k3e1-k3e1", "k3e1-skip-k3e1", 1))
    canonical = left.canonical(row[None])[0]
    assert (canonical == row).all() and left.value(canonical, "layer3") == "skip"


# -- what is refused, and what the message says


def test_a_restriction_by_wrong_names_says_what_there_is():
    with pytest.raises(UnknownName, match="kernel3") as error:
        Toy().restrict({"kernel3": 1})
    assert "kernel1" in f"{error.value} {error.value.hint}"
    with pytest.raises(UsageError, match="gene kernel1 has no option 4, 6") as error:
        Toy().restrict({"kernel1": (3, 4, 6)})
    assert error.value.hint == "It has 1, 3, 5."
    with pytest.raises(UsageError, match="left") as error:
        Toy().restrict({"way": ()})
    with pytest.raises(UsageError, match=r"gene 4 is outside of 0\.\.3"):
        Toy().restrict({4: 0})
    with pytest.raises(UsageError, match=r"gene -1 is outside of 0\.\.3"):
        Toy().restrict({-1: 0})


def test_options_that_were_taken_away_do_not_come_back():
    left = Toy().restrict({"kernel2": (3, 7)})
    with pytest.raises(UsageError, match="no option 5") as error:
        left.restrict({"kernel2": (3, 5)})
    assert error.value.hint == "It has 3, 7."
    assert Toy().restrict({"kernel2": (7, 5, 3, 1)}) == Toy(), "the whole space is itself"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("toy-of-parts@kernel1", "names no options"),
        ("toy-of-parts@", "names no options"),
        ("toy-of-parts@kernel1=", "no option"),
        ("toy-of-parts@kernel1=1++3", "no option"),
        ("toy-of-parts@kernel9=1", "kernel9"),
        ("toy-of-parts:classes", "has no value"),
        ("toy-of-parts:clases=3", "clases"),
        ("toy-of-parts:classes=x", "classes must be a whole number of at least 1, got 'x'"),
        ("toy-of-parts:classes=0", "classes must be a whole number of at least 1, got 0"),
        ("toy-of-parts:classes=-3", "got -3"),
        ("toy-of-party", "toy-of-part"),
    ],
)
def test_specs_that_are_none_are_refused(spec, says):
    with pytest.raises(UsageError, match=says):
        spaces.load(spec)


def test_options_beside_the_spec_win():
    assert spaces.load("toy-of-parts:classes=3", classes=4).classes == 4
    assert spaces.load("toy-of-parts : classes = 3".replace(" :", ":")).classes == 3
    assert Toy().replaced(classes=4).spec == "toy-of-parts:classes=4"
    assert Toy().restrict({"way": "odd"}).replaced(classes=4).spec == "toy-of-parts:classes=4@way=odd"
    with pytest.raises(UnknownName, match="clases"):
        Toy().replaced(clases=4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a", ()),
        ("a", (1, 1)),
        ("a", (1, "1")),
        ("a b", (1,)),
        ("a=", (1,)),
        ("a", ("x,y",)),
        ("a", ("x+y",)),
        ("a@", (1,)),
    ],
)
def test_genes_need_distinct_options_that_can_be_written(name, options):
    with pytest.raises(UsageError, match="distinct"):
        Gene(name, options)


def test_indices_out_of_range_are_refused():
    with pytest.raises(UsageError):
        Toy().restrict({1: 3})


@pytest.mark.parametrize("space_between", ["\t", "\n"])
def test_integers_are_those_of_the_restricted_space(space_between):
    left = Toy().restrict({"kernel1": (3, 5)})
    assert left.parse(f"0,1,{space_between}0,0").tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("value", ["--3", "²"])
def test_values_that_only_look_like_numbers_are_refused(value):
    with pytest.raises(UsageError):
        spaces.load(f"toy-of-parts:classes={value}")


def test_genomes_of_fractions_are_refused():
    with pytest.raises(UsageError):
        Toy().checked(np.array([[0, 0.7, 0, 0]]))


# -- genomes and their text


def test_genomes_outside_are_refused():
    rows = np.array([[0, 0, 0, 0], [0, 3, 0, 0]])
    with pytest.raises(UsageError, match=r"gene kernel1 is 3, outside of 0\.\.2"):
        Toy().checked(rows)
    with pytest.raises(UsageError, match=r"matrix \(n, 4\), got shape \(4,\)"):
        Toy().checked(rows[0])
    with pytest.raises(UsageError, match=r"got shape \(2, 3\)"):
        Toy().canonical(rows[:, :3])


@FEW
@given(st.data())
def test_text_may_have_any_order_and_must_have_all(data):
    space = Toy()
    row = data.draw(st.sampled_from(everything(space).tolist()))
    words = data.draw(st.permutations(space.format(np.array(row)).split()))
    assert space.parse("  ".join(words)).tolist() == row
    assert space.parse(" , ".join(map(str, row))).tolist() == row
    with pytest.raises(UsageError, match="says nothing of") as error:
        space.parse(" ".join(words[1:]))
    assert words[0].partition("=")[0] in str(error.value)
    with pytest.raises(UsageError, match="not the first"):
        space.parse(" ".join([*words, words[0]]))


@FEW
@given(st.data())
def test_neighbours_are_all_that_differ_in_one_gene(data):
    space = data.draw(st.sampled_from([Toy(), Toy().restrict({"kernel2": (1, 7), "way": "odd"})]))
    row = data.draw(st.sampled_from(everything(space).tolist()))
    wanted = {tuple(other) for other in everything(space).tolist() if sum(np.array(other) != row) == 1}
    found = [tuple(other) for other in space.neighbours(np.array(row)).tolist()]
    assert len(found) == len(wanted) and set(found) == wanted


@pytest.mark.parametrize("count", [1, 20, 39, 60])
def test_samples_are_distinct_networks_as_long_as_there_are_any(count):
    """3 networks of one layer, 36 of two."""
    rows = Toy().sample(count, np.random.default_rng(3))
    assert rows.shape == (count, 4)
    assert len({Toy().assembly(row).key for row in rows}) == min(count, 39)


def test_features_of_inactive_genes_are_nothing():
    found = Toy().features(np.array([[0, 2, 3, 1], [1, 2, 3, 1]]))
    assert found.tolist() == [[0.5, 1, 0, 0, 0, 0], [1, 1, 1, 0, 1, 0]]


# -- counts of the spaces of images


def counted(space, arch):
    """Parameters and products of convolutions and linear layers, counted as the network runs."""
    macs = []

    def count(layer, _inputs, output):
        macs.append(output.numel() * layer.weight[0].numel())

    with torch.device("meta"):
        module = space.to_module(arch)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        module(torch.zeros(space.input_shape))
    return sum(parameter.numel() for parameter in module.parameters()), sum(macs)


@pytest.mark.parametrize(
    "spec",
    [
        "chain",
        "chain:resolution=37,width=40,classes=7,image_channels=2",
        "chain:operators=7",
        "chain:operators=7,layers=2,resolution=37,width=40,classes=7,image_channels=2",
        "mobilenetv3",
        "mobilenetv3:stages=3,layers=3,resolution=37,smallest=27,step=5,width=60,classes=7,image_channels=2",
        "resnet",
        "resnet:stages=3,resolution=37,smallest=27,step=5,width=20,classes=7,image_channels=2",
    ],
)
def test_the_last_features_are_exact_parameters_and_work(spec):
    space = nas.spaces.load(spec)
    for arch in space.sample(3, np.random.default_rng(5)):
        found = np.exp(space.features(arch[None])[0, -2:])
        assert found == pytest.approx(counted(space, arch), rel=1e-9)
