"""A learned cost that knows edges: exact about them under independent choices, one thing with what it predicts."""

import itertools

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from predictors.differentiable.edges import EdgeCost, wiring_of
from predictors.differentiable.network import NetworkCost
from predictors.testing import check_differentiable_cost

#: Two kinds of cells of two places, and a gene that wires nothing; places of one cell differ in what they may read.
CHOICES = (2, 3, 3, 3, 4, 2, 2, 2, 2)
WIRING = (((0, 1), (2, 3)), ((5, 6), (7, 8)))


def archs_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, CHOICES, size=(count, len(CHOICES)))


def truth(archs):
    """States that nobody reads cost, and an edge costs once, however often it is there."""
    total = 2.0 + 0.3 * archs[:, 4]
    for places in WIRING:
        edges = [{(a, b) for a, b in zip(*row, strict=True)} for row in _of(archs, places)]
        total += np.array([sum(1 + a + 2 * b for a, b in some) for some in edges])
        total += np.array([5.0 * (0 not in {a for a, _ in some}) for some in edges])
    return total


def _of(archs, places):
    return np.stack([archs[:, [a for a, _ in places]], archs[:, [b for _, b in places]]], axis=1)


@pytest.fixture(scope="module")
def cost():
    archs = archs_of(800)
    return EdgeCost.fit(CHOICES, WIRING, archs, truth(archs), steps=400)


def test_it_learns_what_places_have_in_common(cost):
    archs = archs_of(300, seed=1)
    plain = NetworkCost.fit(CHOICES, archs_of(800), truth(archs_of(800)), steps=400)
    errors = [np.abs(one.predict(archs).value / truth(archs) - 1).mean() for one in (cost, plain)]
    assert errors[0] < 0.005 and errors[0] < 0.5 * errors[1]


def test_it_keeps_the_protocol(cost):
    check_differentiable_cost(cost, cost.predict)


def test_few_rows_say_what_all_facts_say(cost):
    """The cost of genes and of every fact, one by one, as it was learned."""
    archs = archs_of(200, seed=2)
    rows = []
    for arch in archs:
        row = list(arch)
        for places, (states, operators) in zip(WIRING, ((3, 3), (2, 2)), strict=True):
            edges = {(arch[a], arch[b]) for a, b in places}
            row += [int((a, b) in edges) for a in range(states) for b in range(operators)]
            row += [int(state in {a for a, _ in edges}) for state in range(states)]
        rows.append(row)
    expected = cost.cost.predict(np.array(rows))
    found = cost.predict(archs)
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.low == pytest.approx(expected.low, rel=1e-12) and found.high == pytest.approx(expected.high, rel=1e-12)


def test_main_effects_and_facts_are_exact_expectations():
    """Without a network the cost is linear in facts, whose probabilities are exact: it is the mean of all networks."""
    archs = archs_of(400)
    learned = EdgeCost.fit(CHOICES, WIRING, archs, truth(archs), steps=0)
    assert not learned.cost.has_network
    rng = np.random.default_rng(4)
    shares = [rng.dirichlet(np.ones(options)) for options in CHOICES]
    every = np.array(list(itertools.product(*map(range, CHOICES))))
    weight = np.prod([share[every[:, gene]] for gene, share in enumerate(shares)], axis=0)
    expected = float(weight @ learned.predict(every).value)
    found = float(learned([torch.from_numpy(share) for share in shares]))
    assert found == pytest.approx(expected, rel=1e-4)  # costs bend a little near 0


def test_what_is_read_again_is_the_same(cost):
    again = EdgeCost.of_tensors(*cost.to_tensors())
    archs = archs_of(50, seed=3)
    assert (again.choices, again.wiring, again.unit, again.half_width) == (CHOICES, WIRING, "ms", cost.half_width)
    assert (again.predict(archs).value == cost.predict(archs).value).all()


@pytest.mark.parametrize(
    "damage", [{"genes": 8}, {"wiring": [[[0, 1]]]}, {"wiring": [[[0, 1], [1, 2]]]}, {"genes": 99}]
)
def test_damaged_facts_are_refused(cost, damage):
    facts, tensors = cost.to_tensors()
    with pytest.raises(ValueError):
        EdgeCost.of_tensors(facts | damage, tensors)


@pytest.mark.parametrize("wiring", [(((0, 1), (1, 2)),), (((0, 99),),), (((-1, 1),),)])
def test_a_wiring_of_no_genes_is_refused(wiring):
    with pytest.raises(UsageError, match="wiring") as refused:
        EdgeCost.fit(CHOICES, wiring, archs_of(30), np.ones(30))
    assert "once" in refused.value.hint


def test_a_gene_outside_of_the_space_is_refused(cost):
    with pytest.raises(UsageError):
        cost.predict(np.full((1, len(CHOICES)), 9))
    with pytest.raises(UsageError):
        cost([torch.ones(2)])


@pytest.mark.parametrize("name", nas.spaces.names())
def test_spaces_that_say_how_they_are_wired_name_genes_of_states_and_of_operators(name):
    space = nas.spaces.load(name)
    places = [place for cell in wiring_of(space) for place in cell]
    assert bool(places) == (name in ("darts", "nsganet-micro"))
    for source, operator in places:
        assert "_from" in space.genes[source].name and space.genes[operator].name == space.genes[source].name.replace(
            "_from", "_op"
        )
        assert len(space.genes[operator].options) == len(space.operators)
