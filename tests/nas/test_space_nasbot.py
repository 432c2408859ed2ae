"""Graphs of layers: text, masks, which graphs are one (against networkx), work, networks by hand; and the kit."""

import networkx as nx
import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import ConstantNetwork, UsageError
from nas import testing
from nas.spaces.nasbot.network import KINDS
from profiler import work
from profiler.capture import BlockCache, stitch
from profiler.onnx_graph import read_graph

SMALL = "nasbot:layers=3,width=4,steps=2,resolution=4,classes=3"
SPACE = nas.spaces.load(SMALL)
FOUR = nas.spaces.load("nasbot:layers=4,width=4,steps=1,resolution=8")


@pytest.mark.slow
def test_the_space_conforms():
    testing.check_space(SMALL)


def draw(space, count, seed, kinds=KINDS):
    """Genomes of some kinds of layers."""
    rows = np.random.default_rng(seed).integers(0, space.choices, size=(count, len(space.choices)))
    for layer in range(1, space.layers + 1):
        place = space.place(f"kind{layer}")
        rows[:, place] = np.array([KINDS.index(kind) for kind in kinds])[rows[:, place] % len(kinds)]
    return rows


def graph_of(space, arch):
    """The network of a genome as a graph of networkx, from the options by name; None where there is no path."""
    values, graph = space.values(arch), nx.DiGraph()
    graph.add_node("in", what="in")
    graph.add_node("out", what=("out", values["fc1"], values["fc2"] if values["fc1"] else 0))
    for layer in range(1, space.layers + 1):
        graph.add_node(layer, what=(values[f"kind{layer}"], values[f"units{layer}"]))
        sources = [s for s in range(layer) if values[f"edge{s}_{layer}"]]
        graph.add_edges_from((s or "in", layer) for s in sources)
        if values[f"out{layer}"]:
            graph.add_edge(layer, "out")
    if not nx.has_path(graph, "in", "out"):
        return None
    return graph.subgraph((nx.descendants(graph, "in") & nx.ancestors(graph, "out")) | {"in", "out"})


# -- genes and text


def test_genes_are_kinds_widths_and_bits():
    space = nas.spaces.load("nasbot")
    bits = 10 * 11 // 2 + 10  # what 10 layers may read, and what the output may read
    assert space.size == 9**10 * 4**10 * 2**bits * 4**2
    assert space.genes[space.place("units1")].options == (16, 32, 64, 128)
    assert [gene.name for gene in space.genes if gene.ordered][:2] == ["units1", "units2"]


def test_text_by_hand():
    text = "conv3*4(0) max-pool*8(1) res7*4(0+2) out(2+3) fc(16+0)"
    arch = SPACE.parse(text)
    values = SPACE.values(arch)
    assert SPACE.format(arch) == text
    assert (values["kind2"], values["units2"], values["edge1_2"], values["edge0_2"]) == ("max-pool", 8, 1, 0)
    assert (values["out1"], values["out2"], values["out3"], values["fc1"], values["fc2"]) == (0, 1, 1, 16, 0)


@pytest.mark.parametrize(
    "text",
    [
        "conv3*4(0) max-pool*8(1) res7*4(0+2) out(2+3)",
        "conv3*4(0) max-pool*8(1) out(2) fc(16+0)",
        "conv3*4(0) max-pool*8(1) res7*4(0+0) out(2+3) fc(16+0)",
        "conv3*4(0) max-pool*8(1) res7*4(3) out(2+3) fc(16+0)",
        "conv3*4(0) max-pool*8(1) res7*4(2) out(0) fc(16+0)",
        "conv9*4(0) max-pool*8(1) res7*4(2) out(3) fc(16+0)",
        "conv3*5(0) max-pool*8(1) res7*4(2) out(3) fc(16+0)",
        "conv3*4(0) max-pool*8(1) res7*4(2) out(3) fc(17+0)",
        "conv3*4(0) max-pool*8(1) res7*4(2) out(3) fc(16+0) out(3)",
        "conv3*4(0 max-pool*8(1) res7*4(2) out(3) fc(16+0)",
    ],
)
def test_text_that_is_no_network_is_refused(text):
    with pytest.raises(UsageError):
        SPACE.parse(text)


