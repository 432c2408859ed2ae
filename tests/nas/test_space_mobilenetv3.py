"""Once-for-all's MobileNetV3: the paper's sizes, layers of a published table, masks, resolutions, text; and the kit."""

import numpy as np
import pytest
import torch
from torch import nn

import nas
from device_profiles.errors import UsageError
from nas import testing

SMALL = "mobilenetv3:stages=2,layers=3,resolution=8,smallest=7,step=1,width=50,classes=3"
SPACE = nas.spaces.load(SMALL)
FULL = nas.spaces.load("mobilenetv3")
TEXT = "r7 2(k3e4+k7e6+k5e3) 3(k5e3+k3e6+k7e4)"


def largest(space):
    return np.array(space.choices) - 1


def shapes_of(space, arch):
    """Of what each block gives, and the blocks."""
    found = {}
    with torch.device("meta"):
        module = space.to_module(arch)
        for name, block in module.blocks.items():
            block.register_forward_hook(lambda _m, _i, out, name=name: found.update({name: tuple(out.shape)}))
        module(torch.zeros(space.input_shape))
    return found, module.blocks


def test_the_space_conforms():
    """The first two layers of stages are frozen but for two genes, so that few blocks are exported."""
    frozen = {gene.name: 3 for gene in SPACE.genes if gene.name[-2:] in ("_1", "_2")}
    del frozen["kernel1_1"], frozen["expansion2_2"]
    testing.check_space(SPACE.restrict(frozen))


# -- the paper's space


def test_the_papers_choices():
    assert FULL.size == 25 * 3**5 * 9**20, "25 resolutions, 5 depths, 20 layers of 3 kernels and 3 expansions"
    assert FULL.genes[0].options == tuple(range(128, 225, 4))
    assert len(FULL.genes) == 1 + 5 + 20 + 20
    assert all(FULL.ordered)


def test_networks_are_counted_as_in_the_paper():
    """Section 3.2: ((3x3)^2 + (3x3)^3 + (3x3)^4)^5; here of one stage of at most three layers, and one resolution."""
    space = nas.spaces.load("mobilenetv3:stages=1,layers=3,resolution=8,smallest=8")
    everything = np.stack(np.unravel_index(np.arange(space.size), space.choices), axis=1)
    canonical = space.canonical(everything)
    assert len(everything) == 2 * 9**3
    assert len(np.unique(canonical, axis=0)) == 9**2 + 9**3
    keys = [space.assembly(row).key for row in everything[::7]]
    rows = [tuple(row) for row in canonical[::7].tolist()]
    assert len(set(keys)) == len(set(rows)) == len(set(zip(keys, rows, strict=True))), "one row for one network"


def test_the_largest_network_has_the_papers_parameters():
    """Section 3.2: 7.7 million for all of the space, since all networks are parts of the largest."""
    arch = largest(FULL)
    with torch.device("meta"):
        count = sum(p.numel() for p in FULL.to_module(arch).parameters())
    assert count == 7_664_760
    assert round(count / 1e6, 1) == 7.7
    assert np.exp(FULL.features(arch[None])[0, -2]) == pytest.approx(count)


