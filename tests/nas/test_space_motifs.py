"""Motifs of motifs: text, masks, which cells are one (against networkx), work, networks by hand; and the kit."""

import networkx as nx
import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import ConstantNetwork, UsageError
from nas import testing
from nas.spaces.motifs.cell import PRIMITIVES
from profiler import work
from profiler.capture import BlockCache, stitch
from profiler.onnx_graph import read_graph

SMALL = "motifs:motifs=2,nodes=3,cell_nodes=3,channels=4,resolution=8"
SPACE = nas.spaces.load(SMALL)
FULL = nas.spaces.load("motifs")


@pytest.mark.slow
def test_the_space_conforms():
    testing.check_space(SMALL)


def draw(space, count, seed, sparse=0.0, primitives=7):
    """Genomes of the first primitives, some of whose edges are none."""
    rng = np.random.default_rng(seed)
    choices = np.minimum(space.choices, primitives)
    rows = rng.integers(0, choices, size=(count, len(choices)))
    return np.where(rng.random(rows.shape) < sparse, 0, rows)


def pruned(edges, last):
    """Edges `{(i, j): label}` on a path from 0 to `last`."""
    graph = nx.DiGraph(list(edges))
    graph.add_nodes_from([0, last])
    on = (nx.descendants(graph, 0) | {0}) & (nx.ancestors(graph, last) | {last})
    return {edge: label for edge, label in edges.items() if set(edge) <= on} if nx.has_path(graph, 0, last) else {}


def as_graph(edges, last):
    """Edges as a graph of networkx, whose ends are told apart."""
    graph = nx.DiGraph()
    graph.add_node(0, what="source")
    graph.add_node(last, what="sink")
    for (i, j), label in edges.items():
        graph.add_edge(i, j, label=label)
    for node in graph:
        graph.nodes[node].setdefault("what", "inner")
    return graph


def same(one, two):
    return nx.is_isomorphic(
        one, two, node_match=lambda a, b: a["what"] == b["what"], edge_match=lambda a, b: a["label"] == b["label"]
    )


def index_of(graph, known):
    """The number of the class of a graph; a new one for a new class."""
    found = next((number for number, other in enumerate(known) if same(other, graph)), None)
    if found is None:
        known.append(graph)
        return len(known) - 1
    return found


def edges_of(space, values, name, nodes):
    pairs = [(i, j) for i in range(nodes) for j in range(i + 1, nodes)]
    return {(i, j): values[f"{name}_{i}{j}"] for i, j in pairs if values[f"{name}_{i}{j}"] != "none"}


def class_of(space, arch, motifs, cells):
    """The number of the class of a genome's cell, level by level; None where no path leads through it."""
    values, numbers = space.values(arch), {}
    for number in range(1, space.motifs + 1):
        edges = pruned(edges_of(space, values, f"m{number}", space.nodes), space.nodes - 1)
        numbers[f"m{number}"] = index_of(as_graph(edges, space.nodes - 1), motifs) if edges else None
    edges = {
        edge: numbers[motif]
        for edge, motif in edges_of(space, values, "cell", space.cell_nodes).items()
        if numbers[motif] is not None
    }
    edges = pruned(edges, space.cell_nodes - 1)
    return index_of(as_graph(edges, space.cell_nodes - 1), cells) if edges else None


# -- genes and text


def test_the_papers_space_has_its_genes():
    # Six motifs of four nodes (six edges, six primitives and none), a cell of five nodes (ten edges, six motifs, none).
    assert FULL.choices == (7,) * 46
    assert FULL.size == 7**46
    assert FULL.genes[FULL.place("m6_23")].options == PRIMITIVES
    assert FULL.genes[FULL.place("cell_34")].options == ("none", "m1", "m2", "m3", "m4", "m5", "m6")


def test_text_by_hand():
    text = "m1(01:conv1+12:max3) m2() cell(02:m1+12:m2)"
    arch = SPACE.parse(text)
    assert arch.tolist() == [1, 0, 4, 0, 0, 0, 0, 1, 2]
    assert SPACE.format(arch) == text


