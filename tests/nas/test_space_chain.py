"""Chains: sizes of both papers, published networks, skips in any place, text; and the kit."""

from itertools import product

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from nas import testing
from nas.spaces import chain

FBNET = nas.spaces.load("chain")
PROXYLESS = nas.spaces.load("chain:operators=7")
#: Wu et al., figure 4, with the widths of the authors' code.
A = "skip k3e3-k3e1-skip-skip k5e6-k3e3-k5e1-k3e3 k5e6-k5e3-k5g2-k5e6 k3e6-k5g2-k5e1-k3g2 k5e6-k5e6-k5e3-k5e6 k5e6"
B = "k3e1 k3e6-k5e1-k3e1-k3e1 k5e6-k5e3-k3e6-k5e6 k5e6-k5e1-skip-k5e3 k5e6-k3e1-k5e1-k5e3 k5e6-k5e1-k5e6-k5e6 k3e6"
C = "k3e1 k3e6-skip-k3e1-k3e1 k5e6-k5e3-k5e6-k3e6 k5e6-k5e3-k5e6-k5e6 k5e6-k5e6-k5e6-k5e3 k5e6-k5e6-k5e6-k5e6 k3e6"
#: Cai, Zhu & Han's network for mobile phones.
MOBILE = "k5e3-k3e3-skip-skip k7e3-k3e3-k5e3-k5e3 k7e6-k5e3-k5e3-k5e3 k5e6-k5e3-k5e3-k5e3 k7e6-k7e6-k7e3-k7e3 k7e6"


def parameters(space, text):
    with torch.device("meta"):
        return sum(p.numel() for p in space.to_module(space.parse(text)).parameters())


@pytest.mark.parametrize(
    ("operators", "free", "first"),
    [(9, "k3g2 k5e3 skip", 1), pytest.param(7, "k7e6 k3e3 skip", 2, marks=pytest.mark.slow)],
)
def test_the_space_conforms(operators, free, first):
    """Six layers are free; of the others the first of a stage is `k3e6`, and those behind it are skips."""
    space = nas.spaces.load(f"chain:operators={operators},layers=3,resolution=8,width=25,classes=3")
    pairs = zip(space.genes, begins(space), strict=True)
    left = {gene.name: "k3e6" if is_first else "skip" for gene, is_first in pairs}
    for gene in space.genes[first : first + 6]:
        left[gene.name] = [option for option in free.split() if option in gene.options]
    testing.check_space(space.restrict(left))


def begins(space):
    """For each layer whether it is the first of its stage."""
    stages = space.format(np.zeros(len(space.choices), dtype=np.int64)).split()
    return [layer == 0 for stage in stages for layer in range(stage.count("-") + 1)]


# -- the papers' spaces


def test_the_papers_choices():
    assert FBNET.size == 9**22, "FBNet, section 3.1: 22 layers and 9 candidates for each"
    assert PROXYLESS.size == 6**6 * 7**15
    assert [gene.name for gene in PROXYLESS.genes if "skip" not in gene.options] == [
        "layer1", "layer5", "layer9", "layer13", "layer17", "layer21",
    ]  # fmt: skip
    assert not any(FBNET.ordered)


@pytest.mark.parametrize(
    ("space", "sides", "widths"),
    [
        (FBNET, [112, 56, 28, 14, 14, 7, 7], [16, 24, 32, 64, 112, 184, 352]),
        (PROXYLESS, [56, 28, 14, 14, 7, 7], [24, 40, 80, 96, 192, 320]),
    ],
)
def test_images_have_the_papers_sizes(space, sides, widths):
    first = np.zeros(len(space.choices), dtype=np.int64)
    with torch.device("meta"):
        module = space.to_module(first)
        shapes = {}
        for name, block in module.blocks.items():
            block.register_forward_hook(lambda _m, _i, out, name=name: shapes.update({name: tuple(out.shape)}))
        assert module(torch.zeros(space.input_shape)).shape == (1, 1000)
    ends = np.cumsum([len(word.split("-")) for word in space.format(first).split()])
    assert [shapes[f"l{end}"] for end in ends] == [(1, w, s, s) for w, s in zip(widths, sides, strict=True)]


@pytest.mark.parametrize(("text", "macs"), [(A, 249e6), (B, 295e6), (C, 375e6)])
def test_fbnets_have_the_papers_work(text, macs):
    """Table 3 of the paper."""
    found = np.exp(FBNET.features(FBNET.parse(text)[None])[0, -1])
    assert found == pytest.approx(macs, rel=0.05)


def test_the_authors_network_c_has_its_parameters(monkeypatch):
    """Their code's last convolution has 1984 channels, where the paper's table has 1504."""
    assert parameters(FBNET, C) == 5_572_200 - 480 * (352 + 2 + 1000)
    monkeypatch.setitem(chain._MACROS, 9, chain._FBNET._replace(head=1984))
    assert parameters(nas.spaces.load("chain:classes=1000"), C) == 5_572_200


def test_the_mobile_network_has_its_parameters(monkeypatch):
    """4,080,512 and 320 million multiply-accumulates (the paper: 320 M), with 32 channels instead of 24."""
    stages = (chain._Stage(32, 4, 2), *chain._PROXYLESS.stages[1:])
    monkeypatch.setitem(chain._MACROS, 7, chain._PROXYLESS._replace(stages=stages))
    wider = nas.spaces.load("chain:operators=7")
    assert parameters(wider, MOBILE) == 4_080_512
    assert np.exp(wider.features(wider.parse(MOBILE)[None])[0, -1]) == pytest.approx(320e6, rel=0.005)