def lines_of_a_table(space, kernel, expansion, resolution):
    """The layers of a network whose layers are alike, in the words of once-for-all's latency tables."""
    values = {gene.name: gene.options[0] for gene in space.genes} | {"resolution": resolution}
    values |= {name: kernel for name in values if name.startswith("kernel")}
    values |= {name: expansion for name in values if name.startswith("expansion")}
    arch = space.parse(" ".join(f"{name}={value}" for name, value in values.items()))
    shapes, blocks = shapes_of(space, arch)
    found, before = set(), shapes["stem"]
    for name in [name for name in blocks if name == "first" or (name.startswith("s") and name != "stem")]:
        convs = [module for module in blocks[name].modules() if isinstance(module, nn.Conv2d)]
        deep = next(conv for conv in convs if conv.kernel_size != (1, 1))
        after, squeezed = shapes[name], any(conv.bias is not None for conv in convs)
        found.add(
            f"MBConv-input:{before[2]}x{before[3]}x{before[1]}-output:{after[2]}x{after[3]}x{after[1]}"
            f"-expand:{deep.groups // before[1]}-kernel:{deep.kernel_size[0]}-stride:{deep.stride[0]}"
            f"-idskip:{int(hasattr(blocks[name], 'core'))}-se:{int(squeezed)}"
        )
        before = after
    stem, side = shapes["stem"], before[2]
    expand, mix = (module.weight.shape for module in blocks["head"].modules() if isinstance(module, nn.Conv2d))
    found.add(f"first_conv-input:{resolution}x{resolution}x3-output:{stem[2]}x{stem[3]}x{stem[1]}")
    found.add(f"final_expand_layer-input:{side}x{side}x{expand[1]}-output:{side}x{side}x{expand[0]}")
    found.add(f"feature_mix_layer-input:1x1x{mix[1]}-output:1x1x{mix[0]}")
    found.add(f"classifier-input:{mix[0]}-output:{blocks['head'][-1].out_features}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("width", [100, pytest.param(120, marks=pytest.mark.slow)])
def test_all_layers_are_lines_of_a_published_table(data, width):
    """Widths, strides, residuals, squeezes and sides, of the widths 1.0 and 1.2."""
    with (data / "ofa_lut.i7-8700K.yaml").open() as file:
        published = {line.strip().rstrip(":") for line in file if not line.startswith(" ")}
    space = nas.spaces.load(f"mobilenetv3:resolution=252,smallest=132,step=120,width={width}")
    for resolution in (132, 252):
        found = set()
        for kernel in (3, 5, 7):
            for expansion in (3, 4, 6):
                found |= lines_of_a_table(space, kernel, expansion, resolution)
        assert len(found) == 1 + 5 * 2 * 9 + 4
        assert found <= published


# -- blocks


def test_activations_and_squeezes_are_those_of_the_stages():
    blocks = shapes_of(FULL, largest(FULL))[1]
    for stage, (activation, squeezes) in enumerate(
        [(nn.ReLU, 0), (nn.ReLU, 1), (nn.Hardswish, 0), (nn.Hardswish, 1), (nn.Hardswish, 1)], start=1
    ):
        modules = list(blocks[f"s{stage}_2"].modules())
        assert sum(isinstance(module, activation) for module in modules) - (activation is nn.ReLU) * squeezes == 2
        assert sum(isinstance(module, nn.Hardsigmoid) for module in modules) == squeezes
    assert blocks["s5_2"].core[2].weigh[1].weight.shape == (240, 960, 1, 1), "a quarter of 160 * 6 channels"


def test_smaller_resolutions_begin_with_a_smaller_image():
    """The rest is the network of that resolution, weight by weight."""
    inside = nas.spaces.load("mobilenetv3:stages=2,layers=3,resolution=7,smallest=7,step=1,width=50,classes=3")
    whole, part = SPACE.to_module(SPACE.parse(TEXT)).eval(), inside.to_module(inside.parse(TEXT)).eval()
    part.load_state_dict(whole.state_dict())
    x = torch.randn(2, 3, 8, 8)
    smaller = nn.functional.interpolate(x, size=(7, 7), mode="bilinear", align_corners=False)
    with torch.no_grad():
        assert torch.equal(whole(x), part(smaller))
    assert SPACE.assembly(SPACE.parse(TEXT.replace("r7", "r8"))).blocks[0].name == "stem", "nothing to do"


def test_work_grows_with_the_square_of_the_resolution():
    rows = np.repeat(largest(FULL)[None], 2, axis=0)
    rows[0, 0] = FULL.genes[0].options.index(160)
    rows[1, 0] = FULL.genes[0].options.index(192)
    few, many = np.exp(FULL.features(rows)[:, -1])
    assert many / few == pytest.approx((192 / 160) ** 2, rel=0.01)
    assert np.exp(FULL.features(rows)[:, -2]) == pytest.approx([7_664_760] * 2)


# -- masks, text, options


def test_layers_left_out_are_inactive():
    off = [SPACE.genes[i].name for i in np.flatnonzero(~SPACE.active(SPACE.parse(TEXT)[None])[0])]
    assert off == ["kernel1_3", "expansion1_3"]
    assert SPACE.active(SPACE.parse(TEXT.replace(" 2(", " 3("))[None]).all()


def test_features_by_hand():
    found = SPACE.features(SPACE.parse(TEXT)[None])[0, len(SPACE.genes) :]
    assert found[:4].tolist() == [3 + 7, 5 + 3 + 7, 4 + 6, 3 + 6 + 4], "sums of kernels, of expansions"
    assert found[8] == 5, "layers"


def test_text_by_hand():
    arch = SPACE.parse(TEXT)
    values = SPACE.values(arch)
    assert SPACE.format(arch) == TEXT
    assert (values["resolution"], values["depth1"], values["depth2"]) == (7, 2, 3)
    assert (values["kernel1_2"], values["expansion1_2"], values["kernel2_1"], values["expansion2_3"]) == (7, 6, 5, 4)


@pytest.mark.parametrize("space", [SPACE, FULL])
def test_text_that_was_cut_is_refused(space):
    text = space.format(space.sample(1, np.random.default_rng(0))[0])
    for end in range(len(text)):
        with pytest.raises(UsageError):
            space.parse(text[:end])


@pytest.mark.parametrize(
    "bad",
    [
        TEXT + " 2(k3e4+k7e6+k5e3)",
        TEXT.replace("r7", "r6"),
        TEXT.replace("r7 ", ""),
        TEXT.replace("r7", "r7 r7"),
        TEXT.replace("3(", "4("),
        TEXT.replace("k7e6+", ""),
        TEXT.replace("e6", "e5"),
        TEXT.replace("k7e6", "k7"),
        TEXT.replace(") 3(", ")3("),
        "(",
    ],
)
def test_other_text_is_refused(bad):
    assert bad != TEXT
    with pytest.raises(UsageError):
        SPACE.parse(bad)


@pytest.mark.parametrize("options", ["stages=6", "layers=1", "smallest=125", "smallest=228", "step=0", "width=0"])
def test_options_that_make_no_space_are_refused(options):
    with pytest.raises(UsageError, match=options.partition("=")[0]):
        nas.spaces.load(f"mobilenetv3:{options}")


def test_many_samples_are_distinct_networks():
    rows = FULL.sample(10_000, np.random.default_rng(0))
    assert len(np.unique(FULL.canonical(rows), axis=0)) == 10_000
    assert np.bincount(rows[:, 1], minlength=3).min() > 3100
