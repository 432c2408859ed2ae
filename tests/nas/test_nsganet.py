"""The NSGA-Net family: Bayesian networks and subsets by brute force, and what the three strategies find."""

import csv
import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from device_profiles.errors import UsageError
from nas import testing
from nas.operators import bayesian_network, subset
from nas.pareto import dominance, indicators
from nas.strategies import create

DATA = Path(__file__).resolve().parents[3] / "shared/data/nasbench201.csv.gz"
CHOICES = (5,) * 10
GENES = np.arange(10)
CORNERS = np.array([GENES % 5, (3 * GENES + 2) % 5, (2 * GENES + 1) % 5, (4 * GENES + 3) % 5])
FAST = {"surrogates": "gaussian-process", "generations": 10}


def costs_of(archs, corners=2):
    """Distances to some corners: the front between them is a vanishing share of the space."""
    return ((archs[:, None, :] != CORNERS[:corners]) * (1 + GENES)).sum(axis=2) / 55.0


def searched(name, seed, evaluations, *, corners=2, violations_of=None, **options):
    strategy = create(name, choices=CHOICES, objectives=corners, seed=seed, **options)
    told = []
    while sum(map(len, told)) < evaluations:
        rows = strategy.ask(10)
        strategy.tell(rows, costs_of(rows, corners), None if violations_of is None else violations_of(rows))
        told.append(rows)
    return np.concatenate(told)


def forests(genes):
    """All forests over some genes, as sets of edges."""
    edges = list(itertools.combinations(range(genes), 2))
    for count in range(genes):
        for chosen in itertools.combinations(edges, count):
            group = list(range(genes))
            for a, b in chosen:
                if group[a] == group[b]:
                    break
                group = [group[a] if one == group[b] else one for one in group]
            else:
                yield frozenset(chosen)


def criterion(archs, edges, choices):
    """Bayesian information criterion of a forest, from its own largest likelihood, larger is better."""

    def entropy(columns):
        _, counts = np.unique(archs[:, columns], axis=0, return_counts=True)
        return -(counts * np.log(counts / len(archs))).sum()

    likelihood = -sum(entropy([gene]) for gene in range(len(choices)))
    free = sum(options - 1 for options in choices)
    for a, b in edges:
        likelihood += entropy([a]) + entropy([b]) - entropy([a, b])
        free += (choices[a] - 1) * (choices[b] - 1)
    return likelihood - 0.5 * np.log(len(archs)) * free


def edges_of(network):
    return frozenset(tuple(sorted((gene, parent))) for gene, parent in enumerate(network.parents) if parent >= 0)


def dependent(rng, count, choices):
    """Genomes in which genes copy others in part."""
    archs = rng.integers(0, choices, size=(count, len(choices)))
    for gene in range(1, len(choices)):
        copies = rng.random(count) < rng.choice([0.0, 0.5, 0.8])
        archs[:, gene] = np.where(copies, archs[:, rng.integers(gene)] % choices[gene], archs[:, gene])
    return archs


@pytest.mark.parametrize("seed", range(8))
def test_the_network_is_the_best_of_all_forests(seed):
    rng = np.random.default_rng(seed)
    choices = (3, 2, 4, 3)
    archs = dependent(rng, 60, choices)
    every = list(forests(4))
    assert len(every) == 38
    best = max(criterion(archs, edges, choices) for edges in every)
    assert criterion(archs, edges_of(bayesian_network.learn(archs, choices)), choices) == pytest.approx(best)
    trees = [edges for edges in every if len(edges) == 3]
    assert len(trees) == 16
    information = bayesian_network.mutual_information(archs, choices)
    found = edges_of(bayesian_network.learn(archs, choices, tree=True))
    assert sum(information[e] for e in found) == pytest.approx(max(sum(information[e] for e in t) for t in trees))


def test_mutual_information_is_scikit_learns():
    from sklearn.metrics import mutual_info_score

    archs = dependent(np.random.default_rng(0), 50, (3, 2, 4, 3))
    found = bayesian_network.mutual_information(archs, (3, 2, 4, 3))
    for a, b in itertools.combinations(range(4), 2):
        assert found[a, b] == found[b, a] == pytest.approx(mutual_info_score(archs[:, a], archs[:, b]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40), st.floats(0.05, 3.0))