# -- masks


@pytest.mark.parametrize("space", [SPACE, FOUR], ids=["three", "four"])
def test_inactive_genes_change_nothing_however_they_are_set(space):
    rng = np.random.default_rng(1)
    archs = draw(space, 4000, 0)
    other = np.where(space.active(archs), archs, rng.integers(0, space.choices, size=archs.shape))
    assert (other != archs).any(axis=1).mean() > 0.3
    assert np.array_equal(space.canonical(other), space.canonical(archs))


def test_active_genes_of_layers_change_the_network():
    archs = draw(SPACE, 300, 2, kinds=("conv3", "res5"))
    archs = archs[SPACE.is_valid(archs)]
    active = SPACE.active(archs)
    for gene in ("kind1", "units2", "fc1"):
        place = SPACE.place(gene)
        other = archs.copy()
        other[:, place] = (archs[:, place] + 1) % 2
        changed = (SPACE.canonical(other) != SPACE.canonical(archs)).any(axis=1)
        assert active[:, place].any()
        assert np.array_equal(changed, active[:, place])


# -- which graphs are one


@pytest.mark.parametrize("kinds", [("conv3",), ("conv3", "res5")])
def test_equal_rows_are_isomorphic_graphs_and_the_reverse(kinds):
    """Networkx compares each graph with all whose nodes have the same labels and degrees."""
    archs = np.unique(draw(FOUR, 1500, 3, kinds), axis=0)
    canonical = FOUR.canonical(archs)
    classes, seen = {}, {}
    for arch, row in zip(archs, canonical, strict=True):
        graph = graph_of(FOUR, arch)
        if graph is None:
            assert not row.any()
            assert not FOUR.is_valid(arch[None])[0]
            continue
        assert FOUR.is_valid(arch[None])[0]
        bucket = classes.setdefault(
            str(sorted((str(what), graph.in_degree(n), graph.out_degree(n)) for n, what in graph.nodes(data="what"))),
            [],
        )
        same = [c for c in bucket if nx.is_isomorphic(c, graph, node_match=lambda a, b: a["what"] == b["what"])]
        if not same:
            bucket.append(graph)
            same = [graph]
        assert seen.setdefault(row.tobytes(), same[0]) is same[0]
    found = sum(map(len, classes.values()))
    assert found == len(seen) < 0.8 * len(archs)


def test_layers_in_any_order_are_one_network_of_full_size():
    """Two like towers side by side, their layers interleaved in some ways: colours cannot tell them apart."""
    space = nas.spaces.load("nasbot:layers=6")
    rows = []
    for first in ([1, 2, 3], [1, 3, 5], [2, 4, 6], [1, 4, 5], [4, 5, 6]):
        second = [n for n in range(1, 7) if n not in first]
        words = [""] * 6
        for tower in (first, second):
            for before, node, kind in zip([0, *tower], tower, ("conv3", "res5", "conv3"), strict=False):
                words[node - 1] = f"{kind}*32({before})"
        rows.append(
            space.parse(" ".join([*words, f"out({'+'.join(map(str, sorted([first[2], second[2]])))}) fc(0+0)"]))
        )
    crossed = space.parse("conv3*32(0) res5*32(1) conv3*32(2) conv3*32(0) res5*32(1) conv3*32(5) out(3+6) fc(0+0)")
    canonical = space.canonical(np.array([*rows, crossed]))
    assert len(np.unique(canonical[:5], axis=0)) == 1
    assert (canonical[5] != canonical[0]).any()


def test_pools_halve_even_resolutions_and_are_skips_of_odd_ones():
    space = nas.spaces.load("nasbot:layers=3,width=4,steps=1,resolution=12")
    pool = space.parse("max-pool*4(0) avg-pool*4(1) max-pool*4(2) out(3) fc(0+0)")
    skip = space.parse("max-pool*4(0) avg-pool*4(1) skip*4(2) out(3) fc(0+0)")
    assert np.array_equal(*space.canonical(np.array([pool, skip])))
    keys = [block.key for block in space.assembly(pool).blocks]
    assert keys == [
        "nasbot project 3->4",
        "nasbot max-pool 4",
        "nasbot avg-pool 4",
        "nasbot flatten",
        "nasbot linear 4->10",
    ]


