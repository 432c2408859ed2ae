"""Phases of NSGA-Net's macro space: which are one, networks against the paper's rules, work, text."""

from itertools import permutations

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from nas import testing
from nas.spaces.nsganet_macro import phases

SMALL = "nsganet-macro:phases=2,nodes=4,channels=4,resolution=8"
#: The macro network that the paper's code trains at last.
PUBLISHED = "1-00-010-0111-10011:0 0-00-010-0101-11111:0 0-01-101-1011-10011:0"


def test_the_space_conforms():
    testing.check_space("nsganet-macro:phases=2,nodes=3,channels=4,resolution=8")


# -- isomorphism


@pytest.mark.parametrize(("nodes", "graphs"), [(2, 2), (3, 6), (4, 31), (5, 302), (6, 5984)])
def test_there_are_as_many_phases_as_unlabelled_acyclic_graphs(nodes, graphs):
    """Robinson's numbers, OEIS A003087."""
    assert len(np.unique(phases.representatives(nodes))) == graphs


@pytest.mark.parametrize("nodes", [3, 4, 5])
def test_representatives_are_greatest_among_all_orders_of_the_nodes(nodes):
    pairs = phases.pairs(nodes)
    weight = {pair: 1 << (len(pairs) - 1 - place) for place, pair in enumerate(pairs)}
    for code, found in enumerate(phases.representatives(nodes)):
        joined = [pair for pair in pairs if code & weight[pair]]
        orders = (
            sum(weight.get((order[a], order[b]), -(1 << 20)) for a, b in joined) for order in permutations(range(nodes))
        )
        assert found == max(orders)