def test_probabilities_sum_to_one(seed, count, smoothing):
    choices = (3, 1, 2, 4)
    network = bayesian_network.learn(
        dependent(np.random.default_rng(seed), count, choices), choices, smoothing=smoothing
    )
    everything = np.stack(np.unravel_index(np.arange(24), choices), axis=1)
    assert np.exp(network.log_probability(everything)).sum() == pytest.approx(1.0)
    assert sorted(network.order) == list(range(4))
    for place, gene in enumerate(network.order):
        assert network.parents[gene] in (-1, *network.order[:place])


def test_samples_come_as_often_as_their_probability_says():
    rng = np.random.default_rng(0)
    choices = (3, 2, 2, 3)
    network = bayesian_network.learn(dependent(np.random.default_rng(3), 80, choices), choices)
    assert edges_of(network)
    archs = network.sample(40_000, rng)
    everything = np.stack(np.unravel_index(np.arange(36), choices), axis=1)
    wanted = np.exp(network.log_probability(everything))
    found = np.bincount(np.ravel_multi_index(tuple(archs.T), choices), minlength=36) / 40_000
    assert np.abs(found - wanted).max() < 5 * np.sqrt(0.25 / 40_000)


def test_tables_are_smoothed_counts():
    archs = np.array([[0, 0], [0, 0], [1, 1], [1, 1], [2, 1]] * 4)
    network = bayesian_network.learn(archs, (3, 2), smoothing=1.0)
    assert network.parents == (-1, 0)
    assert network.tables[0] == pytest.approx(np.array([[9, 9, 5]]) / 23)
    assert network.tables[1] == pytest.approx(np.array([[9 / 10, 1 / 10], [1 / 10, 9 / 10], [1 / 6, 5 / 6]]))
    alone = bayesian_network.independent(archs, (3, 2), smoothing=2.0)
    assert alone.parents == (-1, -1)
    assert alone.tables[1] == pytest.approx(np.array([[10, 14]]) / 24)
    assert bayesian_network.independent(archs[:0], (3, 2)).tables[0] == pytest.approx(np.full((1, 3), 1 / 3))


def test_chance_is_not_taken_for_dependence():
    rng = np.random.default_rng(0)
    found = [len(edges_of(bayesian_network.learn(rng.integers(0, 5, (40, 8)), (5,) * 8))) for _ in range(20)]
    assert np.mean(found) < 0.5


@pytest.mark.parametrize("smoothing", [0.0, -1.0])
def test_impossible_networks_are_refused(smoothing):
    with pytest.raises(UsageError, match="smoothing"):
        bayesian_network.learn(np.zeros((3, 2), dtype=int), (2, 2), smoothing=smoothing)
    with pytest.raises(UsageError, match="genomes"):
        bayesian_network.independent(np.zeros((3, 2), dtype=int), (2, 2, 2))


def unevenness(points, columns):
    """As the definition says, one by one."""
    low, high = points.min(axis=0), points.max(axis=0)

    def one(chosen, column):
        values = sorted((chosen[:, column] - low[column]) / (high[column] - low[column]))
        return np.std([b - a for a, b in itertools.pairwise(values)])

    return lambda chosen: np.mean([one(chosen, column) for column in columns])


@pytest.mark.parametrize(("objectives", "axes", "columns"), [(2, None, [1]), (2, (0,), [0]), (3, None, [0, 1, 2])])
@pytest.mark.parametrize("seed", range(3))
def test_the_subset_is_the_best_of_all(objectives, axes, columns, seed):
    rng = np.random.default_rng(seed)
    candidates, front = rng.random((11, objectives)), rng.random((5, objectives))
    cost = unevenness(np.concatenate([candidates, front]), columns)
    every = {
        chosen: cost(np.concatenate([candidates[list(chosen)], front]))
        for chosen in itertools.combinations(range(11), 4)
    }
    found = tuple(subset.choose(candidates, front, 4, np.random.default_rng(9), axes=axes))
    assert every[found] == pytest.approx(min(every.values()))
    assert min(every.values()) < 0.8 * np.mean(list(every.values()))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 30), st.integers(0, 8), st.integers(0, 40), st.integers(1, 5), st.integers(0, 10**6))
