"""ResNet-50's hyper-parameters: published widths and a published network, masks, widths that round; and the kit."""

import numpy as np
import pytest
import torch
from torch import nn

import nas
from device_profiles.errors import UsageError
from nas import testing

SPACE = nas.spaces.load("resnet:stages=2,resolution=16,smallest=12,step=4,width=25,classes=3")
FULL = nas.spaces.load("resnet")
TEXT = "r12 stem2(8-16) 3w40(0.2+0.25+0.35+0.2) 2w104(0.35+0.35+0.25+0.2)"


def resnet50():
    """ResNet-50-D among the genomes."""
    values = {gene.name: gene.options[-1] for gene in FULL.genes}
    values |= {name: 0.25 for name in values if name.startswith("expansion")}
    values |= {"resolution": 224, "depth1": 3, "depth2": 4, "depth3": 6, "depth4": 3}
    return FULL.parse(" ".join(f"{name}={value}" for name, value in values.items()))


def test_the_space_conforms():
    """The first two blocks of stages are frozen, so that few blocks are exported."""
    space = nas.spaces.load("resnet:stages=2,resolution=8,smallest=7,step=1,width=25,classes=3")
    frozen = {gene.name: 0.25 for gene in space.genes if gene.name.startswith("e") and gene.name[-1] in "12"}
    testing.check_space(space.restrict(frozen | {"width1": (40, 64), "width2": 104}))


# -- the published space


def test_the_published_choices():
    """Widths as in EvoXBench's tables, depths of 2, 2, 4, 2 and up to 2 more."""
    values = {gene.name: gene.options for gene in FULL.genes}
    assert values["resolution"] == tuple(range(128, 257, 16))
    assert values["stem_width"] == (40, 48, 64)
    assert values["stem_inner"] == (24, 32), "20 and 24 both become 24"
    assert [values[f"width{i}"] for i in (1, 2, 3, 4)] == [
        (168, 208, 256), (336, 408, 512), (664, 816, 1024), (1328, 1640, 2048),
    ]  # fmt: skip
    assert [values[f"depth{i}"] for i in (1, 2, 3, 4)] == [(2, 3, 4), (2, 3, 4), (4, 5, 6), (2, 3, 4)]
    assert sum(name.startswith("expansion") for name in values) == 18
    assert set(values["expansion3_6"]) == {0.2, 0.25, 0.35}
    assert FULL.size == 9 * 2 * 2 * 3 * 3**4 * 3**4 * 3**18
    assert all(FULL.ordered)


def test_resnet50d_has_its_parameters_and_its_work():
    """25,557,032 of ResNet-50, with three convolutions of 3x3 and their norms for the one of 7x7; 4.35 billion."""
    stem = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32)
    wanted = 25_557_032 - 49 * 3 * 64 + stem
    with torch.device("meta"):
        assert sum(p.numel() for p in FULL.to_module(resnet50()).parameters()) == wanted == 25_576_264
    parameters, macs = np.exp(FULL.features(resnet50()[None])[0, -2:])
    assert parameters == pytest.approx(wanted)
    assert macs == pytest.approx(4.35e9, rel=0.01)


def test_images_have_the_papers_sizes():
    shapes = {}
    with torch.device("meta"):
        module = FULL.to_module(resnet50())
        for name, block in module.blocks.items():
            block.register_forward_hook(lambda _m, _i, out, name=name: shapes.update({name: tuple(out.shape)}))
        module(torch.zeros(FULL.input_shape))
    assert shapes["resize"] == (1, 3, 224, 224)
    assert shapes["stem1"] == (1, 32, 112, 112) and shapes["stem3"] == (1, 64, 56, 56)
    assert [shapes[f"s{i}_1"] for i in (1, 2, 3, 4)] == [
        (1, 256, 56, 56), (1, 512, 28, 28), (1, 1024, 14, 14), (1, 2048, 7, 7),
    ]  # fmt: skip


def test_the_stem_may_lack_its_second_convolution():
    arch = resnet50()
    arch[FULL.place("stem_depth")] = 0
    names = [block.name for block in FULL.assembly(arch).blocks]
    assert names[:3] == ["resize", "stem1", "stem3"]
    assert "stem2" in [block.name for block in FULL.assembly(resnet50()).blocks]


# -- blocks