def test_the_space_has_its_size_and_as_many_networks_as_the_page_says():
    space = nas.spaces.load("nsganet-macro")
    assert len(space.choices) == 3 * (6 * 5 // 2 + 1) == 48
    assert space.size == 2**48
    small = nas.spaces.load("nsganet-macro:phases=1,nodes=4")
    everything = np.stack(np.unravel_index(np.arange(small.size), small.choices), axis=1)
    # Each graph with and without the skip, but the one without edges.
    assert len(np.unique(small.canonical(everything), axis=0)) == 2 * 31 - 1


def test_other_phases_by_hand():
    space = nas.spaces.load("nsganet-macro:phases=1,nodes=4")

    def same(*texts):
        return len(np.unique(space.canonical(np.stack([space.parse(text) for text in texts])), axis=0)) == 1

    assert same("1-00-000:0", "0-00-001:0", "0-10-000:0")  # one edge, wherever it is
    assert same("1-10-000:0", "0-00-000:0") is False
    assert same("1-10-000:1", "0-01-010:1")  # one node that two others read
    assert not same("1-10-000:0", "0-11-000:0")  # two others that one node reads
    assert same("0-00-000:0", "0-00-000:1")  # without an edge there is no skip
    assert not same("1-00-000:0", "1-00-000:1")


def test_a_phase_without_an_edge_is_one_node_and_has_no_skip():
    space = nas.spaces.load(SMALL)
    row = space.parse("0-00-000:1 1-00-000:1")
    assert [block.name for block in space.assembly(row).blocks] == [
        *("p1in", "p1n1"),
        *("p2pool", "p2in", "p2n1", "p2n2", "p2merge", "p2out", "head"),
    ]
    assert np.flatnonzero(~space.active(row[None])[0]).tolist() == [6]
    assert space.format(space.canonical(row[None])[0]) == "0-00-000:0 1-00-000:1"


# -- networks


def weight(*shape):
    """Of a shape always the same, as `filled` has it."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(sum(7**i * n for i, n in enumerate(shape))))
    return drawn / np.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 1 + drawn / 4


def filled(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(weight(*parameter.shape))
    return module.eval()


def reference(text, images, widths, classes):
    """The network by the rules of the paper, phase by phase, from its text."""

    def conv(x, channels, kernel):
        return torch.nn.functional.conv2d(x, weight(channels, x.shape[1], kernel, kernel), padding=kernel // 2)

    def norm(x):
        gain = weight(x.shape[1])[None, :, None, None]
        return torch.relu(x / (1 + 1e-5) ** 0.5 * gain + gain)

    def gather(parts, channels):
        return parts[0] if len(parts) == 1 else conv(torch.cat(parts, dim=1), channels, 1)

    x = images
    for phase, (word, width) in enumerate(zip(text.split(), widths, strict=True)):
        if phase:
            x = torch.nn.functional.max_pool2d(x, 2)
        if phase == 0 or x.shape[1] != width:
            x = conv(x, width, 1 if phase else 3)
        bits, skip = word.split(":")
        reads = {1: []} | {
            n: [i + 1 for i, bit in enumerate(node) if bit == "1"] for n, node in enumerate(bits.split("-"), 2)
        }
        read = {source for sources in reads.values() for source in sources}
        if not read:
            x = norm(conv(x, width, 3))
            continue
        values = {}
        for node, sources in reads.items():
            if sources or node in read:
                values[node] = norm(conv(gather([values[s] for s in sources] or [x], width), width, 3))
        ends = [values[node] for node in values if node not in read]
        x = norm(gather([x] * (skip == "1") + ends, width))
    return x.mean(dim=(2, 3)) @ weight(classes, x.shape[1]).T + weight(classes)


@pytest.mark.parametrize("growth", [1, 2])
def test_networks_compute_what_the_paper_says(growth):
    space = nas.spaces.load(f"nsganet-macro:channels=4,resolution=8,growth={growth}")
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rows = space.canonical(space.sample(6, np.random.default_rng(0)))
    rows[0, 16:32] = rows[1, :16] = 0
    rows[2, 15::16] = 1
    for row in rows:
        text = space.format(space.canonical(row[None])[0])
        with torch.no_grad():
            wanted = reference(text, images, [4 * growth**phase for phase in range(3)], 10)
            got = filled(space.to_module(row))(images)
        assert torch.allclose(got, wanted, atol=1e-5 * float(wanted.abs().max())), text


def test_the_published_network_by_hand():
    """128 channels in all phases; nodes x 9 width^2, and a square for each input where there are several."""
    space = nas.spaces.load("nsganet-macro:channels=128,growth=1")
    row = space.parse(PUBLISHED)
    # Phase 1: node 2 reads 1; 4 reads 2; 5 reads 2, 3, 4; 6 reads 1, 4, 5; only 6 is not read.
    # Phase 2: 4 reads 2; 5 reads 2, 4; 6 reads 1 to 5.
    # Phase 3: 3 reads 2; 4 reads 1, 3; 5 reads 1, 3, 4; 6 reads 1, 4, 5.
    nodes, merged = 6 + 6 + 6, (3 + 3) + (2 + 5) + (2 + 3 + 3)
    norms = nodes + 3
    expected = 9 * 3 * 128 + (9 * nodes + merged) * 128**2 + 2 * 128 * norms + 128 * 10 + 10
    assert sum(parameter.numel() for parameter in space.to_module(row).parameters()) == expected == 3_008_394


# -- features


def macs(module, images):
    """Counted while the network runs."""
    total = []

    def count(layer, _, output):
        total.append(output[0].numel() * layer.weight[0].numel())

    for layer in module.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        module.eval()(images)
    return sum(total)


@pytest.mark.parametrize("spec", [SMALL, "nsganet-macro:phases=3,nodes=3,channels=5,growth=1,resolution=9,classes=7"])
def test_the_last_features_are_work(spec):
    space = nas.spaces.load(spec)
    rows = space.sample(12, np.random.default_rng(1))
    rows[0, : len(space.choices) // space.phases] = 0
    for row, features in zip(rows, space.features(rows), strict=True):
        module = space.to_module(row)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        found = macs(module, torch.randn(space.input_shape))
        assert np.allclose(10 ** features[-2:], [found, parameters], rtol=1e-9)


def test_structure_by_hand():
    # 2 reads 1, 3 reads 1, 4 reads 2 and 3; 5 is alone; 6 reads 1: ends 4 and 6, paths 1-2-4, 1-3-4, 1-6.
    code = phases.codes(np.array([[1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]]))
    assert phases.structure(code, 6).tolist() == [[5, 5, 1, 2, 1, 2, 3, 3]]
    assert phases.structure(np.array([0]), 6).tolist() == [[1, 0, 1, 1, 0, 0, 1, 1]]
    assert phases.bits(code, 6).tolist() == [[1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]]


# -- text and options


def test_text_by_hand():
    space = nas.spaces.load("nsganet-macro:phases=2,nodes=3")
    row = space.parse("1-01:1 0-10:0")
    assert row.tolist() == [1, 0, 1, 1, 0, 1, 0, 0]
    assert space.values(row)["phase1_2-3"] == 1
    assert space.format(row) == "1-01:1 0-10:0"


@pytest.mark.parametrize(
    "text", ["1-01:1", "1-01:1 0-10:", "1-01:1 0-1:0", "1-01:1 0-12:0", "101:1 0-10:0", "1-01:1 0-10:0 :"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(UsageError) as caught:
        nas.spaces.load("nsganet-macro:phases=2,nodes=3").parse(text)
    assert "0-00:0 0-00:0" in str(caught.value.hint)


@pytest.mark.parametrize("options", ["nodes=1", "nodes=8", "resolution=3", "phases=0"])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError):
        nas.spaces.load(f"nsganet-macro:{options}")