def test_a_subset_has_exactly_so_many(total, others, count, objectives, seed):
    rng = np.random.default_rng(seed)
    candidates, front = rng.integers(0, 4, (total, objectives)) * 1.0, rng.random((others, objectives))
    rows = subset.choose(candidates, front, count, rng, population=10, generations=5)
    assert len(np.unique(rows)) == len(rows) == min(count, total)
    assert ((rows >= 0) & (rows < total)).all()


def test_impossible_subsets_are_refused():
    with pytest.raises(UsageError, match="count >= 0"):
        subset.choose(np.zeros((3, 2)), np.zeros((0, 2)), -1, np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"population": 4, "ramp": 0, "exploitation": 1.0}, {"exploitation": 0.0, "mutation": 0.4}]
)
def test_nsganet_conforms_with_other_settings(options):
    testing.check_strategy("nsganet", **options)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("nsganetv2", {}), ("nat", {"drawn": 1.0})])
def test_the_others_conform_with_other_settings(name, options):
    testing.check_strategy(name, initial=1, population=8, generations=2, surrogates=("rbf",), **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nsganet", {"population": 3}),
        ("nsganet", {"exploitation": 1.1}),
        ("nsganet", {"ramp": -1}),
        ("nsganet", {"smoothing": 0.0}),
        ("nsganetv2", {"population": 2}),
        ("nsganetv2", {"generations": 0}),
        ("nsganetv2", {"crossover": -0.1}),
        ("nsganetv2", {"folds": 1}),
        ("nsganetv2", {"initial": 0}),
        ("nsganetv2", {"surrogates": ""}),
        ("nat", {"mutation": 0.0}),
        ("nat", {"drawn": 2.0}),
        ("nat", {"smoothing": 0.0}),
    ],
)
def test_impossible_settings_are_refused(name, options):
    with pytest.raises(UsageError):
        create(name, choices=(3, 2), objectives=2, **options)


def test_exploitation_grows():
    strategy = create("nsganet", choices=CHOICES, objectives=2, population=20, ramp=80, exploitation=0.6)
    rng = np.random.default_rng(0)
    shares = [strategy.share]
    for _ in range(12):
        archs = rng.integers(0, 5, (10, 10))
        strategy.tell(archs, costs_of(archs))
        shares.append(strategy.share)
    assert shares == pytest.approx([0.6 * min(max(10 * step - 20, 0) / 80, 1.0) for step in range(13)])


def test_exploitation_keeps_what_the_best_have_in_common():
    """Good genomes have equal neighbours; draws of the network have them too, other options than the parents' often."""
    rng = np.random.default_rng(0)
    archs = np.repeat(rng.integers(0, 3, (200, 4)), 2, axis=1)
    chosen = {"population": 20, "ramp": 0, "exploitation": 1.0, "smoothing": 0.05}
    strategy = create("nsganet", choices=(3,) * 8, objectives=1, **chosen)
    strategy.tell(archs[:40], rng.random((40, 1)))
    assert strategy.share == 1.0
    assert edges_of(strategy.network()) == {(0, 1), (2, 3), (4, 5), (6, 7)}
    rows = strategy.ask(30)
    assert (rows[:, ::2] == rows[:, 1::2]).mean() > 0.85


@pytest.mark.parametrize(
    ("name", "evaluations", "seeds", "options"),
    [("nsganet", 200, 8, {}), ("nsganetv2", 120, 2, FAST), ("nat", 120, 2, FAST)],
)
def test_each_beats_random_search(name, evaluations, seeds, options):
    ours, random = (
        [indicators.hypervolume(costs_of(searched(one, s, evaluations, **more)), np.ones(2)) for s in range(seeds)]
        for one, more in ((name, options), ("random", {}))
    )
    assert np.mean(ours) > np.mean(random) + 0.1
    assert min(ours) > max(random)