@pytest.mark.parametrize(
    "text",
    [
        "m1(01:conv1) m2()",
        "m2() m1() cell(02:m1)",
        "m1(01:conv1) m2() cell(02:m3)",
        "m1(01:conv1+01:max3) m2() cell(02:m1)",
        "m1(03:conv1) m2() cell(02:m1)",
        "m1(10:conv1) m2() cell(02:m1)",
        "m1(01) m2() cell(02:m1)",
        "m1(01:conv2) m2() cell(02:m1)",
        "m1(01:conv1) m2() cell(02:m1) cell()",
        "m1(01:conv1) m2() cell(02:m1",
    ],
)
def test_text_that_is_no_cell_is_refused(text):
    with pytest.raises(UsageError):
        SPACE.parse(text)


@pytest.mark.parametrize("options", ["nodes=1", "nodes=8", "cell_nodes=9", "resolution=6", "motifs=0"])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        nas.spaces.load(f"motifs:{options}")


# -- masks


@pytest.mark.parametrize("space", [SPACE, FULL], ids=["small", "full"])
def test_inactive_genes_change_nothing_however_they_are_set(space):
    archs = draw(space, 3000, 0, sparse=0.4)
    other = np.random.default_rng(1).integers(0, space.choices, size=archs.shape)
    other = np.where(space.active(archs), archs, other)
    assert (other != archs).any(axis=1).mean() > 0.3
    assert np.array_equal(space.canonical(other), space.canonical(archs))


def test_motifs_that_nobody_uses_are_inactive():
    arch = SPACE.parse("m1(01:conv1+12:max3) m2(02:avg3) cell(02:m1)")
    active = dict(zip([gene.name for gene in SPACE.genes], SPACE.active(arch[None])[0].tolist(), strict=True))
    assert [name for name, on in active.items() if not on] == ["m2_01", "m2_02", "m2_12", "cell_12"]


# -- which cells are one


@pytest.mark.parametrize(
    ("options", "primitives", "sparse"),
    [
        ("motifs=2,nodes=3,cell_nodes=4", 3, 0.2),
        ("motifs=3,nodes=4,cell_nodes=4", 2, 0.3),
        ("motifs=1,nodes=5", 2, 0.4),
    ],
)
def test_equal_rows_are_isomorphic_level_by_level_and_the_reverse(options, primitives, sparse):
    space = nas.spaces.load(f"motifs:{options}")
    archs = np.unique(draw(space, 400, 2, sparse, primitives), axis=0)
    motifs, cells, seen = [], [], {}
    for arch, row in zip(archs, space.canonical(archs), strict=True):
        number = class_of(space, arch, motifs, cells)
        assert space.is_valid(arch[None])[0] == (number is not None)
        assert seen.setdefault(row.tobytes(), number) == number
    assert len(set(seen.values())) == len(seen) < 0.9 * len(archs)


def test_motifs_in_any_order_and_twice_are_one_cell():
    rows = [
        FULL.parse(f"{text} m4() m5() m6() {cell}")
        for text, cell in [
            ("m1(03:conv1) m2(01:max3+13:avg3) m3()", "cell(04:m1+01:m2+14:m2)"),
            ("m1(02:max3+23:avg3) m2(03:conv1) m3()", "cell(04:m2+03:m1+34:m1)"),
            ("m1(02:max3+23:avg3) m2(03:conv1) m3(01:max3+13:avg3)", "cell(04:m2+03:m1+34:m3+12:m2)"),
            ("m1(03:conv1) m2(01:max3+13:avg3) m3()", "cell(04:m1+01:m1+14:m2)"),
        ]
    ]
    canonical = FULL.canonical(np.array(rows))
    assert len(np.unique(canonical[:3], axis=0)) == 1
    assert (canonical[3] != canonical[0]).any()


# -- features, work, networks


