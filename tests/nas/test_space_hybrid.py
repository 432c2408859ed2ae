"""Stages of convolutions or attention: counts, layers against torch's own, masks, shapes, text; and the kit."""

import numpy as np
import pytest
import torch
from torch import nn

import nas
from device_profiles.errors import HwnasError, UsageError
from nas import testing
from profiler import work
from profiler.capture import BlockCache, stitch
from profiler.onnx_graph import read_graph

SMALL = "hybrid:stages=2,resolution=16,width=50,classes=5"
SPACE = nas.spaces.load(SMALL)
FULL = nas.spaces.load("hybrid")
TEXT = "conv1w16k3e2 attention2w32k7h4e3"
OTHER = "conv2w24k5e4 conv3w48k7h4e3"


def test_the_space_conforms():
    testing.check_space(SMALL)


# -- genes and masks


def test_sizes():
    """Per stage 3 depths, widths and expansions, 3 kernels or 3 heads; the first is of convolutions."""
    assert FULL.size == 3**4 * (2 * 3**5) ** 3
    everything = np.stack(np.unravel_index(np.arange(SPACE.size), SPACE.choices), axis=1)
    assert len(everything) == 3**4 * 2 * 3**5
    assert len(np.unique(SPACE.canonical(everything), axis=0)) == 3**4 * 3**3 * (3 + 3)
    assert [gene.name for gene in FULL.genes if not gene.ordered] == ["operator2", "operator3", "operator4"]


@pytest.mark.parametrize(("text", "off"), [(TEXT, "kernel2"), (OTHER, "heads2")])
def test_what_a_stage_is_not_made_of_is_inactive(text, off):
    active = SPACE.active(SPACE.parse(text)[None])[0]
    assert [SPACE.genes[i].name for i in np.flatnonzero(~active)] == [off]


# -- networks


def test_the_blocks_by_hand():
    assert [block.key for block in SPACE.assembly(SPACE.parse(TEXT)).blocks] == [
        "hybrid stem 3->16", "hybrid reduction 16->16", "hybrid conv 16 k3 e2", "hybrid reduction 16->32",
        "hybrid attention 32 h4", "hybrid feed 32 e3", "hybrid attention 32 h4", "hybrid feed 32 e3",
        "hybrid head 32->5",
    ]  # fmt: skip


def test_each_stage_halves_the_side():
    arch = FULL.parse("conv1w32k3e2 conv1w64k3h2e2 attention1w128k3h2e2 attention1w256k3h2e2")
    assembly = FULL.assembly(arch)
    sides = {}
    with torch.device("meta"):
        module = assembly.to_module()
        values = {"input": torch.zeros(FULL.input_shape)}
        for block in assembly.blocks:
            values[block.name] = module.blocks[block.name](*(values[name] for name in block.inputs))
            sides[block.name] = tuple(values[block.name].shape[1:])
    assert sides["stem"] == (32, 112, 112)
    assert [sides[f"s{stage}"] for stage in range(1, 5)] == [(32, 56, 56), (64, 28, 28), (128, 14, 14), (256, 7, 7)]
    assert sides["s4l1f"] == (256, 7, 7) and sides["head"] == (1000,)


def test_attention_is_that_of_torch_on_pixels():
    torch.manual_seed(0)
    blocks = SPACE.to_module(SPACE.parse(TEXT)).eval().blocks
    attend, feed = blocks["s2l1a"], blocks["s2l1f"]
    layer = nn.TransformerEncoderLayer(32, 4, 96, activation="gelu", norm_first=True, batch_first=True)
    parts = (attend[1].core.core, feed.core.core, attend[1].core.norm, feed.core.norm)
    state = [w for part in parts for w in part.state_dict().values()]
    layer.load_state_dict(dict(zip(layer.state_dict(), state, strict=True)))
    layer.eval()
    x = torch.randn(1, 32, 4, 4)
    with torch.no_grad():
        placed = x + attend[0].core(x)
        pixels = torch.stack([placed[0, :, i, j] for i in range(4) for j in range(4)])[None]
        found, expected = feed(attend(x)), layer(pixels)
    for i in range(4):
        for j in range(4):
            assert torch.allclose(found[0, :, i, j], expected[0, 4 * i + j], atol=1e-5)