def test_a_bottleneck_is_that_of_the_papers():
    """By hand, with the weights of the block: stride at the 3x3 convolution, an average before the projection."""
    block = SPACE.to_module(SPACE.parse(TEXT)).eval().blocks["s2_1"]
    first, second, last = (module for module in block.core if isinstance(module, nn.Conv2d))
    assert (first.in_channels, first.out_channels, last.out_channels) == (40, 40, 104), "0.35 of 104 is 36, so 40"
    assert second.stride == (2, 2)
    x = torch.randn(1, 40, 3, 3)
    norm = 1 / np.sqrt(1 + 1e-5)
    with torch.no_grad():
        y = torch.relu(first(x) * norm)
        y = last(torch.relu(second(y) * norm)) * norm
        averages = torch.stack([x[..., :2, :2].mean((2, 3)), x[..., :2, 2:].mean((2, 3)), x[..., 2:, :2].mean((2, 3)),
                                x[..., 2:, 2:].mean((2, 3))], dim=2).reshape(1, 40, 2, 2)  # fmt: skip
        y = torch.relu(y + block.shortcut[1](averages) * norm)
        assert torch.allclose(block(x), y, atol=1e-5)


# -- masks, and widths that round


def test_blocks_left_out_are_inactive():
    off = [SPACE.genes[i].name for i in np.flatnonzero(~SPACE.active(SPACE.parse(TEXT)[None])[0])]
    assert off == ["expansion1_4", "expansion2_3", "expansion2_4"]


def test_expansions_that_round_to_one_width_are_one_network():
    """Of all genomes of a small stage, as many rows as different networks."""
    space = nas.spaces.load("resnet:stages=1,resolution=8,smallest=8,width=25,classes=3")
    everything = np.stack(np.unravel_index(np.arange(space.size), space.choices), axis=1)
    rows = [tuple(row) for row in space.canonical(everything).tolist()]
    keys = [space.assembly(row).key for row in everything]
    assert len(everything) == 2 * 3 * 3 * 3**4
    assert len(set(rows)) == len(set(keys)) == len(set(zip(rows, keys, strict=True))) < len(everything) // 2


def test_at_full_size_all_expansions_differ():
    rows = FULL.sample(300, np.random.default_rng(1))
    rows[:, [FULL.place(f"depth{i}") for i in (1, 2, 3, 4)]] = 2
    assert (FULL.canonical(rows) == rows).all()


# -- features, text, options


def test_features_by_hand():
    found = SPACE.features(SPACE.parse(TEXT)[None])[0, len(SPACE.genes) :]
    assert found[:2].tolist() == [8 + 16 + 16, 40 + 40], "channels within: 8, 10, 14 of 40; 36.4 twice of 104"
    assert found[6] == 5, "blocks"


def test_text_by_hand():
    arch = SPACE.parse(TEXT)
    values = SPACE.values(arch)
    assert SPACE.format(arch) == TEXT
    assert (values["resolution"], values["stem_depth"], values["stem_inner"], values["stem_width"]) == (12, 2, 8, 16)
    assert (values["depth1"], values["width2"], values["expansion1_3"], values["expansion2_4"]) == (3, 104, 0.35, 0.2)


@pytest.mark.parametrize("space", [SPACE, FULL])
def test_text_that_was_cut_is_refused(space):
    text = space.format(space.sample(1, np.random.default_rng(0))[0])
    for end in range(len(text)):
        with pytest.raises(UsageError):
            space.parse(text[:end])


@pytest.mark.parametrize(
    "bad",
    [
        TEXT + " 2w104(0.35+0.35+0.25+0.2)",
        TEXT.replace("r12", "r13"),
        TEXT.replace("r12 ", ""),
        TEXT.replace("stem2", "stem4"),
        TEXT.replace("8-16", "16"),
        TEXT.replace("3w40", "3w41"),
        TEXT.replace("0.35+0.35", "0.35"),
        TEXT.replace("0.35", "0.3"),
        TEXT.replace("2w104", "5w104"),
    ],
)
def test_other_text_is_refused(bad):
    assert bad != TEXT
    with pytest.raises(UsageError):
        SPACE.parse(bad)


@pytest.mark.parametrize("options", ["stages=5", "smallest=125", "smallest=272", "step=0", "width=0"])
def test_options_that_make_no_space_are_refused(options):
    with pytest.raises(UsageError, match=options.partition("=")[0]):
        nas.spaces.load(f"resnet:{options}")


def test_many_samples_are_distinct_networks():
    rows = FULL.sample(10_000, np.random.default_rng(0))
    assert len(np.unique(FULL.canonical(rows), axis=0)) == 10_000
    assert np.bincount(rows[:, FULL.place("depth3")], minlength=3).min() > 3100
