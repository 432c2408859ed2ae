"""The default strategy: better than evolution where it should be, and the same each time."""

import numpy as np
import pytest

from device_profiles.errors import UsageError
from nas.pareto import indicators
from nas.strategies import create
from nas.strategies.auto.design import design

GENES, OPTIONS = 8, 5
_RNG = np.random.default_rng(5)
LATENCY = _RNG.gamma(2.0, size=(GENES, OPTIONS))
GAIN = 0.6 * LATENCY + 0.6 * _RNG.normal(size=(GENES, OPTIONS))
CROSS = 0.5 * _RNG.normal(size=(GENES, OPTIONS, OPTIONS))


def latency(archs):
    return LATENCY[np.arange(GENES), archs].sum(axis=1)


def error(archs):
    total = GAIN[np.arange(GENES), archs].sum(axis=1)
    for gene in range(GENES - 1):
        total = total + CROSS[gene, archs[:, gene], archs[:, gene + 1]]
    return 40 * np.exp(-0.15 * total)


def run(name, budget, seed, *, batch=10, objectives=(error, latency), known=(1,), violation=None, **problem):
    strategy = create(
        name,
        choices=(OPTIONS,) * GENES,
        objectives=len(objectives),
        seed=seed,
        known={column: objectives[column] for column in known},
        **problem,
    )
    rows, told = [], []
    while sum(map(len, rows)) < budget:
        archs = strategy.ask(batch)
        costs = np.stack([objective(archs) for objective in objectives], axis=1)
        strategy.tell(archs, costs, None if violation is None else violation(archs))
        rows.append(archs)
        told.append(costs)
    return np.concatenate(rows), np.concatenate(told), strategy


def volume(costs):
    return indicators.hypervolume(costs, np.array([40.0, 60.0]))


def test_it_is_ahead_of_evolution_at_a_third_of_the_evaluations():
    """390,625 architectures are too many to look at as a whole. One design of eight may be unlucky."""
    ahead = [volume(run("auto", 80, seed)[1]) - volume(run("nsga2", 240, seed)[1]) for seed in range(8)]
    assert sum(one > 0 for one in ahead) >= 7 and np.mean(ahead) > 20


def test_nothing_known_is_still_ahead():
    """On the mean: at this budget single runs of evolution can be lucky."""
    ahead = [volume(run("auto", 80, seed, known=())[1]) - volume(run("nsga2", 80, seed)[1]) for seed in range(4)]
    assert np.mean(ahead) > 0


@pytest.mark.parametrize("count", [1, 3, 5])
def test_any_number_of_objectives(count):
    objectives = [error, latency, *(lambda archs, g=g: (archs[:, g] - 2.0) ** 2 + archs[:, g + 1] for g in range(3))]
    objectives = objectives[:count]
    found = {}
    for name in ("auto", "random"):
        costs = run(name, 60, 0, objectives=objectives, known=range(1, count))[1]
        reference = np.array([40.0, 60.0, 9.0, 9.0, 9.0])[:count]
        found[name] = indicators.hypervolume(costs, reference)
    assert found["auto"] > found["random"]


def test_resuming_is_replay_to_the_bit():
    for batch, choices in ((7, (OPTIONS,) * GENES), (4, (5,) * 4)):
        first = create("auto", choices=choices, objectives=2, seed=3)
        told = []
        for _ in range(9):
            archs = first.ask(batch)
            costs = np.stack([(archs**2).sum(axis=1) % 17, ((archs - 3) ** 2).sum(axis=1)], axis=1) + 0.5
            first.tell(archs, costs)
            told.append((archs, costs))
        again = create("auto", choices=choices, objectives=2, seed=3)
        for archs, costs in told:
            again.tell(archs, costs)
        np.testing.assert_array_equal(first.ask(batch), again.ask(batch))


def test_it_learns_what_is_feasible():
    def violation(archs):
        return np.maximum(archs[:, 0] + archs[:, 1] - 3.0, 0.0)

    rows, _, _ = run("auto", 80, 0, violation=violation)
    early, late = violation(rows[:20]) > 0, violation(rows[40:]) > 0
    assert early.mean() > 0.3 and late.mean() < 0.3  # by chance 0.6 are infeasible


def test_failures_are_avoided():
    def breaks(archs):
        return np.where(archs[:, 2] >= 3, np.nan, error(archs))

    rows, costs, _ = run("auto", 80, 1, objectives=(breaks, latency))
    failed = np.isnan(costs).any(axis=1)
    assert failed[:15].any() and failed[40:].mean() < 0.2
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_evidence_chooses_features_that_say_it_all():
    def features(archs):
        return np.stack([error(archs), np.cos(archs.sum(axis=1))], axis=1)

    strategy = run("auto", 60, 0, features=features)[2]
    assert strategy.surrogates[0].startswith("features")
    misleading = np.random.default_rng(0).normal(size=(OPTIONS,) * GENES)

    def noise(archs):
        return misleading[tuple(archs.T)][:, None]

    strategy = run("auto", 60, 0, features=noise)[2]
    assert strategy.surrogates[0] != "features"


@pytest.mark.slow
def test_a_table_of_noise_is_searched_no_worse_than_by_evolution():
    table = np.random.default_rng(0).random(4**6)
    weights = 4 ** np.arange(6)
    scores = {}
    for name in ("auto", "nsga2"):
        found = []
        for seed in range(6):
            strategy = create(name, choices=(4,) * 6, objectives=2, seed=seed)
            rows = []
            for _ in range(6):
                archs = strategy.ask(10)
                costs = np.stack([table[archs @ weights], table[::-1][archs @ weights]], axis=1)
                strategy.tell(archs, costs)
                rows.append(costs)
            found.append(indicators.hypervolume(np.concatenate(rows), np.ones(2)))
        scores[name] = np.array(found)
    spread = scores["nsga2"].std(ddof=1) / np.sqrt(6) + scores["auto"].std(ddof=1) / np.sqrt(6)
    assert scores["auto"].mean() > scores["nsga2"].mean() - 2 * spread


def test_the_design_spans_what_is_known():
    rng = np.random.default_rng(0)
    inputs, known = rng.normal(size=(500, 3)), rng.random((500, 1))
    rows = design(inputs, known, 10, np.random.default_rng(1))
    assert len(set(rows.tolist())) == len(rows) == 10
    order = np.sort(known[rows, 0])
    assert order[0] == known.min() and order[-1] == known.max()
    assert np.diff(order).max() < 0.35
    assert len(design(inputs[:4], known[:4], 10, rng)) == 4


@pytest.mark.parametrize("settings", [{"initial": 3}, {"growth": 1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UsageError, match="auto needs"):
        create("auto", choices=(3, 3), objectives=2, **settings)
