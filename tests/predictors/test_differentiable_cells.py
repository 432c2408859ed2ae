"""A learned cost that knows what cells are made of: blind to where a node stands, one thing with what it predicts."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nas
from device_profiles.errors import UsageError
from predictors.differentiable._features import Cells
from predictors.differentiable.network import NetworkCost
from predictors.encodings.distilled import wiring_of
from predictors.testing import check_differentiable_cost

#: Two kinds of cells of two nodes each; of the first, nodes read one state from outside, of the second two.
CHOICES = (1, 3, 1, 3, 2, 3, 2, 3, 2, 2, 2, 2, 3, 2, 3, 2)
WIRING = (
    (((0, 1), (2, 3)), ((4, 5), (6, 7))),
    (((8, 9), (10, 11)), ((12, 13), (14, 15))),
)
CELLS = Cells(CHOICES, WIRING)
genomes = st.tuples(*(st.integers(0, options - 1) for options in CHOICES))


def archs_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, CHOICES, size=(count, len(CHOICES)))


def facts_of(arch):
    """All facts of an architecture, by hand."""
    found, reading = [], []
    for cell, outer, options in ((WIRING[0], 1, 3), (WIRING[1], 2, 2)):
        edges, pairs = np.zeros((outer + 1, options)), np.zeros((options, options))
        for node in cell:
            for source, operator in node:
                edges[arch[source], arch[operator]] += 1
            low, high = sorted(arch[operator] for _, operator in node)
            pairs[low, high] += 1
        read = [int(edges[state].sum() > 0) for state in range(outer + 1)]
        states = [[1 - one, one] for one in read]
        loose = np.zeros(2)
        loose[1 - read[outer]] = 1
        found += [edges.ravel(), pairs.ravel(), np.ravel(states), loose]
        reading += read[:outer]
    ways = np.zeros(8)
    ways[sum(one << place for place, one in enumerate(reading))] = 1
    return np.concatenate([*found, ways])


def truth(archs):
    """A node that nobody reads makes the next cell dearer, some pairs of operators are dear, cells are passed by."""
    facts = np.array([facts_of(arch) for arch in archs])
    weights = np.random.default_rng(9).uniform(0.2, 2.0, facts.shape[1])
    return (1 + facts[:, -8:] @ np.arange(8)) * (facts[:, :-8] @ weights[:-8])


@pytest.fixture(scope="module")
def cost():
    archs = archs_of(900)
    return NetworkCost.fit(CHOICES, archs, truth(archs), wiring=WIRING, steps=600)


@given(genomes)
def test_its_facts_are_those_of_the_cells(genome):
    counted = np.bincount(CELLS.rows(np.array([genome]))[0], minlength=CELLS.size)
    assert (counted == facts_of(genome)).all()
    assert counted.sum() == CELLS.each


@given(genomes)
def test_few_rows_add_up_to_what_all_facts_add(genome):
    archs, table = np.array([genome]), np.random.default_rng(1).normal(size=(CELLS.size, 3))
    folded = CELLS.folded(table)
    assert folded[CELLS.few(archs)[0]].sum(axis=0) == pytest.approx(facts_of(genome) @ table)


@given(genomes)
def test_at_one_hot_rows_facts_are_expected_as_often_as_they_are_true(genome):
    hot = [torch.eye(options, dtype=torch.float64)[gene] for options, gene in zip(CHOICES, genome, strict=True)]
    assert CELLS.expected(hot).numpy() == pytest.approx(facts_of(genome), abs=1e-12)


def test_places_pairs_and_states_are_exact_expectations():
    rng = np.random.default_rng(4)
    shares = [rng.dirichlet(np.ones(options)) for options in CHOICES]
    expected = CELLS.expected([torch.from_numpy(share) for share in shares]).numpy()
    for start, genes, facts in ((0, range(8), 6 + 9 + 4), (6 + 9 + 4 + 2, range(8, 16), 6 + 4 + 6)):
        mean = np.zeros(facts)
        for some in itertools.product(*(range(CHOICES[gene]) for gene in genes)):
            arch = np.zeros(len(CHOICES), dtype=np.int64)
            arch[list(genes)] = some
            weight = np.prod([shares[gene][option] for gene, option in zip(genes, some, strict=True)])
            mean += weight * facts_of(arch)[start : start + facts]
        assert expected[start : start + facts] == pytest.approx(mean)
    assert expected[-8:].sum() == pytest.approx(1) and expected[19:21].sum() == pytest.approx(1)


def test_it_learns_what_single_genes_do_not_say(cost):
    archs = archs_of(300, seed=1)
    plain = NetworkCost.fit(CHOICES, archs_of(900), truth(archs_of(900)), steps=600)
    errors = [np.abs(one.predict(archs).value / truth(archs) - 1).mean() for one in (cost, plain)]
    assert errors[0] < 0.5 * errors[1]


def test_nodes_that_change_places_and_edges_of_a_node_cost_the_same(cost):
    archs = archs_of(200, seed=2)
    swapped = archs[:, [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13]]
    assert cost.predict(swapped).value == pytest.approx(cost.predict(archs).value, rel=1e-12)


def test_it_keeps_the_protocol(cost):
    check_differentiable_cost(cost, cost.predict)


def test_what_is_read_again_is_the_same(cost, tmp_path):
    cost.save(tmp_path / "cost")
    again, archs = NetworkCost.load(tmp_path / "cost"), archs_of(50, seed=3)
    assert again.surface.wiring == WIRING and again.choices == CHOICES
    assert (again.predict(archs).value == cost.predict(archs).value).all()


@pytest.mark.parametrize(
    "damage", [[[[[0, 1], [2, 3]]]], [[[[0, 1], [2, 3], [4, 5]]]], [], "nodes", [[[[0, 1], [2, 99]]]]]
)
def test_a_damaged_wiring_is_refused(cost, damage):
    facts, tensors = cost.to_tensors()
    with pytest.raises((ValueError, LookupError, TypeError)):
        NetworkCost.of_tensors(facts | {"wiring": damage}, tensors)


@pytest.mark.parametrize("wiring", [WIRING[:1], (WIRING[0], WIRING[0]), 3, "nodes", ((((0, 1), (2, 99)),),)])
def test_a_wiring_of_other_genes_is_told(wiring):
    with pytest.raises(UsageError, match="the wiring is not that of genes"):
        NetworkCost.fit(CHOICES, archs_of(60), truth(archs_of(60)), wiring=wiring)


@pytest.mark.parametrize("name", nas.spaces.names())
def test_spaces_that_say_how_they_are_wired_name_genes_of_states_and_of_operators(name):
    space = nas.spaces.load(name)
    places = [place for cell in wiring_of(space) for node in cell for place in node]
    assert bool(places) == (name == "nsganet-micro")
    for source, operator in places:
        assert space.genes[operator].name == space.genes[source].name.replace("_from", "_op")
