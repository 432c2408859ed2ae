"""DARTS cells, and what they share with those of NSGA-Net: which are one, networks, work, text."""

from itertools import permutations
from math import prod

import numpy as np
import pytest
import torch
from torch.nn import functional

import nas
from device_profiles.errors import UsageError
from nas import testing
from nas.spaces._nasnet import cells as cell_algebra
from nas.spaces._nasnet.cells import Cells

SMALL = "darts:layers=3,channels=4,resolution=8"
#: Of the authors' repository; its training prints "param size = 3.349342MB" for it.
SECOND_ORDER = """Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
    ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"""
PARAMETERS = 3_349_342


def restricted(spec, *operators):
    """A space with few operators, so that the kit has few blocks to export."""
    space = nas.spaces.load(spec)
    return space.restrict({gene.name: operators for gene in space.genes if "_op" in gene.name})


@pytest.mark.slow
def test_the_space_conforms():
    testing.check_space(restricted(SMALL, "skip", "sep3"))


def test_the_space_has_the_papers_size():
    space = nas.spaces.load("darts")
    assert len(space.choices) == 32
    assert space.size == (prod((node + 1) ** 2 for node in range(1, 5)) * 7**8) ** 2
    # Section 2.1 of the paper's appendix: cells of different edges, nodes in their order.
    sources = np.stack(np.unravel_index(np.arange(14_400), (2, 2, 3, 3, 4, 4, 5, 5)), axis=1)
    genes = np.zeros((len(sources), 2, 8, 2), dtype=np.int64)
    genes[:, :, :, 0] = sources[:, None]
    cells = space.cells(genes.reshape(-1, 32))[0]
    assert (cells.sources[..., 0] != cells.sources[..., 1]).all()
    assert len(np.unique(np.sort(cells.sources, axis=2).reshape(-1, 8), axis=0)) == prod(
        node * (node + 1) // 2 for node in range(1, 5)
    )


# -- isomorphism


def nodes_of(cells, row):
    return [
        sorted(zip(sources, operators, strict=True))
        for sources, operators in zip(cells.sources[row].tolist(), cells.operators[row].tolist(), strict=True)
    ]


def renamed(nodes, order):
    """The cell with node `order[i]` at place `i`, or None where a node would read a later one."""
    place = {0: 0, 1: 1} | {old + 2: new + 2 for new, old in enumerate(order)}
    found = [sorted((place[source], operator) for source, operator in nodes[old]) for old in order]
    return found if all(source < new + 2 for new, node in enumerate(found) for source, _ in node) else None


def least(nodes):
    """By trying all orders of the nodes."""
    return min(filter(None, (renamed(nodes, order) for order in permutations(range(len(nodes))))))