def test_a_convolution_of_zeros_hands_its_input_on():
    block = SPACE.to_module(SPACE.parse(OTHER)).eval().blocks["s1l1"]
    x = torch.randn(1, 24, 4, 4)
    nn.init.zeros_(block.core[-1].weight)
    with torch.no_grad():
        assert torch.equal(block(x), x)
    assert block.core[0].out_channels == 24 * 4
    assert block.core[3].kernel_size == (5, 5) and block.core[3].groups == 24 * 4


# -- features


@pytest.mark.slow
def test_counts_of_the_features_are_exact():
    """Parameters and multiply-accumulates, of stages and in all, against the module and the exported graph."""
    for text in (TEXT, TEXT.replace("n2w", "n1w"), OTHER, OTHER.replace("3w48", "1w48")):
        arch = SPACE.parse(text)
        assembly = SPACE.assembly(arch)
        module = assembly.to_module()
        own = [0, 0]
        for name, block in module.blocks.items():
            own[0 if name == "stem" or name.startswith("s1") else 1] += sum(p.numel() for p in block.parameters())
        graph = read_graph(stitch(assembly, BlockCache.default(), shared=True))
        params, macs, total = np.split(np.exp(SPACE.features(arch[None])[0, -6:]), 3)
        assert params == pytest.approx(own)
        assert total == pytest.approx([sum(own), work.graph_macs(graph)])
        assert macs.sum() == pytest.approx(work.graph_macs(graph))


def test_a_stage_costs_what_it_adds():
    """One more layer in a stage changes its own columns alone."""
    one, two = (np.exp(SPACE.features(SPACE.parse(text)[None])[0, -6:]) for text in (TEXT, TEXT.replace("n2w", "n3w")))
    assert one[[0, 2]] == pytest.approx(two[[0, 2]])
    pixels, width = 2 * 2, 32
    layer = 9 * width + 4 * width**2 + 2 * pixels * width + 2 * width * 3 * width
    assert two[3] - one[3] == pytest.approx(pixels * layer)


def test_sums_by_hand():
    found = SPACE.features(SPACE.parse(TEXT)[None])[0, -14:-6]
    assert found[:7].tolist() == [1, 0, 0, 2, 1, 2, 3]
    assert np.expm1(found[7]) == pytest.approx(2 * 4 * 4**2)
    assert SPACE.features(SPACE.parse(OTHER)[None])[0, -14:-6].tolist() == [2, 3, 0, 0, 5, 0, 2 * 5 + 3 * 7, 0]


# -- text and options


def test_text_by_hand():
    arch = SPACE.parse(TEXT)
    assert SPACE.format(arch) == TEXT
    assert arch.tolist() == [0, 0, 0, 0, 1, 1, 0, 2, 1, 1]
    assert SPACE.parse(OTHER).tolist() == [1, 1, 1, 2, 0, 2, 1, 2, 1, 1]


@pytest.mark.parametrize(
    "bad",
    [
        TEXT.replace("conv1", "attention1"),
        TEXT.replace("conv1w16k3e2", "conv1w16k3h2e2"),
        TEXT.replace("h4", ""),
        TEXT.replace("h4", "h3"),
        TEXT.replace("w32", "w16"),
        TEXT.replace("attention2", "attention4"),
        TEXT.partition(" ")[0],
        TEXT + " " + TEXT,
    ],
)
def test_other_text_is_refused(bad):
    assert bad != TEXT
    with pytest.raises(HwnasError):
        SPACE.parse(bad)


@pytest.mark.parametrize("options", ["stages=5", "stages=0", "resolution=100", "width=25", "classes=0"])
def test_options_that_make_no_space_are_refused(options):
    with pytest.raises(UsageError, match=options.partition("=")[0]):
        nas.spaces.load(f"hybrid:{options}")


def test_many_samples_are_distinct_networks():
    rows = FULL.sample(10_000, np.random.default_rng(0))
    assert len(np.unique(FULL.canonical(rows), axis=0)) == 10_000