def test_parameters_of_a_network_by_hand():
    network = FULL.to_module(
        FULL.parse("m1(01:conv1+03:depthwise3+13:separable3) m2() m3() m4() m5() m6() cell(04:m1)")
    )
    wanted = 27 * 16 + 2 * 16
    for c in (16, 32, 64):
        wanted += (c * c + 2 * c) + (9 * c + 2 * c) + (9 * c + c * c + 2 * c)
    for c in (16, 32):
        wanted += 9 * c + 2 * c * c + 4 * c
    assert sum(parameter.numel() for parameter in network.parameters()) == wanted + 64 * 10 + 10


@pytest.mark.slow
def test_features_hold_the_parameters_and_multiply_accumulates_of_the_network():
    space = nas.spaces.load("motifs:channels=4,resolution=8,cells=2")
    archs = draw(space, 12, 3, sparse=0.3)
    archs = archs[space.is_valid(archs)]
    assert len(archs) > 5
    counted = [sum(p.numel() for p in space.to_module(arch).parameters()) for arch in archs]
    assert np.allclose(np.exp(space.features(archs)[:, -2]), counted, rtol=1e-9)
    arch = SPACE.parse("m1(01:conv1+12:depthwise3) m2(02:separable3) cell(01:m1+02:m2+12:m2)")
    graph = read_graph(stitch(SPACE.assembly(arch), BlockCache.default()))
    assert np.exp(SPACE.features(arch[None])[0, -1]) == pytest.approx(work.graph_macs(graph), rel=1e-9)


def test_features_unfold_the_cell():
    # The cell has the paths m1 m2 and m2; m1 has the paths conv1 max3 and depthwise3, m2 is an identity.
    arch = SPACE.parse("m1(01:conv1+12:max3+02:depthwise3) m2(02:identity) cell(01:m1+12:m2+02:m2)")
    features = SPACE.features(arch[None])[0]
    assert features[:6].tolist() == [1, 1, 0, 1, 0, 2]
    used, edges, into, paths, longest, shortest, convolved, least, spread, unspread, wire, nodes = features[6:18]
    assert (used, edges, into) == (2, 3, 2)
    assert np.expm1(paths) == pytest.approx(3)
    assert (longest, shortest) == (3, 1)
    assert (convolved, least, spread, unspread) == (1, 0, 1, 0)
    assert (wire, nodes) == (1, 3)


def test_a_network_computes_what_its_text_says():
    arch = SPACE.parse("m1(01:conv1+02:identity+12:depthwise3) m2(01:max3+12:avg3) cell(01:m1+02:m2+12:m1)")
    network = SPACE.to_module(arch).eval()
    blocks, image = network.blocks, torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def first(x, name):
        return x + blocks[f"{name}_12"](blocks[f"{name}_01"](x))

    def second(x):
        x = torch.nn.functional.max_pool2d(x, 3, stride=1, padding=1)
        return torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    with torch.no_grad():
        x = blocks["stem"](image)
        for stage in range(3):
            x = blocks[f"reduction{stage}"](x) if stage else x
            x = second(x) + first(first(x, f"s{stage}c0_01"), f"s{stage}c0_12")
        assert x.shape == (1, 16, 2, 2)
        assert torch.allclose(network(image), blocks["head"](x), atol=1e-5)


@pytest.mark.parametrize("text", ["m1() m2() cell(02:m1)", "m1(01:conv1) m2(02:conv1) cell(01:m2+12:m1)"])
def test_a_cell_without_a_path_is_refused(text):
    arch = SPACE.parse(text)
    assert not SPACE.is_valid(arch[None])[0]
    with pytest.raises(ConstantNetwork) as caught:
        SPACE.assembly(arch)
    assert caught.value.hint


def test_thousands_of_networks_share_few_blocks():
    archs = FULL.sample(200, np.random.default_rng(0))
    keys = {block.key for arch in archs for block in FULL.assembly(arch).blocks}
    assert len(keys) == 1 + 3 * 5 + 2 + 1 + 1  # stem, primitives, reductions, head, sum