@pytest.mark.parametrize("name", ["nsganetv2", "nat"])
def test_few_evaluations_do_what_nsga2_needs_many_for(name):
    ours = indicators.hypervolume(costs_of(searched(name, 0, 120, **FAST)), np.ones(2))
    theirs = indicators.hypervolume(costs_of(searched("nsga2", 0, 250)), np.ones(2))
    assert ours > theirs


def test_what_is_known_is_not_predicted():
    known = {1: lambda archs: costs_of(archs)[:, 1]}
    strategy = create("nsganetv2", choices=CHOICES, objectives=2, known=known, **FAST)
    rows = strategy.ask(60)
    values = known[1](rows)
    assert values.min() < 0.5 < 0.95 < values.max()  # the ends are among the first
    strategy.tell(rows, costs_of(rows))
    assert set(strategy.chosen) == {0}
    better = strategy.ask(10)
    assert dominance.nondominated(np.concatenate([costs_of(better), costs_of(rows)]))[:10].sum() >= 4


@pytest.mark.parametrize("name", ["nsganetv2", "nat"])
def test_a_small_feasible_region_is_found(name):
    def violations_of(archs):
        return np.maximum(7 - (archs == 1).sum(axis=1), 0).astype(float)

    rows = searched(name, 0, 120, violations_of=violations_of, **FAST)
    assert (violations_of(rows[:40]) == 0).mean() < 0.05
    assert (violations_of(rows[-40:]) == 0).mean() > 0.5


def test_the_distribution_of_nat_is_that_of_the_front():
    strategy = create("nat", choices=(4, 3), objectives=2, smoothing=0.5)
    assert strategy.distribution().tables[0] == pytest.approx(np.full((1, 4), 0.25))
    strategy.tell(
        np.array([[0, 0], [1, 0], [1, 2], [2, 1], [3, 1]]),
        np.array([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [np.nan, 0.0]]),
    )
    tables = strategy.distribution().tables
    assert tables[0] == pytest.approx(np.array([[1.5, 2.5, 0.5, 0.5]]) / 5)
    assert tables[1] == pytest.approx(np.array([[2.5, 0.5, 1.5]]) / 4.5)
    assert strategy.distribution().sample(50, np.random.default_rng(0)).max(axis=0).tolist() <= [3, 2]


def test_nat_takes_many_objectives():
    found = costs_of(searched("nat", 0, 100, corners=4, **FAST), 4)
    random = costs_of(searched("random", 0, 100, corners=4), 4)
    assert indicators.hypervolume(found, np.ones(4)) > 1.3 * indicators.hypervolume(random, np.ones(4))


@pytest.fixture(scope="module")
def nasbench201():
    """Error and latency of one device on NAS-Bench-201, `(15625, 2)`, normalised; and the weights of its genes."""
    if not DATA.exists():
        pytest.skip(f"the public table {DATA.name} is not here")
    space = nas.spaces.load("nasbench201")
    costs = np.full((15625, 2), np.nan)
    weights = 5 ** np.arange(5, -1, -1)
    with gzip.open(DATA, "rt", newline="") as file:
        for row in csv.DictReader(file):
            number = int(space.parse(row["arch"]) @ weights)
            costs[number] = 100 - float(row["accuracy.cifar10.test.200ep"]), float(row["latency_ms.1080ti_1"])
    kept = costs[:, 0] < 90
    return (costs - costs[kept].min(axis=0)) / np.ptp(costs[kept], axis=0), weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least", "options"), [("nsganet", 0.955, {}), ("nsganetv2", 0.975, FAST), ("nat", 0.975, FAST)]
)
def test_each_beats_random_search_on_nasbench201(nasbench201, name, least, options):
    costs, weights = nasbench201
    true = indicators.hypervolume(costs, np.ones(2))
    ratios = {}
    for one, more in ((name, options), ("random", {})):
        strategy = create(one, choices=(5,) * 6, objectives=2, seed=1, **more)
        told = np.empty((0, 2))
        for _ in range(20):
            archs = strategy.ask(10)
            strategy.tell(archs, costs[archs @ weights])
            told = np.concatenate([told, costs[archs @ weights]])
        ratios[one] = indicators.hypervolume(told, np.ones(2)) / true
    assert ratios[name] > max(ratios["random"], least)