# -- operators


def test_groups_are_shuffled():
    """Without the shuffle the second half of the channels would never meet the first."""
    space = nas.spaces.load("chain:layers=2,resolution=8,width=50,classes=3")
    module = space.to_module(space.parse("k3e1 k3e1-k3g2 k3e1-skip k3e1-skip k3e1-skip k3e1-skip k3e1")).eval()
    block = module.blocks["l3"].core
    assert [conv.groups for conv in block.modules() if isinstance(conv, torch.nn.Conv2d)] == [2, 16, 2]
    x = torch.randn(1, 16, 4, 4, requires_grad=True)
    block(x)[:, :8].square().sum().backward()
    assert (x.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_skips_are_wires_where_the_shape_stays_and_projections_elsewhere():
    arch = FBNET.parse("skip " + " ".join(["skip-skip-skip-skip"] * 5) + " skip")
    keys = [block.key for block in FBNET.assembly(arch).blocks]
    assert keys == [
        "chain stem 3->16 ReLU",
        "chain projection 16->24 s2 ReLU",
        "chain projection 24->32 s2 ReLU",
        "chain projection 32->64 s2 ReLU",
        "chain projection 64->112 s1 ReLU",
        "chain projection 112->184 s2 ReLU",
        "chain projection 184->352 s1 ReLU",
        "chain head 352->1504->1000 ReLU",
    ]


# -- which genomes are one network


def test_skips_may_stand_anywhere_within_a_stage():
    """Of 729 genomes of one stage of three layers, 9 * (1 + 8 + 64) networks: the rest of its layers without skips."""
    space = nas.spaces.load("chain:layers=3,resolution=8,classes=3")
    left = space.restrict({g.name: "k3e1" for g in space.genes if g.name not in ("layer5", "layer6", "layer7")})
    everything = np.array(list(product(*map(range, left.choices))))
    assert len(everything) == 9**3
    names = [tuple(left.value(row, f"layer{i}") for i in (5, 6, 7)) for row in everything]
    meant = [(first, *(name for name in rest if name != "skip")) for first, *rest in names]
    assert len(set(meant)) == 9 * (1 + 8 + 64)
    rows = [tuple(row) for row in left.canonical(everything).tolist()]
    assert len(set(rows)) == len(set(zip(rows, meant, strict=True))) == len(set(meant))


def test_skips_that_project_stay_where_they_are():
    arch = FBNET.parse(A.replace("k3e3-k3e1-skip-skip", "skip-skip-k3e1-k5e3"))
    canonical = FBNET.canonical(arch[None])[0]
    assert FBNET.format(canonical) == A.replace("k3e3-k3e1-skip-skip", "skip-k3e1-k5e3-skip")


# -- features, text, options


def test_features_by_hand():
    found = FBNET.features(FBNET.parse(A)[None])[0, 22 * 9 :]
    assert found[:9].tolist() == [1, 1, 3, 1, 2, 2, 2, 7, 3], "how often each operator"
    assert found[9:16].tolist() == [0, 2, 4, 4, 4, 4, 1], "layers of stages"
    assert found[16:23].tolist() == [0, 6, 16, 20, 16, 20, 5], "sums of kernels"
    assert found[23] == 0 and found[30] == 0, "the first stage costs nothing"


def test_text_by_hand():
    arch = FBNET.parse(C)
    assert FBNET.format(arch) == C
    assert FBNET.value(arch, "layer3") == "skip" and FBNET.value(arch, "layer22") == "k3e6"
    assert (PROXYLESS.parse(PROXYLESS.format(PROXYLESS.parse(MOBILE))) == PROXYLESS.parse(MOBILE)).all()


@pytest.mark.parametrize("space", [FBNET, PROXYLESS])
def test_text_that_was_cut_is_refused(space):
    text = space.format(space.sample(1, np.random.default_rng(0))[0])
    for end in range(len(text)):
        with pytest.raises(UsageError):
            space.parse(text[:end])


@pytest.mark.parametrize(
    "bad", [A.replace("-", " "), A + " skip", A.replace("k5g2", "k7e6"), "skip-" + A[5:], MOBILE, A.replace("-", "--")]
)
def test_other_text_is_refused(bad):
    with pytest.raises(UsageError):
        FBNET.parse(bad)


def test_a_skip_where_proxyless_has_none_is_refused():
    with pytest.raises(UsageError, match="layer5"):
        PROXYLESS.parse(MOBILE.replace("skip k7e3", "skip skip"))


@pytest.mark.parametrize("options", ["operators=8", "layers=0", "width=0"])
def test_options_that_make_no_space_are_refused(options):
    with pytest.raises(UsageError, match=options.partition("=")[0]):
        nas.spaces.load(f"chain:{options}")


def test_many_samples_are_distinct_networks():
    rows = FBNET.sample(10_000, np.random.default_rng(0))
    assert len(np.unique(FBNET.canonical(rows), axis=0)) == 10_000
    assert np.bincount(rows[:, 7], minlength=9).min() > 950
