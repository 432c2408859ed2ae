"""Parts of searches that look at many networks: draws within bounds, skeletons, evolution."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import nas
from nas.gradient.parts.costs import excess
from nas.gradient.protocol import Priced
from nas.gradient.screening import drawing, evolution
from nas.gradient.screening.evolution import Evolution, evolve
from nas.gradient.screening.skeletons import skeletons
from nas.testing import gradients as kit
from nas.weights import extremes

pytestmark = pytest.mark.usefixtures("one_thread")

ALL = np.array(list(itertools.product(range(3), repeat=3)))


@pytest.fixture(scope="module")
def problem():
    """27 networks of three layers, with a cost by layer."""
    return kit._Kit("random-nas", {}).problem(kit._table().differentiable())


def cost_of(archs):
    return kit._table().predict(archs)


class Chain:
    """A space of any size in which all genomes are networks of their own."""

    spec = "chain of the test"

    def __init__(self, *choices):
        self.choices, self.ordered = choices, (True,) * len(choices)
        self.size = int(np.prod([float(options) for options in choices]))

    def sample(self, n, rng):
        return np.stack([rng.integers(0, options, n) for options in self.choices], axis=1)

    def canonical(self, archs):
        return archs

    def is_valid(self, archs):
        return np.ones(len(archs), dtype=bool)

    neighbours = nas.spaces.ProductSpace.neighbours


# -- draws


def test_a_bound_that_no_draw_meets_is_climbed_to(problem):
    choices = (4,) * 16
    space = Chain(*choices)
    table = kit.CostTable(choices, tuple((gene,) for gene in range(16)), (np.arange(4.0),) * 16)
    tight = replace(problem, space=space, cost=table.differentiable(), bound=3.0)
    assert (table.predict(space.sample(20_000, np.random.default_rng(0))) > 3).all(), "a share of 2e-7 is within"
    pool = drawing.drawn(tight, 30, np.random.default_rng(0))
    assert pool.within and len(pool.archs) == 30 and (table.predict(pool.archs) <= 3).all()
    np.testing.assert_allclose(pool.costs[:, 0], table.predict(pool.archs))


def test_draws_are_uniform_where_bounds_let_them_be(problem):
    counts = np.zeros(27)
    inside = cost_of(ALL) <= 4.0
    for seed in range(200):
        pool = drawing.drawn(replace(problem, bound=4.0), 3, np.random.default_rng(seed))
        counts[pool.archs @ [9, 3, 1]] += 1
    assert counts[~inside].sum() == 0
    assert (np.abs(counts[inside] - 600 / inside.sum()) < 5 * np.sqrt(600 / inside.sum())).all()


def test_beyond_the_bounds_is_a_share_of_each(problem):
    both = replace(problem, bound=4.0, more=(Priced(problem.cost, floor=8.0),))
    costs = np.array([[5.0, 8.0], [4.0, 6.0], [6.0, 4.0], [3.0, 9.0]])
    np.testing.assert_allclose(excess(both, costs), [0.25, 0.25, 1.0, 0.0])


# -- skeletons


def test_skeletons_have_genes_of_a_kind_at_one_level_and_both_ends():
    space = nas.spaces.load("mobilenetv3:stages=2,layers=3,width=25,resolution=32,smallest=16,step=2,classes=10")
    found = skeletons(space, 100, np.random.default_rng(0))
    ends = extremes.of(space)
    assert found[0].tolist() == ends.largest.tolist() and found[1].tolist() == ends.smallest.tolist()
    names = [gene.name for gene in space.genes]
    for kind, levels in (("depth", 2), ("kernel", 3), ("expansion", 3), ("resolution", 5)):
        columns = found[:, [kind in name for name in names]]
        assert (columns == columns[:, :1]).all() and len(np.unique(columns)) == levels, kind
    assert len(found) == 2 + 2 * 3 * 3 * 5
    few = skeletons(space, 20, np.random.default_rng(0))
    assert len(few) == 2 + 2**4, "down to two levels of each"
    chain = nas.spaces.load("chain:layers=1,width=25,resolution=16,classes=10")
    assert len(skeletons(chain, 160, np.random.default_rng(0))) == 2 + 9, "each operator everywhere"


# -- evolution


@pytest.mark.parametrize("seed", range(3))
def test_evolution_finds_the_best_of_all_within_a_constraint(seed):
    rng = np.random.default_rng(seed)
    choices = (4, 3, 4, 3, 4, 3)
    archs = np.array(list(itertools.product(*map(range, choices))))
    parts, prices = ([rng.random(options) for options in choices] for _ in range(2))

    def loss(rows):
        return sum(part[rows[:, gene]] for gene, part in enumerate(parts)) + 0.3 * (rows[:, 0] == rows[:, 2])

    def price(rows):
        return sum(part[rows[:, gene]] for gene, part in enumerate(prices))

    limit = float(np.quantile(price(archs), 0.1))
    space = Chain(*choices)
    start = evolution.drawn(space, lambda rows: price(rows) <= limit, 50, rng, said="a limit")
    found = evolve(space, loss, lambda rows: price(rows) <= limit, start, rng, Evolution(population=50))
    assert (price(found) <= limit).all() and len(np.unique(found, axis=0)) == len(found)
    inside = archs[price(archs) <= limit]
    assert loss(found)[0] == pytest.approx(loss(inside).min())
    assert (np.diff(loss(found)) >= 0).all()


def test_a_constraint_that_no_child_keeps_ends_too():
    space, only = Chain(50, 50, 50, 50), np.array([[1, 2, 3, 4]])
    found = evolve(
        space,
        lambda rows: np.zeros(len(rows)),
        lambda rows: (rows == only).all(axis=1),
        only,
        np.random.default_rng(0),
        Evolution(population=4, generations=2, rate=1.0),
    )
    assert found.tolist() == only.tolist()


def test_mutation_and_crossing_make_what_the_settings_say(monkeypatch):
    """All mutants with a rate of 1 are uniform; without mutants and one parent nothing is new."""
    space = Chain(3, 3, 3, 3)
    settings = Evolution(population=400, generations=1, mutated=1.0, rate=1.0)
    start = np.zeros((1, 4), dtype=np.int64)
    flat = lambda rows: np.zeros(len(rows))  # noqa: E731
    every = lambda rows: np.ones(len(rows), dtype=bool)  # noqa: E731
    found = evolve(space, flat, every, start, np.random.default_rng(0), settings)
    assert len(found) > 75, "of 81"
    same = evolve(space, flat, every, start, np.random.default_rng(0), replace(settings, mutated=0.0))
    assert same.tolist() == start.tolist()
    pair = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    crossed = evolve(space, flat, every, pair, np.random.default_rng(0), replace(settings, mutated=0.0))
    assert len(crossed) == 16 and crossed.max() == 1