# -- features, work, networks


def test_parameters_of_a_network_by_hand():
    space = nas.spaces.load("nasbot:layers=2")
    network = space.to_module(space.parse("conv3*16(0) res5*32(0+1) out(1+2) fc(64+128)"))
    first = (3 * 16 + 2 * 16) + (9 * 16 * 16 + 2 * 16)
    second = (3 * 32 + 2 * 32) + (16 * 32 + 2 * 32) + 2 * (25 * 32 * 32 + 2 * 32)
    head = (16 * 64 + 64) + (32 * 64 + 64) + (64 * 128 + 128) + (128 * 10 + 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == first + second + head


def test_features_hold_the_parameters_and_multiply_accumulates_of_the_network():
    archs = draw(FOUR, 60, 5)
    archs = archs[FOUR.is_valid(archs)]
    features = FOUR.features(archs)
    counted = [sum(p.numel() for p in FOUR.to_module(arch).parameters()) for arch in archs]
    assert np.allclose(np.expm1(features[:, -2]), counted, rtol=1e-9)
    small = SPACE.parse("max-pool*8(0) conv3*4(0+1) skip*8(2) out(2+3) fc(16+0)")
    graph = read_graph(stitch(SPACE.assembly(small), BlockCache.default()))
    assert np.expm1(SPACE.features(small[None])[0, -1]) == pytest.approx(work.graph_macs(graph), rel=1e-9)


def test_features_count_depth_and_paths():
    # Paths: 0-1-3, 0-2-3, 0-1-out; layer 4 leads nowhere. Convolutions: res has two.
    arch = FOUR.parse("conv3*4(0) max-pool*4(0) res5*4(1+2) conv7*4(0) out(1+3) fc(0+0)")
    structure = FOUR.features(arch[None])[0, -23:]
    assert structure[:9].tolist() == [1, 0, 0, 0, 1, 0, 0, 1, 0]
    live, edges, reads, paths, depth, convolutions, kernels, widths, widest, most, least = structure[9:20]
    assert (live, edges, reads) == (3, 6, 2)
    assert np.expm1(paths) == pytest.approx(3)
    assert (depth, convolutions, kernels) == (2, 3, 8)
    assert (widths, widest, most, least) == (6, 2, 1, 0)


def test_a_network_computes_what_its_text_says():
    space = nas.spaces.load("nasbot:layers=3,width=4,steps=2,resolution=8")
    network = space.to_module(space.parse("conv3*4(0) max-pool*4(1) res3*8(1+2) out(1+3) fc(16+0)")).eval()
    blocks, image = network.blocks, torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one = blocks["n1"](blocks["p0_1"](image))
        two = torch.nn.functional.max_pool2d(one, 2)
        mean = torch.nn.functional.avg_pool2d(one, 2)
        three = blocks["n3"](blocks["p1_3"](mean) + blocks["p2_3"](two))
        assert three.shape == (1, 8, 4, 4)
        units = blocks["l1"](one.mean(dim=(2, 3))) + blocks["l3"](three.mean(dim=(2, 3)))
        wanted = blocks["fc1"](units)
        assert units.shape == (1, 16)
        assert torch.allclose(network(image), wanted, atol=1e-6)


def test_a_network_without_a_path_is_refused():
    arch = SPACE.parse("conv3*4(0) conv3*4() conv3*4(2) out(2+3) fc(0+0)")
    assert not SPACE.is_valid(arch[None])[0]
    with pytest.raises(ConstantNetwork) as caught:
        SPACE.assembly(arch)
    assert caught.value.hint


def test_thousands_of_networks_share_few_blocks():
    space = nas.spaces.load("nasbot:resolution=8")
    archs = space.sample(200, np.random.default_rng(0))
    keys = {block.key for arch in archs for block in space.assembly(arch).blocks}
    assert len(keys) < 100