@pytest.mark.parametrize(("spec", "operators"), [("darts", 7), ("nsganet-micro", 9)])
def test_equal_rows_are_isomorphic_cells_and_the_reverse(spec, operators):
    """Of few operators, so that many random cells are one."""
    space = nas.spaces.load(spec)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, space.choices, (250, len(space.choices)))
    few = rows.reshape(len(rows), 2, -1, 2)
    few[..., 1] = few[..., 1] < 1
    few[:100, :, :, 1] = 0
    few[:100, :, :, 0] = np.minimum(few[:100, :, :, 0], 2)
    found = space.canonical(rows)
    for kind in range(2):
        half = slice(kind * len(found[0]) // 2, (kind + 1) * len(found[0]) // 2)
        oracle = [repr(least(nodes_of(space.cells(rows)[kind], row))) for row in range(len(rows))]
        pairs = {(text, row.tobytes()) for text, row in zip(oracle, found[:, half], strict=True)}
        assert len(pairs) == len(set(oracle)) == len({row for _, row in pairs}) < 240
        assert [repr(nodes_of(space.cells(found)[kind], row)) for row in range(len(rows))] == oracle
    assert operators == len(space.operators)


def test_renamed_cells_are_one_row():
    space = nas.spaces.load("nsganet-micro")
    rng = np.random.default_rng(1)
    rows = space.sample(40, rng)
    twins = rows.copy().reshape(len(rows), 2, 5, 2, 2)
    for kind, cells in enumerate(space.cells(rows)):
        for row in range(len(rows)):
            orders = [renamed(nodes_of(cells, row), order) for order in permutations(range(5))]
            other = [cell for cell in orders if cell]
            twins[row, kind] = other[rng.integers(len(other))]
            twins[row, kind] = np.where(rng.random((5, 1, 1)) < 0.5, twins[row, kind], twins[row, kind][:, ::-1])
    twins = twins.reshape(rows.shape)
    assert (twins != rows).any(axis=1).sum() > 30
    assert np.array_equal(space.canonical(twins), space.canonical(rows))
    assert np.array_equal(space.features(twins), space.features(rows))
    assert space.assembly(twins[0]).key == space.assembly(rows[0]).key


def test_two_edges_of_a_node_never_read_the_same():
    space = nas.spaces.load("darts")
    once = space.parse(space._example())
    assert not space.active(once[None])[0, space.place("normal2_from2")]
    # States 0 and 0 are 0 and 1; the last state is followed by the first.
    assert space.cells(once[None])[0].sources[0].tolist() == [[0, 1]] * 4
    once[space.place("normal5_from1")] = once[space.place("normal5_from2")] = 4
    assert space.cells(once[None])[0].sources[0, 3].tolist() == [4, 0]


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


def norm(x):
    gain = weight(x.shape[1])[None, :, None, None]
    return x / (1 + 1e-5) ** 0.5 * gain + gain


def conv1(x, channels, stride=1):
    return functional.conv2d(x, weight(channels, x.shape[1], 1, 1), stride=stride)


def halve(x, channels):
    x = torch.relu(x)
    return norm(torch.cat([conv1(x, channels // 2, 2), conv1(x[:, :, 1:, 1:], channels - channels // 2, 2)], dim=1))


def operator(name, x, stride):
    """The operators of the papers' tables, written out."""
    c, k = x.shape[1], int(name[-1]) if name[-1].isdigit() else 0
    if name == "skip":
        return x if stride == 1 else halve(x, c)
    if name == "max3":
        return functional.max_pool2d(x, 3, stride, 1)
    if name == "avg3":
        return functional.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    if name == "rec7":
        x = functional.conv2d(torch.relu(x), weight(c, c, 1, k), stride=(1, stride), padding=(0, 3))
        return norm(functional.conv2d(x, weight(c, c, k, 1), stride=(stride, 1), padding=(3, 0)))
    for step in (stride,) if name.startswith("dil") else (stride, 1):
        d = 2 if name.startswith("dil") else 1
        x = functional.conv2d(torch.relu(x), weight(c, 1, k, k), None, step, d * (k // 2), d, groups=c)
        x = norm(conv1(x, c))
    return x


def reference(space, text, images):
    """The network from its text, all layers of it, as in the authors' repository."""
    words = text.replace("normal(", "").replace(")", "").split(" reduction(")
    cells = [[[edge.split("~") for edge in node.split("+")] for node in word.split()] for word in words]
    first = functional.conv2d(images, weight(3 * space.channels, images.shape[1], 3, 3), padding=1)
    before = last = norm(first)
    channels, reduced = space.channels, False
    for layer in range(space.layers):
        reducing = layer in (space.layers // 3, 2 * space.layers // 3)
        channels *= 1 + reducing
        states = [
            halve(before, channels) if reduced else norm(conv1(torch.relu(before), channels)),
            norm(conv1(torch.relu(last), channels)),
        ]
        read = set()
        for node in cells[reducing]:
            read |= {int(source) for _, source in node}
            terms = [operator(name, states[int(s)], 2 if reducing and int(s) < 2 else 1) for name, s in node]
            states.append(terms[0] + terms[1])
        given = [state for number, state in enumerate(states) if number > 1 and (space.gives_all or number not in read)]
        before, last, reduced = last, torch.cat(given, dim=1), reducing
    return last.mean(dim=(2, 3)) @ weight(space.classes, last.shape[1]).T + weight(space.classes)


@pytest.mark.parametrize(
    "spec",
    [
        "darts:layers=5,channels=4,resolution=8",
        "nsganet-micro:layers=5,channels=4,resolution=12,classes=7",
        "nsganet-micro:layers=6,channels=3,resolution=8,image_channels=1",
    ],
)
def test_networks_compute_what_the_papers_say(spec):
    space = nas.spaces.load(spec)
    images = torch.randn(2, *space.input_shape[1:], generator=torch.Generator().manual_seed(0))
    used = set()
    rows = space.canonical(space.sample(12, np.random.default_rng(0)))
    if not space.gives_all:  # normal cells that read their input 0 only, or their input 1 only
        rows[:2].reshape(2, 2, 5, 2, 2)[:, 0, :, :, 0] = np.array([0, 1])[:, None, None]
    for row in space.canonical(rows):
        text = space.format(row)
        used |= {word for word in text.replace("+", " ").replace("(", " ").replace("~", " ").split() if word.isalnum()}
        with torch.no_grad():
            wanted = reference(space, text, images)
            got = filled(space.to_module(row))(images)
        assert torch.allclose(got, wanted, atol=2e-5 * float(wanted.abs().max())), text
    assert set(space.operators) <= used


@pytest.mark.parametrize("spec", ["darts:channels=4", "nsganet-micro:channels=4", "nsganet-macro:channels=4"])
def test_untrained_networks_of_full_depth_tell_images_apart(spec):
    """With the framework's own first weights those of nsganet-micro do not."""
    space = nas.spaces.load(spec)
    images = torch.randn(2, *space.input_shape[1:], generator=torch.Generator().manual_seed(0))
    for seed, row in enumerate(space.sample(5, np.random.default_rng(0))):
        torch.manual_seed(seed)
        with torch.no_grad():
            logits = space.to_module(row).eval()(images)
        assert torch.isfinite(logits).all()
        assert not torch.equal(logits[0], logits[1])


def test_the_published_network_has_the_published_size():
    space = nas.spaces.load("darts")
    row = space.parse(SECOND_ORDER)
    assert sum(parameter.numel() for parameter in space.to_module(row).parameters()) == PARAMETERS
    assert 10 ** space.features(row[None])[0, -1] == pytest.approx(PARAMETERS)


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


@pytest.mark.parametrize(
    "spec", ["darts:layers=6,channels=4,resolution=8", "nsganet-micro:layers=6,channels=5,resolution=8,classes=7"]
)
def test_the_last_features_are_work(spec):
    space = nas.spaces.load(spec)
    rows = space.sample(10, np.random.default_rng(2))
    rows[0] = 0
    for row, features in zip(rows, space.features(rows), strict=True):
        module = space.to_module(row)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        found = macs(module, torch.randn(space.input_shape))
        assert np.allclose(10 ** features[-2:], [found, parameters], rtol=1e-9)


def test_structure_by_hand():
    # 2 = sep3 of 0 + skip of 1; 3 = max3 of 2 + skip of 0. Only 3 is given on, or both.
    sources, operators = np.array([[[0, 1], [2, 0]]]), np.array([[[3, 2], [0, 2]]])
    sights = (3, 3, 1, 5)
    last = cell_algebra.structure(Cells(sources, operators, gives_all=False), sights)
    both = cell_algebra.structure(Cells(sources, operators, gives_all=True), sights)
    assert last.tolist() == [[2, 1, 1, 2, 2, 6, 6, 3]]
    assert both.tolist() == [[2, 1, 2, 2, 1.5, 6, 5, 5]]


# -- text and options


def test_a_genotype_is_its_compact_text():
    space = nas.spaces.load("darts")
    row = space.parse(SECOND_ORDER)
    text = (
        "normal(sep3~0+sep3~1 sep3~0+sep3~1 sep3~1+skip~0 skip~0+dil3~2) "
        "reduction(max3~0+max3~1 skip~2+max3~1 max3~0+skip~2 skip~2+max3~1)"
    )
    assert space.format(row) == text
    assert np.array_equal(space.parse(text), row)
    assert space.value(row, "reduction3_op1") == "skip"
    assert np.array_equal(space.parse(SECOND_ORDER.replace("[2, 3, 4, 5]", "range(2, 6)")), row)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[3, 4, 5]", "concatenate"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)", "twice"),
        ("('dil_conv_3x3', 2)", "('none', 2)", "none~2"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)", "states 0 to 4"),
        (", ('dil_conv_3x3', 2)", "", "4 nodes"),
        ("reduce_concat=[2, 3, 4, 5])", "reduce_concat=[2, 3, 4", "4 nodes"),
    ],
)
def test_other_genotypes_are_refused(old, new, said):
    assert old in SECOND_ORDER
    with pytest.raises(UsageError, match=said):
        nas.spaces.load("darts").parse(SECOND_ORDER.replace(old, new))


@pytest.mark.parametrize("options", ["layers=2", "resolution=30", "channels=0"])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError):
        nas.spaces.load(f"darts:{options}")
