"""The largest and the smallest network of a space are those that enumeration finds, by counts that others make too."""

import numpy as np
import pytest
import torch

import nas
from nas.weights import extremes, kin
from predictors.genes import numbered

pytestmark = pytest.mark.usefixtures("one_thread")

CHAIN = (
    "chain:layers=1,width=25,resolution=16,classes=10@layer3=k3e1@layer4=k3e1+k5e3+skip@layer5=k3e1@layer6=k3e1+k5g2"
)
MOBILE = "mobilenetv3:stages=1,layers=3,width=25,resolution=24,smallest=16,step=8,classes=10"
RESNET = "resnet:stages=1,width=50,resolution=16,smallest=8,step=8,classes=10"
CELLS = "nasbench201:cells=1,channels=4,resolution=8"


def all_of(space):
    archs = numbered(np.arange(space.size), space.choices)
    return archs[space.is_valid(archs)]


@pytest.mark.parametrize("spec", [CHAIN, MOBILE, RESNET], ids=["chain", "mobilenetv3", "resnet"])
def test_extremes_are_those_of_all_networks_by_the_counts_of_the_space(spec):
    """Features of these spaces end with the exact logarithms of parameters and multiply-accumulates."""
    space = nas.spaces.load(spec)
    ends = extremes.of(space)
    counts = np.exp(space.features(all_of(space))[:, :-3:-1])
    largest, smallest = (np.exp(space.features(arch[None])[0, :-3:-1]) for arch in (ends.largest, ends.smallest))
    order = np.lexsort((counts[:, 1].round(), counts[:, 0].round()))
    np.testing.assert_allclose(largest, counts[order[-1]], rtol=1e-9)
    np.testing.assert_allclose(smallest, counts[order[0]], rtol=1e-9)
    assert extremes.size(space, ends.largest) == tuple(largest.round())


def test_extremes_of_cells_are_those_of_all_cells():
    ops = "none+skip_connect+nor_conv_3x3"
    space = nas.spaces.load(CELLS + "".join(f"@edge{edge}={ops}" for edge in ("01", "02", "12", "03", "13", "23")))
    counter = extremes._Counter(space)
    sizes = [counter.size(arch) for arch in all_of(space)]
    ends = extremes.of(space)
    assert counter.size(ends.largest) == max(sizes) and counter.size(ends.smallest) == min(sizes)
    assert space.is_valid(np.stack([ends.largest, ends.smallest])).all()
    whole = extremes.of(nas.spaces.load(CELLS))
    assert (whole.largest == 3).all(), "3x3 convolutions on all edges"


def test_counts_are_those_of_the_network_that_is_run():
    space = nas.spaces.load(CELLS)
    network, counts = space.to_module(np.array([3, 2, 1, 4, 3, 2])).eval(), []

    def count(module, inputs, output):
        counts.append(output[0].numel() * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(count)
    network(torch.zeros(space.input_shape))
    parameters = sum(weight.numel() for weight in network.parameters())
    assert extremes.size(space, [3, 2, 1, 4, 3, 2]) == (sum(counts), parameters)


def test_a_torch_module_has_extremes_and_random_numbers_stay(module_space):
    extremes._found.cache_clear()
    torch.manual_seed(5)
    ends = extremes.of(module_space)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == drawn
    assert module_space.value(ends.largest, "width") == 8 and module_space.value(ends.smallest, "width") == 2


def test_genes_are_of_a_kind_by_their_names():
    kinds = dict(zip([g.name for g in nas.spaces.load(MOBILE).genes], kin.kinds(nas.spaces.load(MOBILE)), strict=True))
    assert kinds["resolution"] == "resolution" and kinds["depth1"] == "depth" and kinds["kernel1_2"] == "kernel"
    assert kinds["expansion1_3"] == "width"
    assert set(kin.kinds(nas.spaces.load(CELLS))) == {""}
    assert set(kin.stems(nas.spaces.load(CELLS))) == {"edge"}
    nasbot = nas.spaces.load("nasbot")
    ordered = [kind for kind, one in zip(kin.kinds(nasbot), nasbot.ordered, strict=True) if one]
    assert len(set(ordered)) == len(ordered) and all(kind.startswith("gene") for kind in ordered)
    assert {"depth", "width", ""} == set(kin.kinds(nas.spaces.load("gpt")))
